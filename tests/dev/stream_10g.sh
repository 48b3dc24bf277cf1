#!/bin/sh
# Reads 10 GiB of JSON lines in a .tar.zst and says how fast and in how much memory; then the same
# archive cut short, which must be an error. By hand: it takes minutes.
#   make tests/dev/make_stream && sh ../tests/dev/stream_10g.sh [MIB]      in the build folder
set -eu
mib=${1:-10240}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
tests/dev/make_stream "$dir/s.tar.zst" "$mib"
mkdir "$dir/model"
echo '{"vocab_size": 20}' >"$dir/model/config.json"
echo "$mib MiB of JSON lines in $(wc -c <"$dir/s.tar.zst") bytes"

# The program ends with E-DS-EMPTY, as every record is empty; its peak is seen while it runs.
run() {
    : >"$dir/err"
    start=$(date +%s.%N)
    ./pesc data stats "$dir/model" --data "$1" >/dev/null 2>"$dir/err" &
    pid=$!
    peak=0
    while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null) &&
        [ -n "$now" ]; do
        peak=$now
        sleep 0.2
    done
    wait "$pid" || true
    cat "$dir/err"
    echo "$start $(date +%s.%N) $mib $peak" |
        awk '{ printf "%.0f s, %.0f MB/s, peak %.0f MiB\n", $2 - $1, $3 * 1.048576 / ($2 - $1), $4 / 1024 }'
}
run "$dir/s.tar.zst"
[ "$peak" -lt 262144 ] || { echo "not below 256 MiB"; exit 1; }
grep -qF 'error[E-DS-EMPTY]' "$dir/err"
head -c $(($(wc -c <"$dir/s.tar.zst") - 100)) "$dir/s.tar.zst" >"$dir/cut.tar.zst"
rm "$dir/s.tar.zst"
run "$dir/cut.tar.zst"
grep -qF 'error[E-AR-CORRUPT]' "$dir/err"
echo "both as they should be"
