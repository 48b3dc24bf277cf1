# shellcheck shell=sh
# What shell tests of whole runs share. Works in a temporary folder with a history of its own.
: "${PESC:?}" "${PESC_SRC:?}"
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
PESC_DB=$tmp/history.db XDG_DATA_HOME=$tmp/share OMP_NUM_THREADS=1
export PESC_DB XDG_DATA_HOME OMP_NUM_THREADS
tools=$(dirname "$PESC")/experiments/base
n=0 bad=0
ok() { # STATUS WHAT
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        tail -n 15 out 2>/dev/null | cut -c1-300 | sed 's/^/# out: /'
        tail -n 15 err 2>/dev/null | cut -c1-300 | sed 's/^/# err: /'
        bad=1
    fi
}
plan() {
    echo "1..$n"
    exit $bad
}
pesc() {
    "$PESC" "$@" >out 2>err
}
exits() { # STATUS CODE WHAT, after a command
    got=$?
    grep -q "^pesc: error\[$2\]" err && [ "$got" -eq "$1" ] && [ "$(grep -c 'error\[' err)" = 1 ]
    ok $? "$3: exit $1, $2"
}
has() { # FILE PATTERN WHAT
    grep -q -- "$2" "$1"
    ok $? "$3"
}
same() { # FILE FILE WHAT
    [ -s "$1" ] && cmp "$1" "$2" >out 2>err
    ok $? "$3"
}
# An evaluation's JSON without what depends on the machine.
strip() { # FILE
    sed 's/,"tokens_per_s":[^,]*,"peak_rss_bytes":[0-9]*//' "$1"
}
ids() { # FILE
    grep -o '"ids":\[[0-9,]*\]' "$1"
}
number() { # KEY: the first of that name in the JSON on stdin
    grep -o "\"$1\":[-+.0-9eE]*" | head -n 1 | cut -d: -f2
}
sql() { # QUERY: its rows without the heading
    "$PESC" runs sql "$1" --csv 2>err | tail -n +2 | tr -d '\r'
}
# base/init, and a few records each of tune.json, heldout.json and pretrain.jsonl.
make_base() {
    "$tools/make-base" base --seed 1 >/dev/null || exit 99
    head -n 400 base/prose.jsonl >pretrain.jsonl
    for f in tune heldout; do
        { sed -n 1,17p base/$f.json | sed '17s/,$//'; echo ']'; } >$f.json
    done
}
