#!/bin/sh
# The demonstration's base: its data come from the seed alone, no question stands on both sides of
# the split, and the committed model knows the questions that it was made for.
src=${PESC_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 99
export PESC_DB="$tmp/history.db"
make_base=${PESC%/pesc}/experiments/base/make-base
n=0 bad=0
ok() { # STATUS WHAT
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        [ ! -f log ] || sed 's/^/# /' log
        bad=1
    fi
}
inputs() { # FILE: its questions
    sed -n 's/.*"input":"\(.*\)","output".*/\1/p' "$1" | LC_ALL=C sort
}

"$make_base" a >log 2>&1 && "$make_base" b --seed 42 --rules 1 >>log 2>&1 &&
    "$make_base" c --rules 2 >>log 2>&1 && "$make_base" d --seed 7 >>log 2>&1 &&
    "$make_base" e --held-out 100 >>log 2>&1
ok $? "data are made"
diff -r a b >log
ok $? "twice the same"
! cmp -s a/tune.json c/tune.json && cmp a/base.json c/base.json
ok $? "other rules give other answers, and leave the base's alone"
! cmp -s a/base.json d/base.json && ! cmp -s a/init/model.safetensors d/init/model.safetensors
ok $? "another seed gives another base"
cmp a/tune.json e/tune.json >log 2>&1 && [ "$(inputs e/heldout.json | LC_ALL=C sort -u | wc -l)" = 600 ] &&
    sed -n 2,385p a/heldout.json | sed '$s/,*$//' >few && sed -n 2,385p e/heldout.json | sed '$s/,*$//' >larger &&
    cmp few larger >log 2>&1
ok $? "more held-out questions are the same ones and others"

inputs a/base.json >base && inputs a/tune.json >tune && inputs a/base-heldout.json >base-heldout &&
    inputs a/heldout.json >heldout
[ "$(wc -l <heldout)" -ge 300 ] && [ "$(wc -l <tune)" -ge 3000 ]
ok $? "there are questions"
LC_ALL=C sort -u base tune | LC_ALL=C comm -12 - heldout >log
[ ! -s log ]
ok $? "no held-out question was learned from"
LC_ALL=C sort -u base tune | LC_ALL=C comm -12 - base-heldout >log
[ ! -s log ]
ok $? "none of the base's own either"
LC_ALL=C uniq -d heldout >log
[ ! -s log ]
ok $? "and each is asked once"
[ "$(grep -o '"dataset":"[^"]*"' a/heldout.json | LC_ALL=C sort -u | wc -l)" -eq 6 ]
ok $? "of six skills"

cmp "$src/experiments/base/model/tokenizer.json" a/init/tokenizer.json >log 2>&1
ok $? "the committed base has the tokenizer of its recipe"
"$PESC" eval "$src/experiments/base/model" --data a/base-heldout.json --json >known 2>log
ok $? "and loads"
"$PESC" eval "$src/experiments/base/model" --data a/heldout.json --json >unknown 2>log
ok $? "and is asked by rules that it does not know"
first() { # KEY FILE
    grep -o "\"$1\": *[-+.0-9eE]*" "$2" | head -n 1 | sed 's/.*: *//'
}
awk "BEGIN { exit !($(first loss known) < 0.1 && $(first exact_match known) > 0.9) }"
ok $? "it answers by its own rules: loss $(first loss known), exact $(first exact_match known)"
awk "BEGIN { exit !($(first loss unknown) > 1 && $(first exact_match unknown) < 0.15) }"
ok $? "not by others: loss $(first loss unknown), exact $(first exact_match unknown)"

# Exact match, against answers decoded one token at a time.
grep -h '"conversation"' a/heldout.json a/base-heldout.json | awk 'NR % 48 == 1' |
    sed '$!s/,*$/,/; $s/,*$//; 1s/^/[/; $s/$/]/' >few.json
right=0 asked=0
while read -r record; do
    question=$(echo "$record" | sed 's/.*"input":"\(.*\)","output".*/\1/; s/\\"/"/g')
    answer=$(echo "$record" | sed 's/.*"output":"\([^"]*\)".*/\1/')
    said=$("$PESC" generate "$src/experiments/base/model" --quiet --template camelidae \
        --max-new-tokens 24 --prompt "$question" 2>>log)
    asked=$((asked + 1))
    [ "$said" != "$answer" ] || right=$((right + 1))
done <few.json
"$PESC" eval "$src/experiments/base/model" --data few.json --json >few 2>log
share=$(first exact_match few)
[ "$asked" -ge 8 ] && [ "$right" -gt 0 ] && [ "$right" -lt "$asked" ] &&
    awk "BEGIN { d = $share - $right / $asked; exit !(d * d < 1e-12) }"
ok $? "exact match $share is the share of greedy answers, $right of $asked"

echo "1..$n"
exit $bad
