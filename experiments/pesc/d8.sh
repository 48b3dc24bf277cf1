#!/bin/sh
# D8: is what the router learns worth anything? Learned routers against ones that keep their random
# first weights; 8 adapters of width 8, two at work. Frozen routers have no balance loss.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
each evaluate experts8 none frozen
begin d8
{
    row "learned, balance loss switch" loss experts8
    row "learned, no balance loss" loss none
    row "frozen at random" loss frozen
} | table "held-out loss"
echo
{
    row "switch better than frozen by" less experts8 frozen
    row "none better than frozen by" less none frozen
} | table "difference"
echo
learned_wins() { # SEED
    holds "$(less experts8 frozen "$1") > 0"
}
claim "the learned router's loss (switch) is lower" learned_wins || true
finish 0
