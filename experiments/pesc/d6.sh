#!/bin/sh
# D6: is the sparse mixture better than one dense adapter of the same active size? 8 adapters of
# width 8, two at work, against width 16. Control: one of the same total size, width 68.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
each evaluate dense16 experts8 dense68
exact() { # VARIANT SEED
    awk "BEGIN { print 100 * $(value "$1-$2" mean exact) }"
}
by_token() { # VARIANT SEED
    value "$1-$2" loss all
}
begin d6
{
    row "dense, width 16" loss dense16
    row "8 of width 8, top-2" loss experts8
    row "dense, width 68" loss dense68
} | table "held-out loss"
echo
{
    row "mixture better than width 16 by" less experts8 dense16
    row "mixture better than width 68 by" less experts8 dense68
} | table "difference"
echo
{
    row "dense, width 16" by_token dense16
    row "8 of width 8, top-2" by_token experts8
    row "dense, width 68" by_token dense68
} | table "the same loss, mean over tokens"
echo
{
    row "dense, width 16" exact dense16
    row "8 of width 8, top-2" exact experts8
    row "dense, width 68" exact dense68
} | table "exact answers, %" 1
echo
sparse_wins() { # SEED
    holds "$(less experts8 dense16 "$1") >= 0.3"
}
status=0
claim "the mixture's loss is at least 0.3 lower than that of width 16" sparse_wins || status=1
finish $status
