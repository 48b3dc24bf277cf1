#!/bin/sh
# What is said before a run, and kept with it beside what came of it.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3 || exit 99
opts="--data tune.json --eval-data heldout.json --batch-size 4 --max-seq-length 48 --max-steps 6"
find . ! -path './out' ! -path './err' | sort >"$tmp.before"
trap 'rm -rf "$tmp" "$tmp.before" "$tmp.after"' EXIT
pesc plan M $opts
ok $? "plan"
for line in model adapters trained data steps compute memory places disk traffic speed time; do
    has out "^$line  *[^ ]" "says $line"
done
has out "^ *[0-9].* margin" "and what the memory is for"
pesc plan M $opts --json
ok $? "as JSON"
has out '"fits": true' "it fits"
has out '"streamed_layers": 0' "with everything in memory"
for key in peak_bytes tokens_per_s step_seconds seconds kept_bytes in_use weights adapters \
    activations optimiser; do
    has out "\"$key\": [0-9.]*[1-9]" "with its $key"
done
has out '"weights_bytes_read_per_step": 0' "and nothing read"

# Budgets side by side.
pesc plan M $opts --memory 1MiB
exits 8 E-MEMORY-BUDGET "a budget that cannot do"
least=$(sed -n 's/.*too few: \([0-9]*\) (.*/\1/p' err)
pesc plan M $opts --memory 1MiB,2MiB
exits 8 E-MEMORY-BUDGET "nor can any of two"
some=$((least + (1 << 20)))
pesc plan M $opts --memory 1MiB,$some,max --json
ok $? "one that cannot, one that just can, and none at all"
is() { # PATTERN COUNT WHAT
    [ "$(grep -c "$1" out)" = "$2" ]
    ok $? "$3"
}
is '"fits"' 3 "are three plans"
is '"fits": false' 1 "of which one does not fit"
is '"least_bytes": [1-9]' 1 "and names what would"
is '"budget": "max"' 1 "and one has no bound"
is "\"budget_bytes\": $some" 1 "and one the size given"
pesc plan M $opts --resident-layers 0 --json
is '"weights_bytes_read_per_step": [1-9]' 1 "layers on disk are read"
pesc plan M $opts --memory 1MiB,$some,max
ok $? "as a table"
is 'too little: ' 1 "which says what is too little"
is '^ *max .* k[0-9]' 1 "and what is kept"
find . ! -path './out' ! -path './err' | sort >"$tmp.after"
same "$tmp.before" "$tmp.after" "nothing was written"

# The prediction that a run starts with is that of its plan, and stays with it.
pesc plan M $opts --memory $((some + (8 << 20))) --keep-layers 1 --json
ok $? "a plan"
places=$(tr -d ' \n' <out | sed -n 's/.*"places":\({[^}]*}\).*/\1/p')
rm -rf R
pesc train M $opts --memory $((some + (8 << 20))) --keep-layers 1 -o R
ok $? "a run of it"
has err '^speed .*tokens/s' "begins with how long it will take"
[ -n "$places" ] && [ "$(tr -d ' \n' <R/run.json | sed -n 's/.*"places":\({[^}]*}\).*/\1/p' |
    tr ',' '\n' | tr -d '{}' | sort)" = "$(echo "$places" | tr ',' '\n' | tr -d '{}' | sort)" ]
ok $? "everything where the plan had it"
for key in peak_bytes real_peak_bytes; do
    has R/run.json "\"$key\": *[1-9]" "run.json has $key"
done
has R/run.json '"real_tokens_per_s": *"[0-9]' "and how fast it was"
[ "$(sql "SELECT count(*) FROM v_plan WHERE real_peak_bytes > 0 AND real_tokens_per_s > 0 AND
    tokens_per_s > 0 AND seconds > 0 AND real_seconds > 0 AND budget_bytes > $some AND
    json_extract(terms, '\$.weights') > 0 AND json_extract(places, '\$.streamed_layers') >= 0")" = 1 ]
ok $? "the history has both"
pesc runs show R
has out '^plan and outcome' "runs show tells them"
has out '[0-9] %' "with the error"
rm -f R/adapter.safetensors R/ckpt/*-6* R/ckpt/*6.*
pesc train M $opts --memory max -o R --resume auto
ok $? "gone on with another budget"
[ "$(sql "SELECT group_concat(seq || ':' || (budget_bytes > 9e18), ' ') FROM v_plan")" = "1:0 2:1" ]
ok $? "each process has its plan"

# A configuration file serves both.
pesc plan M --config R/config.yaml --json
ok $? "plan by a run's config.yaml"
pesc plan M $opts --memory 1MiB,max -o X --quiet
ok $? "a folder that is not there yet"
[ ! -e X ]
ok $? "is not made"
pesc train M $opts --memory 1GiB,2GiB -o X
exits 2 E-USAGE-VALUE "a run has one budget"
pesc train M $opts --memory 1GiB, -o X
exits 2 E-USAGE-VALUE "no list of sizes"
pesc plan M
exits 2 E-USAGE "plan without data"
pesc plan M --data none.jsonl
exits 9 E-IO-MISSING "plan of data that is not there"
pesc plan base/init $opts
exits 7 E-MODEL-KIND "plan of a dense model's adapters"
pesc plan base/init $opts --trainable full --json
ok $? "plan of all its weights"
plan
