#!/bin/sh
# D5: do more experts help, at two at work per token? 4 < 8 < 16 adapters of width 8.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
each evaluate experts4 experts8 experts16
begin d5
{
    row "4 experts" loss experts4
    row "8 experts" loss experts8
    row "16 experts" loss experts16
} | table "held-out loss"
echo
{
    row "8 better than 4 by" less experts8 experts4
    row "16 better than 8 by" less experts16 experts8
} | table "difference"
echo
more_helps() { # SEED
    holds "$(less experts8 experts4 "$1") > 0 && $(less experts16 experts8 "$1") > 0"
}
mean() { # VARIANT
    row mean loss "$1" | awk -F "$tab" '{ sum += $3 } END { print sum / NR }'
}
if holds "$(mean experts4) > $(mean experts8) && $(mean experts8) > $(mean experts16)"; then
    echo "Rule: the mean loss over seeds falls from 4 to 8 to 16 experts: holds."
else
    echo "Rule: the mean loss over seeds falls from 4 to 8 to 16 experts: does not hold."
fi
echo
claim "it does so in each seed" more_helps || true
finish 0
