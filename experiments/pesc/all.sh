#!/bin/sh
# All recipes, one after another, into pesc-out/; nothing is trained twice. RESULTS.md says what
# came of it.
#   sh experiments/pesc/all.sh
# Exit status 0: the rules of D6 and D9 hold for every seed.
set -eu
# shellcheck source=experiments/pesc/lib.sh
. "$(dirname "$0")/lib.sh"
export PESC
started=$(date +%s)
load() {
    cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown
}
before=$(load)
status=0
for recipe_name in d5 d6 d8 d9 d10; do
    echo
    echo "### $recipe_name"
    sh "$here/$recipe_name.sh" || {
        failed=$?
        [ $failed -eq 1 ] || exit $failed
        status=1
    }
done
echo
"$pesc" runs sql "SELECT DISTINCT cpu_model, cores, isa FROM env" --csv
times >"$out/times" # this shell's, then its children's: user, system
echo "$(($(date +%s) - started)) s, processor time $(tail -n 1 "$out/times");" \
    "load $before before, $(load) after"
exit $status
