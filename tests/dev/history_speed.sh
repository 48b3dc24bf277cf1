#!/bin/sh
# How long each question takes: history_speed.sh PESC FILL RUNS STEPS [MS]. Makes a history with FILL
# (tests/cli/fill_large), asks everything five times as processes of their own, and prints the best
# wall time of each in milliseconds; fails where one takes more than MS (100).
set -eu
pesc=$1 fill=$2 runs=$3 steps=$4 most=${5:-100}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
PESC_DB=$tmp/history.db
export PESC_DB
"$fill" "$PESC_DB" "$runs" "$steps"
echo "runs $runs, metric rows $("$pesc" runs sql 'SELECT count(*) FROM metric' --csv | tail -n 1)," \
    "bytes $(wc -c <"$PESC_DB")"
bad=0
ask() { # WORDS...
    best=
    for _ in 1 2 3 4 5; do
        t=$(date +%s%N)
        "$pesc" runs "$@" >"$tmp/out" 2>"$tmp/err" || {
            echo "FAILED: $*: $(cat "$tmp/err")"
            bad=1
            return
        }
        t=$((($(date +%s%N) - t) / 1000))
        [ -n "$best" ] && [ "$best" -le "$t" ] || best=$t
    done
    late=
    [ $((best / 1000)) -lt "$most" ] || late="  MORE THAN $most ms" bad=1
    printf '%7d.%d ms  %s%s\n' $((best / 1000)) $((best / 100 % 10)) "$*" "$late"
}
ask list
ask show run-3
ask routing run-3
ask plot run-3 --metric train/loss
case $("$pesc" runs --help 2>&1) in *' compare '*) ask compare run-3 run-4 ;; esac
ask sql "SELECT step, value FROM v_metric WHERE run_id = 3 AND metric = 'train/loss'"
for q in $("$pesc" runs query --csv | tail -n +2 | cut -d, -f1 | tr -d '\r'); do
    case $q in
    params-diff) ask query "$q" run-1 run-2 ;;
    best) ask query "$q" held-out ;;
    dataset) ask query "$q" alpaca ;;
    last | curve | why-stopped | checkpoints | router-imbalance | dead-experts) ask query "$q" run-3 ;;
    *) ask query "$q" ;;
    esac
done
exit $bad
