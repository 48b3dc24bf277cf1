#!/bin/sh
# D9: what do the balance losses do? none, official (the constant of the published code) and switch
# (the paper's eq. 10), 0.01 each; 8 adapters of width 8, two at work. How much a loss depends on chance
# shows in none again, from other first weights.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
each evaluate none official experts8 again
max_load() { # VARIANT LAYER SEED: of the held-out tokens
    value "$1-$3" load "$2" any
}
relative() { # VARIANT SEED: its loss over that of none, in per cent more
    awk "BEGIN { print 100 * ($(loss "$1" "$2") / $(loss none "$2") - 1) }"
}
curve() { # VARIANT SEED
    "$pesc" runs sql "SELECT step, value FROM v_metric WHERE run = '$1-$2' AND metric = 'ce' \
        ORDER BY step" --csv
}
last=$(awk '$1 == "load" && $2 > n { n = $2 } END { print n + 0 }' "$out/eval/none-${seeds%% *}")
begin d9
{
    row "none" loss none
    row "official" loss official
    row "switch" loss experts8
    row "none again, other first weights" loss again
} | table "held-out loss"
echo
{
    row "switch against none" relative experts8
    row "none again against none" relative again
} | table "loss higher by, %" 2
echo
for layer in $(seq 0 "$last"); do
    row "layer $layer, none" max_load none "$layer"
    row "layer $layer, official" max_load official "$layer"
    row "layer $layer, switch" max_load experts8 "$layer"
done | table "busiest expert over the mean" 2
echo
same_bits() { # SEED
    curve none "$1" >"$out/curve.none"
    curve official "$1" >"$out/curve.official"
    [ "$(wc -l <"$out/curve.none")" -gt 1 ] && cmp -s "$out/curve.none" "$out/curve.official" &&
        cmp -s "$out/run/none-$1/adapter.safetensors" "$out/run/official-$1/adapter.safetensors"
}
balanced() { # SEED
    holds "$(max_load experts8 "$last" "$1") < $(max_load none "$last" "$1")"
}
as_good() { # SEED
    holds "$(relative experts8 "$1") <= 3 && $(relative experts8 "$1") >= -3"
}
status=0
claim "official is none bit for bit: every recorded loss, and the final weights" same_bits ||
    status=1
echo
claim "switch lowers the largest load of the last layer" balanced || status=1
echo
claim "its loss is within 3 % of none's" as_good || status=1
finish $status
