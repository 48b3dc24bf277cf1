#!/bin/sh
# The whole path on a small random base: craft, train, look it up, export, verify, import, evaluate
# and generate. What evaluates what must agree to the last bit.
. "$PESC_SRC/tests/cli/lib.sh"
make_base

# --- craft: nothing changes yet ---
pesc craft base/init -o M --experts 4 --top-k 2 --adapter-dim 4 --seed 3
ok $? "craft"
pesc eval base/init --data heldout.json --max-seq-length 48 --json
ok $? "eval of the dense base"
strip out >dense.json
pesc eval M --data heldout.json --max-seq-length 48 --json
strip out >crafted.json
same dense.json crafted.json "crafted with zero up-projections: evaluates as the dense base, bit for bit"
pesc craft base/init -o M
exits 2 E-USAGE-EXISTS "craft does not overwrite"
pesc craft base/init -o M2/ --experts 4 --adapter-dim 4 --seed 3 --json
ok $? "craft with a slash behind the name"
same M/adapter.safetensors M2/adapter.safetensors "the same seed, the same adapters"
pesc craft M -o M3
exits 7 E-MODEL-KIND "craft of a crafted folder"
pesc craft base/init -o M3 --experts 2 --top-k 3
exits 2 E-USAGE-VALUE "more adapters at work than there are"
[ ! -e M3 ]
ok $? "and nothing is made"
pesc craft base/init -o M1 --experts 4 --top-k 1 --adapter-dim 4
has err 'warning\[W-CRAFT-TOP1\]' "top-k 1 warns"

# --- train ---
opts="--data tune.json --eval-data heldout.json --eval-steps 4 --batch-size 4 --max-seq-length 48 \
--learning-rate 1e-2 --max-steps 10 --router-steps 5 --seed 7"
pesc train M $opts -o R --json
ok $? "train"
cp out train.json
[ "$(grep -c '"event":"step"' train.json)" = 10 ]
ok $? "a line for every step"
for key in step ce balance lr grad_norm tokens_per_s; do
    [ "$(grep '"event":"step"' train.json | grep -c "\"$key\":[0-9]")" = 10 ]
    ok $? "with $key"
done
tail -n 1 train.json >end.json
for key in loss tokens_per_s trained_tokens_per_s peak_rss_bytes wall_seconds steps; do
    has end.json "\"$key\":[0-9]" "the closing object has $key"
done
has end.json '"run_id":"[0-9a-f]\{32\}"' "and the run's id"
has end.json '"event":"end","status":"finished"' "and says how it ended"
[ "$(grep '"event":"eval"' train.json | grep -c '"domain":null')" = 4 ]
ok $? "evaluated before, twice on the way, and after"
before=$(grep '"event":"eval","step":0,' train.json | grep '"domain":null' | number loss)
after=$(grep '"event":"eval","step":10,' train.json | grep '"domain":null' | number loss)
awk "BEGIN { exit !($after < $before) }"
ok $? "the loss on other records has fallen ($before to $after)"
[ -s R/adapter.safetensors ] && [ -s R/config.yaml ] && [ -s R/segments.jsonl ]
ok $? "the run folder"
grep -q '"status":"finished"' R/run.json
ok $? "is finished"
[ -z "$(find R -name '.tmp-*')" ]
ok $? "no temporaries"

# --- the history ---
pesc runs list
has out 'finished' "runs list"
pesc runs show R
has out 'tune.json' "runs show: the data"
has out 'heldout.json' "and the held-out data"
pesc runs routing latest
has out 'layer' "runs routing"
[ "$(sql "SELECT count(*) FROM v_metric WHERE metric = 'ce'")" = 10 ]
ok $? "runs sql: a row for every step"
[ "$(sql "SELECT count(*) FROM router_expert")" = 32 ]
ok $? "load of every layer and expert, twice"
sql "SELECT count(DISTINCT task) FROM eval WHERE metric = 'loss'" >n
[ "$(cat n)" = 7 ]
ok $? "held-out loss in all and by domain"
sum=$(sql "SELECT max(abs(s - 1)) < 1e-9 FROM (SELECT sum(load) AS s FROM router_expert GROUP BY layer, step)")
[ "$sum" = 1 ]
ok $? "loads sum to 1"

