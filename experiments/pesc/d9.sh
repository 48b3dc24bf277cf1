#!/bin/sh
# D9: what do the balance losses do? none, official (the constant of the published code) and switch
# (the paper's eq. 10), 0.01 each; 8 adapters of width 8, two at work. How much a loss depends on
# the first weights is more than what is asked for, so none and switch are compared over several
# draws of them, the same for both.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
others=$(seq 1 $((draws - 1)))
set --
for draw in $others; do
    set -- "$@" "none+$draw" "experts8+$draw"
done
each evaluate none official experts8 "$@"

# mean FUNCTION VARIANT ARGUMENTS... SEED: over the draws of first weights.
mean() {
    mean_of=$1 mean_variant=$2
    shift 2
    {
        "$mean_of" "$mean_variant" "$@"
        for draw in $others; do
            "$mean_of" "$mean_variant+$draw" "$@"
        done
    } | awk '{ sum += $1; squares += $1 ^ 2 }
        END {
            m = sum / NR
            printf "%.6f %.6f\n", m, (NR > 1 ? sqrt((squares - NR * m ^ 2) / (NR - 1)) : 0)
        }'
}
mean_loss() { # VARIANT SEED
    mean loss "$@" | cut -d ' ' -f 1
}
max_load() { # VARIANT LAYER SEED: of the held-out tokens
    value "$1-$3" load "$2" any
}
mean_load() { # VARIANT LAYER SEED
    mean max_load "$@" | cut -d ' ' -f 1
}
relative() { # SEED: the loss of switch over that of none, in per cent more
    awk "BEGIN { print 100 * ($(mean_loss experts8 "$1") / $(mean_loss none "$1") - 1) }"
}
chance() { # SEED: standard deviation of none's loss over first weights, in per cent of it
    # shellcheck disable=SC2046 # two numbers
    set -- $(mean loss none "$1")
    awk "BEGIN { print 100 * $2 / $1 }"
}
curve() { # VARIANT SEED
    "$pesc" runs sql "SELECT step, value FROM v_metric WHERE run = '$1-$2' AND metric = 'ce' \
        ORDER BY step" --csv
}
last=$(awk '$1 == "load" && $2 > n { n = $2 } END { print n + 0 }' "$out/eval/none-${seeds%% *}")
begin d9
{
    row "none" mean_loss none
    row "switch" mean_loss experts8
} | table "held-out loss, mean of $draws first weights"
echo
{
    row "switch against none" relative
    row "one run of none, s.d. over first weights" chance
} | table "loss higher by, %" 2
echo
for layer in $(seq 0 "$last"); do
    row "layer $layer, none" mean_load none "$layer"
    row "layer $layer, switch" mean_load experts8 "$layer"
done | table "busiest expert over the mean" 2
echo
same_bits() { # SEED
    curve none "$1" >"$out/curve.none"
    curve official "$1" >"$out/curve.official"
    [ "$(wc -l <"$out/curve.none")" -gt 1 ] && cmp -s "$out/curve.none" "$out/curve.official" &&
        cmp -s "$out/run/none-$1/adapter.safetensors" "$out/run/official-$1/adapter.safetensors"
}
balanced() { # SEED
    holds "$(mean_load experts8 "$last" "$1") < $(mean_load none "$last" "$1")"
}
as_good() { # SEED
    holds "$(relative "$1") <= 3 && $(relative "$1") >= -3"
}
status=0
claim "official is none bit for bit: every recorded loss, and the final weights" same_bits ||
    status=1
echo
claim "switch lowers the largest load of the last layer" balanced || status=1
echo
claim "its loss is within 3 % of none's" as_good || status=1
finish $status
