#!/bin/sh
# The whole path in a few minutes, from nothing: a small dense Llama is made and
# trained, turned into a sparse mixture of adapters, tuned on questions of eight
# skills, and its adapters leave as a verified pack. Everything is written to
# demo-out/, with a history database of its own.
#   sh experiments/demo.sh
# Exit status 0: every step worked, and the loss on held-out questions has fallen.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/experiments/deps.sh"
out=$top/demo-out
started=$(date +%s)

say() {
    printf '\n== %s\n' "$*"
}

# Shows a command as one would type it, within 80 columns.
show() {
    echo "\$ $*" | fold -s -w 72 | sed -e '2,$s/^/      /' -e '$!s/$/\\/'
}

pesc() {
    show pesc "$@"
    "$top/build/pesc" "$@"
}

# An evaluation whose JSON goes to a file.
evaluate() {
    evaluate_to=$1
    shift
    show pesc eval "$@" --json ">$evaluate_to"
    "$top/build/pesc" eval "$@" --json >"$evaluate_to"
}

# "skill loss" lines of an evaluation's JSON, "all" for the whole.
losses() {
    tr -d '\n' <"$1" | tr '{}' '\n\n' | awk '
        match($0, /"loss": *[-+.0-9eE]+/) {
            loss = substr($0, RSTART, RLENGTH)
            sub(/.*: */, "", loss)
            skill = "all"
            if (match($0, /"domain": *"[^"]*"/)) {
                skill = substr($0, RSTART, RLENGTH - 1)
                sub(/.*"/, "", skill)
            }
            print skill, loss
        }'
}

# Only a folder that this script made is ever replaced.
fresh_folder() {
    if [ -e "$out" ]; then
        if [ ! -f "$out/.demo" ]; then
            echo "$out is in the way: it was not made by this script" >&2
            exit 2
        fi
        rm -rf "$out"
    fi
    mkdir "$out"
    : >"$out/.demo"
}

say "Building in build/"
need_packages
build_tree "$top" "$top/build"
built=$(date +%s)
fresh_folder
cd "$out"
PESC_DB=$out/history.db
export PESC_DB

say "A small Llama with random weights, and text made for it"
show make-base base --seed 42
"$top/build/experiments/base/make-base" base --seed 42
wc -c base/*.json* base/init/* | sed '$d'

say "The dense base learns to read (every weight is trained)"
pesc train base/init --trainable full --data base/pretrain.jsonl -o base-run \
    --max-steps 400 --batch-tokens 4096 --max-seq-length 256 --seed 42 \
    --learning-rate 3e-3 --lr-scheduler cosine --warmup-ratio 0.05 \
    --logging-steps 50

say "From dense to sparse: 8 adapters behind every FFN, 2 at work per token"
pesc craft base-run/model -o sparse --experts 8 --top-k 2 --adapter-dim 32 \
    --adapter-scaling 1 --base-dtype f32

say "Held-out questions before tuning"
evaluate before.json sparse --data base/heldout.json

say "Tuning adapters and routers; the base stays frozen"
pesc train sparse --data base/tune.json -o run --trainable adapters \
    --max-steps 400 --batch-size 32 --max-seq-length 256 --seed 42 \
    --learning-rate 3e-3 --lr-scheduler cosine --warmup-ratio 0.05 \
    --eval-data base/heldout.json --eval-steps 200 --logging-steps 50

say "The same questions after tuning"
evaluate after.json sparse --pack run --data base/heldout.json

say "The run, as the history knows it"
pesc runs show latest
pesc runs routing latest

say "The adapters leave as a pack, which anyone can verify"
pesc pack export run -o skills-1.0.0.pescpack
pesc pack verify skills-1.0.0.pescpack
evaluate pack.json sparse --pack skills-1.0.0.pescpack --data base/heldout.json

losses before.json >before.txt
losses after.json >after.txt
losses pack.json >pack.txt
if ! cmp -s after.txt pack.txt || [ ! -s pack.txt ]; then
    echo "The pack does not evaluate to the same numbers as the run:" >&2
    diff after.txt pack.txt >&2 || true
    exit 1
fi
echo "The pack evaluates bit-equal to the run it came from."

say "Loss on questions that training did not see"
awk '
    NR == FNR { before[$1] = $2; next }
    FNR == 1 { printf "  %-12s %10s %10s\n", "skill", "before", "after" }
    { printf "  %-12s %10.3f %10.3f\n", $1, before[$1], $2 }
    $1 == "all" { found = 1; fell = $2 < before[$1] }
    END {
        if (!found) { print "no overall loss in the evaluation"; exit 1 }
        if (!fell) { print "the loss has not fallen"; exit 1 }
    }' before.txt after.txt
ended=$(date +%s)
echo
echo "Done in $((ended - started)) s ($((built - started)) s of it for building)." \
    "All of it is in demo-out/."
