#!/bin/sh
# Passes the tests: installs what is missing (apt), builds, runs them all. The last line is
# "N passed, N failed, N skipped"; the exit status is 0 when none failed.
#   sh tests/run.sh [CONFIGURE OPTIONS...]
# PESC_BUILD names the build folder (default build), PESC_JOBS the number of parallel jobs.
set -u
top=$(cd "$(dirname "$0")/.." && pwd) || exit 2
cd "$top" || exit 2
. "$top/experiments/deps.sh"
# shellcheck disable=SC2119
need_packages

build=${PESC_BUILD:-build}
jobs=${PESC_JOBS:-$(nproc 2>/dev/null || echo 2)}
log=$build/check.log
if ! build_tree . "$build" "$@"; then
    echo "The build failed."
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

# Results of tests that are no longer listed must not count.
find "$build" -name '*.trs' -exec rm -f {} +
# Several tests share the cores: waiting threads should not keep one busy.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export OMP_WAIT_POLICY
make -C "$build" -k -j"$jobs" check >"$log" 2>&1 </dev/null
status=$?

# Counts come from the driver's .trs files; its .log files have the same results with names.
count() {
    find "$build" -name '*.trs' -exec cat {} + | grep -c -E "^:test-result: ($1)"
}
passed=$(count PASS)
skipped=$(count 'SKIP|XFAIL')
failed=$(count 'FAIL|ERROR|XPASS')

find "$build" -name '*.trs' | LC_ALL=C sort | while read -r trs; do
    if grep -q -E '^:test-result: (FAIL|ERROR|XPASS)' "$trs"; then
        echo "== ${trs%.trs}.log"
        grep -v -E '^(PASS: |ok [0-9]|1\.\.)' "${trs%.trs}.log" | tail -n 40
    else
        grep -E '^(SKIP|XFAIL): ' "${trs%.trs}.log"
    fi
done
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "make check failed; the end of $log:"
    tail -n 40 "$log"
    failed=1
elif [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then
    echo "No test ran; see $log"
    failed=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