# --- packs ---
pesc eval M --pack R --data heldout.json --max-seq-length 48 --json
ok $? "eval with the run"
strip out >run.json
! cmp -s run.json crafted.json
ok $? "which is not the model that it started from"
loss=$(number loss <run.json)
awk "BEGIN { d = $loss - $after; exit !(d < 1e-6 && d > -1e-6) }"
ok $? "and has the loss that training reported"
pesc pack export R -o P.pescpack --license mit
ok $? "pack export"
pesc pack verify P.pescpack
ok $? "pack verify"
pesc pack import P.pescpack --model M
ok $? "pack import for the crafted folder"
digest=$(cat out)
pesc eval M --pack P.pescpack --data heldout.json --max-seq-length 48 --json
strip out >pack.json
same run.json pack.json "the pack evaluates as the run, bit for bit"
pesc eval base/init --pack P.pescpack --data heldout.json --max-seq-length 48 --json
strip out >onbase.json
same run.json onbase.json "and so it does on the dense base, which takes its structure"
pesc eval M --pack "$XDG_DATA_HOME/pesc/packs/$digest" --data heldout.json --max-seq-length 48 --json
strip out >imported.json
same run.json imported.json "the imported pack likewise"
pesc eval M --pack R/adapter.safetensors --data heldout.json --max-seq-length 48 --json
strip out >plain.json
same run.json plain.json "and the plain safetensors file"
[ "$(sql "SELECT count(*) FROM v_lineage WHERE digest = '$digest' AND run_name = 'R'")" = 1 ]
ok $? "the history leads from the pack to the run"
[ "$(sql "SELECT count(*) FROM eval e JOIN run r ON r.id = e.run_id WHERE r.name = 'R' AND e.metric = 'accuracy' AND e.step = 10 AND e.task = 'heldout.json'")" = 1 ]
ok $? "and an evaluation joins its run"
"$tools/make-base" other --seed 2 >/dev/null || exit 99
pesc eval other/init --pack P.pescpack --data heldout.json
exits 7 E-PK-BASE "a pack for another base"
pesc pack import P.pescpack --store S --model other/init
exits 7 E-PK-BASE "import for another base"
[ -z "$(ls -A S)" ]
ok $? "and the store stays empty"
pesc pack import P.pescpack --store S --model other/init --force-base
ok $? "unless forced"
has err 'warning\[W-PK-FORCED\]' "with a warning"
printf ' ' >>"S/$digest/README.md"
pesc eval M --pack "S/$digest" --data heldout.json
exits 5 E-PK-HASH "an imported pack that was changed"
pesc eval M --pack other --data heldout.json
exits 5 E-PK-FORMAT "a folder that is no pack"
cp P.pescpack bad.pescpack
printf '\377' | dd of=bad.pescpack bs=1 seek=$(($(wc -c <P.pescpack) / 2)) conv=notrunc 2>/dev/null
pesc eval M --pack bad.pescpack --data heldout.json
[ $? -eq 5 ]
ok $? "a damaged pack: exit 5"
pesc eval M1 --pack P.pescpack --data heldout.json
exits 7 E-PK-BASE "a pack of another structure"
pesc eval R --data heldout.json
exits 7 E-MODEL-KIND "a run of adapters is no model"

# --- from there on ---
pesc train M --pack P.pescpack --data tune.json -o R2 --max-steps 1 --max-seq-length 48 --learning-rate 0 --warmup-ratio 0
ok $? "train starts from a pack"
same R/adapter.safetensors R2/adapter.safetensors "and with learning rate 0 ends there"
pesc train base/init --trainable full --data pretrain.jsonl -o F --max-steps 2 --batch-size 2 --max-seq-length 24
ok $? "train --trainable full"
pesc craft F/model -o FM --experts 2 --adapter-dim 2
ok $? "craft of its result"
pesc craft F -o FM2 --experts 2 --adapter-dim 2
ok $? "or of the run folder"
pesc eval F --data heldout.json --max-seq-length 48 --json
strip out >full.json
pesc eval FM --data heldout.json --max-seq-length 48 --json
strip out >fullcrafted.json
same full.json fullcrafted.json "which are the same model"
pesc train F --trainable full --data pretrain.jsonl -o F2 --max-steps 1 --batch-size 2 --max-seq-length 24
ok $? "a full run goes on from a full run"
pesc pack export F -o F.pescpack
exits 7 E-MODEL-KIND "a full run makes no pack"
pesc train base/init --data tune.json -o X --max-steps 1
exits 7 E-MODEL-KIND "adapters of a dense folder"
pesc train M --trainable full --data tune.json -o X --max-steps 1
exits 7 E-MODEL-KIND "every weight of a crafted folder"
[ ! -e X ]
ok $? "refused before a folder is made"

# --- experts: who is chosen, and what each is worth ---
pesc eval M --pack R --data heldout.json --max-seq-length 48 --routing
ok $? "eval --routing"
[ "$(grep -c '^layer [0-3], choice ' out)" = 12 ]
ok $? "each layer: any choice, the first, the second"
! grep -q '.\{81\}' out
ok $? "within 80 columns"
awk '/^layer/ { if (n && (s < 99.7 || s > 100.3)) bad = 1; n++ } /^all / && n { s = $2 + $3 + $4 + $5 }
    END { exit bad || n != 12 }' out
