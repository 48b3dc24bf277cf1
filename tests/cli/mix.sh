#!/bin/sh
# A run on packed, mixed, split and held-out data: resumed it is what it is without a break, and its
# history has every count.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
"$PESC" craft base/init -o M --experts 4 --adapter-dim 4 >/dev/null || exit 99
opts="--data tune.json pretrain.jsonl --data-weights 3,1 --data-limits 0,60 --domain a,b \
--valid-fraction 0.2 --long split --max-seq-length 40 --packing best-fit --batch-tokens 90 \
--learning-rate 1e-2 --warmup-ratio 0 --adapter-dropout 0.1 --seed 7"

pesc train M $opts -o whole --max-steps 12
ok $? "a run"
has err 'packing *best-fit, at most 90 tokens: [0-9]* batches an epoch, [0-9.]* % full; weights 3,1' \
    "says how it packs"
has err 'held out *[0-9]* of [0-9]* records' "and what it holds out"
pesc train M $opts -o part --max-steps 5
ok $? "the same, stopped early"
pesc train M $opts -o part --max-steps 12 --resume auto
ok $? "and resumed"
same whole/adapter.safetensors part/adapter.safetensors "ends in the same adapters"

# Every count adds up, in the history and in the run folder.
of="FROM run_dataset x JOIN run r ON r.id = x.run_id WHERE r.name = 'whole'"
[ "$(sql "SELECT count(*) $of")" = 4 ]
ok $? "both files on both sides"
[ "$(sql "SELECT count(*) $of AND x.records != x.used + x.skipped")" = 0 ]
ok $? "read = used + skipped"
[ "$(sql "SELECT group_concat(weight) FROM (SELECT weight $of AND role = 'train' ORDER BY weight)")" = '"1.0,3.0"' ]
ok $? "the weights"
[ "$(sql "SELECT sum(used) $of")" = "$(sql "SELECT sum(records) - sum(skipped) $of")" ] &&
    [ "$(sql "SELECT sum(skipped) $of AND role = 'train'")" = "$(sql "SELECT sum(records) $of AND role = 'valid'")" ]
ok $? "what one side skips the other reads"
[ "$(sql "SELECT min(split > 0 AND samples > used AND trained_tokens > 0 AND trained_tokens < tokens) $of AND role = 'train'")" = 1 ]
ok $? "records split, samples and tokens"
sql "SELECT reasons $of" >reasons
[ "$(grep -c 'held out' reasons)" = 4 ]
ok $? "and the reasons"
for key in read used skipped split pieces_dropped samples tokens trained_tokens; do
    has whole/run.json "\"$key\":[0-9]" "run.json has $key"
done
has whole/run.json '"held_out":\[{' "and the side held out"
pesc runs show whole
has out '^data counts' "runs show has them"
has out 'valid .*held out' "on both sides"
pesc runs show whole --json
has out '"data counts": \[' "as JSON too"
cp out show.json
grep -q '"trained": [0-9]' show.json || grep -q '"trained":[0-9]' show.json
ok $? "with trained tokens"

pesc train M $opts -o part --max-steps 13 --resume auto --packing next
exits 7 E-CK-MISMATCH "another packing"
pesc train M $opts -o part --max-steps 13 --resume auto --data-weights 1,1
exits 7 E-CK-MISMATCH "other weights"
pesc train M $opts -o part --max-steps 13 --resume auto --valid-fraction 0.1
exits 7 E-DS-CHANGED "another share held out"
pesc train M $opts -o none --eval-data heldout.json
exits 2 E-USAGE "two kinds of held-out data"
[ ! -e none ]
ok $? "which leaves nothing"
pesc train M --data tune.json -o none --valid-fraction 1e-9
exits 4 E-DS-EMPTY "a share that holds out nothing"

# The same from a file, epochs counted.
cat >mix.yaml <<'END'
data: [tune.json, pretrain.jsonl]
data-limits: "8,8"
packing: next
batch-tokens: 100
num-epochs: 2
END
pesc train M --config mix.yaml -o yaml --max-seq-length 40
ok $? "options from a file, two epochs"
has yaml/config.yaml 'packing: next' "are kept"
plan
