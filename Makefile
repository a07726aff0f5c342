# The menu. `make` alone prints it.
.PHONY: help check test sim loom mutants fuzz bench compare doc

help: ## print this menu
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST)

check: ## everything that has to be green: what CI runs
	.ci/run

test: ## all tests
	cargo test

sim: ## the simulation; SEED=n runs one seed again, SEEDS=n [FROM=n] runs more and others
	$(if $(SEED),SLUICEGATE_SEED=$(SEED)) $(if $(SEEDS),SLUICEGATE_SEEDS=$(SEEDS)) $(if $(FROM),SLUICEGATE_SEEDS_FROM=$(FROM)) \
		cargo test --release --test sim -- --nocapture

loom: ## the protocols between threads, in every order with few preemptions; PREEMPTIONS=n tries more, TEST=name some
	$(if $(PREEMPTIONS),LOOM_MAX_PREEMPTIONS=$(PREEMPTIONS)) RUSTFLAGS="--cfg loom -C debug-assertions" \
		cargo test --release --test loom --target-dir target/loom -- --nocapture $(TEST)

mutants: ## plants each bug of tests/mutants and has the simulation find it, which takes hours; MUTANT=text for some
	$(if $(MUTANT),SLUICEGATE_MUTANT="$(MUTANT)") cargo test --test mutants -- --ignored --nocapture

fuzz: ## a minute of each fuzz target; needs cargo-fuzz and a nightly toolchain
	cd fuzz && cargo run --example seeds
	cd fuzz && for target in $$(cargo fuzz list); do \
		case $$target in *http1 | split_equivalence) words=-dict=http1.dict ;; *) words= ;; esac; \
		cargo +nightly fuzz run $$target -- -max_total_time=60 $$words || exit 1; \
	done

bench: ## all in-process benches
	cargo bench

compare: ## sluicegate beside bare epoll and other servers; ONLY=names, WORK=names, ROUNDS=n for a part of it
	benches/compare.sh $(if $(ONLY),--only $(ONLY)) $(if $(WORK),--work $(WORK)) $(if $(ROUNDS),--rounds $(ROUNDS))

doc: ## the documentation of the crate, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features sim --open
