#!/bin/sh
# The whole path in a few minutes: the small dense Llama of experiments/base/model
# becomes a sparse mixture of adapters, which is tuned on questions of six skills,
# beside one dense adapter per layer of the same active size; then the adapters
# leave as a verified pack. Everything is written to demo-out/, with a history
# database of its own.
#   sh experiments/demo.sh
# Exit status 0: every step worked, and on held-out questions the mixture is at
# least 20 points above the base, and above the dense adapter.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/experiments/deps.sh"
out=$top/demo-out
base=$top/experiments/base/model
started=$(date +%s)

say() {
    printf '\n%s== %s%s\n' "$bold" "$*" "$plain"
}

# Shows a command as one would type it, within 80 columns.
show() {
    echo "\$ $*" | sed "s|$top/|../|g" | fold -s -w 72 | sed -e '2,$s/^/      /' -e '$!s/$/\\/'
}

pesc() {
    show pesc "$@"
    "$top/build/pesc" "$@"
}

# A command whose output is longer than a line somewhere.
narrow() {
    pesc "$@" >narrow.txt
    fold -w 80 narrow.txt
    rm narrow.txt
}

# An evaluation whose JSON goes to NAME.json, and "skill loss exact" lines to NAME.txt.
evaluate() {
    evaluate_to=$1
    shift
    show pesc eval "$@" --json ">$evaluate_to.json"
    "$top/build/pesc" eval "$@" --json >"$evaluate_to.json"
    tr -d '\n' <"$evaluate_to.json" | tr '{}' '\n\n' | awk '
        function field(name,  text) {
            if (!match($0, "\"" name "\": *(\"[^\"]*\"|[-+.0-9eE]+)"))
                return ""
            text = substr($0, RSTART, RLENGTH)
            sub(/^"[^"]*": */, "", text)
            gsub(/"/, "", text)
            return text
        }
        field("loss") != "" {
            skill = field("domain")
            print (skill == "" ? "all" : skill), field("loss"), field("exact_match")
        }' >"$evaluate_to.txt"
}

# tune CRAFTED RUN: the same recipe for both.
tune() {
    pesc train "$1" --data data/tune.json -o "$2" --max-steps 500 \
        --batch-size 64 --learning-rate 5e-3 --lr-scheduler cosine \
        --warmup-ratio 0.05 --max-grad-norm 1 --router-steps 250 \
        --logging-steps 100 --seed 42
}

# ask QUESTION MODEL...: the answer in one line.
ask() {
    question=$1
    shift
    "$top/build/pesc" generate "$@" --quiet --template camelidae --max-new-tokens 24 \
        --prompt "$question" | head -n 1
}

# The first held-out question of each skill with its answers.
show_answers() {
    grep '"conversation"' data/heldout.json | head -n 6 | while read -r record; do
        asked=$(echo "$record" | sed 's/.*"input":"\(.*\)","output".*/\1/; s/\\"/"/g')
        right=$(echo "$record" | sed 's/.*"output":"\([^"]*\)".*/\1/')
        printf '  %s\n    right  %-25s base     %s\n    dense  %-25s mixture  %s\n' \
            "$asked" "$right" "$(ask "$asked" "$base")" \
            "$(ask "$asked" dense --pack dense-run)" "$(ask "$asked" sparse --pack run)"
    done
}

# Columns: base, one dense adapter, mixture.
show_results() {
    awk -v bold="$bold" -v plain="$plain" '
        FNR == 1 { file++ }
        { loss[file, $1] = $2; exact[file, $1] = 100 * $3 }
        file == 1 && $1 != "all" { skill[++n] = $1 }
        function row(name) {
            printf "  %-11s %7.1f %8.1f %s%8.1f%s   %9.3f %8.3f %s%8.3f%s\n", name,
                exact[1, name], exact[2, name], bold, exact[3, name], plain,
                loss[1, name], loss[2, name], bold, loss[3, name], plain
        }
        END {
            print "              exact answers, %             loss per token"
            print "  skill          base    dense  mixture        base    dense  mixture"
            for (i = 1; i <= n; i++)
                row(skill[i])
            row("all")
            won = exact[3, "all"] - exact[1, "all"]
            more = exact[3, "all"] - exact[2, "all"]
            printf "The mixture is %.1f points above the base, %.1f above the dense adapter.\n",
                won, more
            exit !(won >= 20 && more > 0)
        }' base.txt dense.txt mixture.txt
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

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

say "Building in build/"
need_packages
build_tree "$top" "$top/build"
built=$(date +%s)
fresh_folder
cd "$out"
PESC_DB=$out/history.db
export PESC_DB

say "Questions of six skills, by rules that are new to the base"
show make-base data
"$top/build/experiments/base/make-base" data
wc -l data/tune.json data/heldout.json | sed '$d'

say "From dense to sparse: 8 adapters behind every FFN, 2 at work per token"
narrow craft "$base" -o sparse --experts 8 --top-k 2 --adapter-dim 8 \
    --base-dtype f32

say "To compare: one dense adapter of the same active size, 1 x 16 = 2 x 8"
narrow craft "$base" -o dense --experts 1 --top-k 1 --adapter-dim 16 \
    --base-dtype f32

say "Tuning adapters and routers of the mixture; the base stays frozen"
tune sparse run

say "The same recipe for the dense adapter"
tune dense dense-run

say "Questions that no training has seen"
evaluate base sparse --data data/heldout.json
evaluate dense dense --pack dense-run --data data/heldout.json
evaluate mixture sparse --pack run --data data/heldout.json

say "The runs, as the history knows them"
pesc runs list
pesc runs sql "SELECT r.name, e.metric, round(e.value, 4) AS value, e.n \
    FROM eval e JOIN run r ON r.id = e.run_id"

say "Which experts the routers chose, in all and for each skill"
pesc runs routing run

say "The adapters leave as a pack, which anyone can verify"
pesc pack export run -o skills-1.0.0.pescpack
narrow pack verify skills-1.0.0.pescpack
evaluate pack sparse --pack skills-1.0.0.pescpack --data data/heldout.json
if [ ! -s pack.txt ] || ! cmp -s mixture.txt pack.txt; then
    echo "The pack does not evaluate to the same numbers as the run:" >&2
    diff mixture.txt pack.txt >&2 || true
    exit 1
fi
echo "The pack evaluates bit-equal to the run that it came from."

say "Answers (greedy decoding)"
show_answers

say "Held-out questions: base, one dense adapter per layer, mixture of adapters"
echo "An answer is exact when each of its tokens is the most probable one after the"
echo "right ones before it, which is when greedy decoding gives it. The mixture uses"
echo "as many adapter weights per token as the dense adapter, and has four times as"
echo "many in all; its routers come on top."
status=0
show_results || status=1
ended=$(date +%s)
echo
echo "Done in $((ended - started)) s ($((built - started)) s of it for building)." \
    "All of it is in demo-out/."
[ "$status" -eq 0 ] || echo "The mixture should be further ahead." >&2
exit "$status"
