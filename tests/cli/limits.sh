#!/bin/sh
# Memory over time, and memory that the system limits: a long run holds less than 1 MiB more at its
# end than after 20 steps, and one that does not fit ends with exit 8 and one line.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
"$PESC" craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 >/dev/null || exit 99
# A sanitizer keeps what was freed for a while, and takes more address space than there is memory.
sanitized='' steps=520
if grep -q __asan_init "$PESC"; then
    sanitized=yes steps=40
fi

grows() { # WHAT OPTIONS...
    what=$1
    shift
    pesc train M --data tune.json --eval-data heldout.json --eval-steps 100 --batch-size 2 \
        --max-seq-length 32 --max-steps $steps --save-steps 100 --json -o R "$@"
    ok $? "$steps steps, $what"
    first=$(grep '"event":"step","step":20,' out | number peak_rss_bytes)
    last=$(grep "\"event\":\"step\",\"step\":$steps," out | number peak_rss_bytes)
    echo "# $first bytes after step 20, $last after step $steps"
    [ "$first" -gt 0 ] && { [ -n "$sanitized" ] || [ $((last - first)) -lt 1048576 ]; }
    ok $? "$what: at most 1 MiB more than after step 20"
    rm -rf R
}
grows "all in memory" --compute f32
mkdir spill
grows "layers, activations and the optimiser's state on disk" --resident-layers 0 \
    --spill-activations spill --optimizer-state disk
[ -z "$sanitized" ] || plan

train() { # KIB THREADS
    rm -rf L
    # shellcheck disable=SC3045
    (ulimit -v "$1" && "$PESC" train M --data tune.json --eval-data heldout.json --batch-size 4 \
        --max-seq-length 48 --max-steps 2 --threads "$2" -o L) >out 2>err
}
least() { # COMMAND: KiB of address space that it succeeds with, to 2 MiB
    low=0 high=2097152
    while [ $((high - low)) -gt 2048 ]; do
        middle=$(((low + high) / 2))
        if "$1" $middle; then high=$middle; else low=$middle; fi
    done
}
# shellcheck disable=SC3045
starts() { (ulimit -v "$1" && "$PESC" --version) >out 2>err; }
fits() { train "$1" "$threads"; }
for threads in 1 2; do
    least starts
    from=$high
    least fits
    train $((2 * high)) $threads
    ok $? "$threads threads: a run within twice the least address space"
    : >wrong
    i=0
    while [ $i -lt 12 ]; do
        limit=$((from + (high - from) * i / 11))
        train $limit $threads
        case $? in
        0) ;;
        8) grep -q '^pesc: error\[E-MEMORY' err && [ "$(grep -c 'error\[' err)" = 1 ] || cat err >>wrong ;;
        *) { echo "$limit KiB: $?"; cat err; } >>wrong ;;
        esac
        i=$((i + 1))
    done
    cp wrong err
    [ ! -s wrong ]
    ok $? "from $from KiB, where it starts, to $high KiB: exit 0, or 8 with one line"
done
plan
