#!/usr/bin/env bash
# The whole comparison: fetches the peers, builds, measures, prints a table. Arguments go to the bench: --quick.
set -euo pipefail
cd "$(dirname "$0")"
./peers.sh fetched
target=${CARGO_TARGET_DIR:-$PWD/../../target}
cargo build --release --example log_agent --manifest-path ../../Cargo.toml --target-dir "$target"
cargo build --release --target-dir "$target"
exec "$target/release/log-agent-bench" "$target/release/examples/log_agent" fetched "$@"
