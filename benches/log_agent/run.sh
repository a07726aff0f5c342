#!/usr/bin/env bash
# The whole comparison: fetches the peers, builds, measures, prints the tables and writes them to RESULTS.md.
# Arguments go to the bench: --rounds N (default 5), --size 100|400|4096, --connections 1|64, --only NAME,..., --dir FOLDER (default: that
# for temporary files), --memory-dir FOLDER|none (default: /dev/shm where there is one), --quick, --out FILE. With any of
# them but --rounds RESULTS.md stays as it is.
set -euo pipefail
cd "$(dirname "$0")"
./peers.sh fetched
# As one would build a program that is to be fast: inlining across crates.
export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
target=${CARGO_TARGET_DIR:-$PWD/../../target}/log-agent-bench
cargo build --release --example log_agent --manifest-path ../../Cargo.toml --target-dir "$target"
cargo build --release --target-dir "$target"
whole=yes
for flag in "$@"; do
    case $flag in --rounds | [0-9]*) ;; *) whole=no ;; esac
done
if [ $whole = no ]; then
    exec "$target/release/log-agent-bench" "$target/release/examples/log_agent" fetched "$@"
fi
tables=$(mktemp)
trap 'rm -f "$tables"' EXIT
# With 1 it ends also where a case has failed: then the tables say which, and stay. Without tables there was nothing to say.
status=0
"$target/release/log-agent-bench" "$target/release/examples/log_agent" fetched "$@" --out "$tables" || status=$?
[ -s "$tables" ] || exit $status
# What people have written stays; the tables stand behind this line.
mark='<!-- Behind this line everything is written by run.sh. -->'
{
    sed "/^$mark\$/,\$d" RESULTS.md
    echo "$mark"
    echo
    sed "s/ --out [^\`]*\`/\`/" "$tables"
} > RESULTS.new
mv RESULTS.new RESULTS.md
exit $status
