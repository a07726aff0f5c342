#!/usr/bin/env bash
# Measures sluicegate beside other servers, all in one run, and writes benches/RESULTS.md and its charts.
#
#   benches/compare.sh                                                  everything: more than half an hour
#   benches/compare.sh --rounds 1 --seconds 1                           everything, roughly
#   benches/compare.sh --only sluicegate,bare-epoll --work pipelined    a part; nothing is written
#   benches/compare.sh --help                                           what else can be said
set -euo pipefail
cd "$(dirname "$0")/.."

# Who only asks what can be said waits for neither tools nor other servers.
help=
for word in "$@"; do
    case "$word" in -h | --help) help=1 ;; esac
done

# As root or through sudo; elsewhere than on Debian, install them by hand.
missing=()
for tool in wrk nginx strace; do
    [ -n "$help" ] || command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing ${missing[*]}" >&2
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -q && $as_root apt-get install -qy --no-install-recommends "${missing[@]}" || {
        echo "compare.sh: install ${missing[*]} by hand, then run this again" >&2
        exit 1
    }
fi

# Other libraries are not built if nobody asks for their servers.
features=(--features peers)
only=
for ((at = 1; at <= $#; at++)); do
    case "${!at}" in
    --only) next=$((at + 1)) && only=${!next:-} ;;
    --only=*) only=${!at#--only=} ;;
    esac
done
if [ -n "$help" ]; then
    features=()
elif [ -n "$only" ] && ! tr ',' '\n' <<<"$only" | grep -qvE '^(sluicegate|bare-.*|nginx)$'; then
    features=()
fi

target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release --quiet --target-dir "$target" --example load
cargo build --release --quiet --target-dir "$target/peers" --manifest-path benches/peers/Cargo.toml "${features[@]}"
exec "$target/peers/release/compare" --load "$target/release/examples/load" "$@"
