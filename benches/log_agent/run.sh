#!/usr/bin/env bash
# The whole comparison: fetches the peers, builds, measures, prints a table. Arguments go to the bench:
# --quick, --size 100|400|4096, --connections 1|64.
set -euo pipefail
cd "$(dirname "$0")"
./peers.sh fetched
# As one would build a program that is to be fast: inlining across crates.
export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
target=${CARGO_TARGET_DIR:-$PWD/../../target}/log-agent-bench
cargo build --release --example log_agent --manifest-path ../../Cargo.toml --target-dir "$target"
cargo build --release --target-dir "$target"
exec "$target/release/log-agent-bench" "$target/release/examples/log_agent" fetched "$@"
