#!/bin/sh
# D10: do experts specialise by domain? a: how unlike the domains' shares of experts are, against
# shuffled labels; b: the same before training, and with routers that stay random; c: what the loss
# of each domain is without one expert. 8 adapters of width 8, two at work.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
each evaluate experts8 frozen
work() { # SEED
    for variant in experts8 frozen; do
        [ -f "$out/eval/knock-out-$variant-$1" ] || say "knocking out experts of $variant, seed $1"
        flatten "knock-out-$variant-$1" "$pesc" eval "$(model $variant "$1")" \
            --pack "$out/run/$variant-$1" --data "$out/data/$1/heldout.json" --knock-out all
    done
    flatten "first-$1" "$pesc" eval "$(model experts8 "$1")" \
        --data "$out/data/$1/heldout.json" --routing
    flatten "shuffled-$1" "$pesc" eval "$(model experts8 "$1")" \
        --pack "$out/run/experts8-$1" --data "$out/data/$1/shuffled.json" --routing
}
each work
divergence() { # EVALUATION LAYER CHOICE SEED
    value "$1-$4" divergence "$2" "$3"
}
# The mean over experts of the largest domain's part of the damage. With even, each domain's damage
# is divided by its mean over the layer's experts first, for some domains suffer from everything.
specificity() { # EVEN VARIANT SEED
    awk -v even="$1" '
        $1 == "increase" && $4 != "all" {
            x = $5 > 0 ? $5 : 0
            damage[$2, $3, $4] = x
            mean[$2, $4] += x
            domain[$4] = layer[$2] = expert[$3] = 1
        }
        END {
            for (l in layer)
                for (e in expert) {
                    sum = most = 0
                    for (d in domain) {
                        x = damage[l, e, d]
                        if (even)
                            x = mean[l, d] > 0 ? x / mean[l, d] : 0
                        sum += x
                        most = x > most ? x : most
                    }
                    if (sum > 0) {
                        total += most / sum
                        n++
                    }
                }
            print n ? total / n : 0
        }' "$out/eval/knock-out-$2-$3"
}
worth() { # VARIANT SEED: mean increase of the loss without one expert
    awk '$1 == "increase" && $4 == "all" { sum += $5; n++ } END { print sum / n }' \
        "$out/eval/knock-out-$1-$2"
}
first=${seeds%% *}
last=$(awk '$1 == "load" && $2 > n { n = $2 } END { print n + 0 }' "$out/eval/experts8-$first")
begin d10
for choice in any 1 2; do
    for layer in $(seq 0 "$last"); do
        row "layer $layer, learned" divergence experts8 "$layer" $choice
        row "layer $layer, learned, labels shuffled" divergence shuffled "$layer" $choice
        row "layer $layer, before training" divergence first "$layer" $choice
        row "layer $layer, frozen at random" divergence frozen "$layer" $choice
    done | table "divergence of domains, choice $choice"
    echo
done
{
    row "learned" specificity 0 experts8
    row "frozen at random" specificity 0 frozen
    row "learned, domains made even" specificity 1 experts8
    row "frozen at random, domains made even" specificity 1 frozen
} | table "specificity of damage"
echo
{
    row "learned" worth experts8
    row "frozen at random" worth frozen
} | table "loss without one expert, more by"
echo
histogram() { # LAYER: of the first seed
    awk -v layer="$1" '
        $1 == "share" && $2 == layer && $3 == "any" {
            if (!n++) {
                line = "| layer " layer ", % of choices |"
                rule = "|---|"
                for (e = 5; e <= NF; e++) {
                    line = line " " e - 5 " |"
                    rule = rule "---|"
                }
                print line
                print rule
            }
            line = "| " $4 " |"
            for (e = 5; e <= NF; e++)
                line = line sprintf(" %.1f |", 100 * $e)
            print line
        }' "$out/eval/experts8-$first"
}
echo "Learned routers of seed $first, both choices:"
for layer in $(seq 0 "$last"); do
    echo
    histogram "$layer"
done
echo
differs() { # SEED
    for layer in $(seq 0 "$last"); do
        x=$(divergence experts8 "$layer" any "$1")
        if holds "$x >= 0.05 && $x > 5 * $(divergence shuffled "$layer" any "$1")"; then
            return 0
        fi
    done
    return 1
}
more_specific() { # SEED
    holds "$(specificity 0 experts8 "$1") > $(specificity 0 frozen "$1")"
}
claim "a layer's divergence (any choice) is at least 0.05 and 5 times that of shuffled labels" \
    differs || true
echo
claim "damage is more specific with learned than with frozen routers" more_specific || true
finish 0