ok $? "whose shares sum to 100 %"
pesc eval M --pack R --data heldout.json --max-seq-length 48 --routing --json
has out '"routing":\[{"layer":0,"choice":"any","max_load":[0-9.]*,"divergence":[0-9.]*}' "and as JSON"
pesc eval M --pack R --data heldout.json --max-seq-length 48 --knock-out 2:1 --json
ok $? "eval --knock-out"
cp out without.json
masked=$(number loss <without.json)
! cmp -s out run.json && has out '"knock_out":"2:1"' "is another model"
[ "$(sql "SELECT abs(value - $loss) < 1e-9 FROM eval e JOIN run r ON r.id = e.run_id WHERE r.name = 'R' AND metric = 'loss' AND step = 10 AND task = 'heldout.json'")" = 1 ]
ok $? "whose loss does not join the run's history"
pesc eval M --pack R --data heldout.json --max-seq-length 48 --knock-out all --json
[ "$(grep -o '"increase":' out | wc -l)" = $((4 * 4 * 7)) ]
ok $? "eval --knock-out all: every expert, in all and by domain"
by=$(grep -o '"layer":2,"expert":1,"domain":null,"increase":[-+.0-9e]*' out | sed 's/.*://')
awk "BEGIN { d = $masked - $loss - ($by); exit !(d < 1e-12 && d > -1e-12) }"
ok $? "which agrees with knocking that one out ($by)"
pesc eval M --pack R --data heldout.json --max-seq-length 48 --knock-out all
[ "$(grep -c '^layer [0-3]: increase' out)" = 4 ]
ok $? "as tables"
pesc eval M --data heldout.json --knock-out 4:0
exits 2 E-USAGE-VALUE "a layer that there is not"
pesc eval M --data heldout.json --knock-out 1:x
exits 2 E-USAGE-VALUE "no number of an expert"
pesc eval M1 --data heldout.json --knock-out 1:2
ok $? "one of four with top-1"
pesc craft base/init -o M2of2 --experts 2 --top-k 2 --adapter-dim 4
pesc eval M2of2 --data heldout.json --knock-out all
exits 2 E-USAGE-VALUE "one of two that all tokens need"
pesc eval base/init --data heldout.json --routing
exits 7 E-MODEL-KIND "routing of a dense model"

# --- routers that keep their weights ---
pesc train M $opts --freeze-router --weight-decay 0.1 -o Z
ok $? "train --freeze-router"
has err 'routers frozen' "says so"
has err 'adapters without routers' "and what is trained"
[ "$(sql "SELECT value FROM param p JOIN run r ON r.id = p.run_id WHERE r.name = 'Z' AND p.key = 'freeze-router'")" = true ]
ok $? "the history knows"
has Z/config.yaml '^freeze-router: true' "and so does the run's configuration"
pesc train M $opts -o Z --resume auto
exits 7 E-CK-MISMATCH "its checkpoint is none of a run that trains routers"
pesc train base/init --trainable full --freeze-router --data tune.json -o X --max-steps 1
exits 2 E-USAGE-VALUE "a dense model has no routers to freeze"

# --- generate ---
pesc generate M --pack R --prompt "What is 10 plus 14?" -n 12 --json
ok $? "generate"
ids out >greedy
pesc generate base/init --pack P.pescpack --prompt "What is 10 plus 14?" -n 12 --json --seed 5
ids out >again
same greedy again "is deterministic"
pesc generate M --pack R --prompt "What is 10 plus 14?" -n 12 --json --temperature 1.5 --seed 1
ids out >warm1
pesc generate M --pack R --prompt "What is 10 plus 14?" -n 12 --json --temperature 1.5 --seed 1
ids out >warm2
same warm1 warm2 "draws are reproducible"
pesc generate M --pack R --prompt "What is 10 plus 14?" -n 12 --json --temperature 1.5 --seed 2
ids out >warm3
! cmp -s warm1 warm3
ok $? "and depend on the seed"
first=$(sed 's/[^0-9]*\([0-9]*\).*/\1/' greedy)
cp -r base/init stops
sed "s/\"eos_token_id\": *[0-9]*/\"eos_token_id\": $first/" base/init/config.json >stops/config.json
pesc generate stops --pack P.pescpack --force-base --prompt "What is 10 plus 14?" -n 12 --json
[ "$(ids out)" = '"ids":[]' ]
ok $? "stops at the end token"
printf 'What is 10 plus 14?' >prompt.txt
pesc generate M --pack R --prompt-file prompt.txt -n 12 --json
ids out >fromfile
same greedy fromfile "a prompt from a file"
plan
