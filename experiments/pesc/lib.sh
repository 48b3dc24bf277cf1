# shellcheck shell=sh
# What the recipes share: data, tuning and evaluation of each variant and seed, tables. A finished
# step is found in the output folder and not done again, so that recipes share their runs.
#   PESC_OUT    pesc-out in the top folder: data, models, runs, history.db, a table per recipe
#   PESC_SEEDS  "1 2 3": each its own rules and questions, first weights, and order of the data
#   PESC_DRAWS  12: first weights of each seed in D9, whose question is about a small difference
#   PESC_STEPS, PESC_BATCH, PESC_RATE, PESC_HELD_OUT: the one recipe, for all variants
# PESC names the program; unset, it is built in build/.
top=$(cd "$(dirname "$0")/../.." && pwd)
here=$top/experiments/pesc
base=$top/experiments/base/model
out=${PESC_OUT:-$top/pesc-out}
# shellcheck disable=SC2034 # for d9.sh
seeds=${PESC_SEEDS:-1 2 3} draws=${PESC_DRAWS:-12}
steps=${PESC_STEPS:-250} batch=${PESC_BATCH:-64} rate=${PESC_RATE:-3e-3}
held_out=${PESC_HELD_OUT:-100}
if [ -z "${PESC:-}" ]; then
    . "$top/experiments/deps.sh"
    need_packages
    build_tree "$top" "$top/build"
    PESC=$top/build/pesc
fi
pesc=$PESC
make_base=$(dirname "$PESC")/experiments/base/make-base
tab=$(printf '\t')

# Only a folder that a recipe made is used, and only for the same recipe.
recipe="steps $steps, batch $batch, rate $rate, held out $held_out"
if [ -e "$out" ] && [ "$(cat "$out/.recipe" 2>/dev/null)" != "$recipe" ]; then
    echo "$out is not of this recipe ($recipe): remove it, or name another in PESC_OUT" >&2
    exit 2
fi
mkdir -p "$out/data" "$out/model" "$out/run" "$out/eval"
echo "$recipe" >"$out/.recipe"
PESC_DB=$out/history.db
export PESC_DB

# Seeds are worked on at a time, each with its part of the cores. No result depends on it.
# shellcheck disable=SC2086 # seeds are words
set -- $seeds
OMP_NUM_THREADS=$(($(nproc 2>/dev/null || echo 1) / $#))
[ "$OMP_NUM_THREADS" -gt 0 ] || OMP_NUM_THREADS=1
export OMP_NUM_THREADS

say() {
    echo "== $*" >&2
}

# structure VARIANT: experts, top-k, width of the variant's adapters.
structure() {
    case ${1%+*} in
    dense16) echo 1 1 16 ;; # of the active size of 2 x 8
    dense68) echo 1 1 68 ;; # of the total size of 8 x 8 and its router
    experts4) echo 4 2 8 ;;
    experts16) echo 16 2 8 ;;
    *) echo 8 2 8 ;;
    esac
}

# What differs from pesc train's defaults (balance loss switch, 0.01), by variant.
variant_options() {
    case ${1%+*} in
    none | official) echo "--balance-loss ${1%+*}" ;;
    frozen) echo "--freeze-router" ;;
    esac
}

# The seed's rules are new to the base: it was made with rules 0, the demonstration has rules 1.
data() { # SEED
    [ -d "$out/data/$1" ] && return
    say "data of seed $1"
    rm -rf "$out/data/.$1"
    "$make_base" "$out/data/.$1" --rules $((1000 + $1)) --held-out "$held_out"
    # The same questions, whose domains have changed places.
    awk -v seed="$1" -f "$here/shuffle.awk" "$out/data/.$1/heldout.json" \
        >"$out/data/.$1/shuffled.json"
    mv "$out/data/.$1" "$out/data/$1"
}

first_weights() { # VARIANT SEED: the seed of adapters and routers; VARIANT+N: others, N > 0
    case $1 in
    *+*) echo $((${1#*+} * 1000 + $2)) ;;
    *) echo "$2" ;;
    esac
}

model() { # VARIANT SEED: the folder, crafted if need be
    # shellcheck disable=SC2046 # three numbers
    set -- $(structure "$1") "$(first_weights "$1" "$2")"
    crafted=$out/model/$1x$3-top$2-seed$4
    [ -d "$crafted" ] || "$pesc" craft "$base" -o "$crafted" --experts "$1" --top-k "$2" \
        --adapter-dim "$3" --base-dtype f32 --seed "$4" >&2
    echo "$crafted"
}

tune() { # VARIANT SEED: the run folder is $out/run/VARIANT-SEED
    data "$2"
    run=$out/run/$1-$2
    grep -q '"status":"finished"' "$run/run.json" 2>/dev/null && return
    say "tuning $1, seed $2"
    rm -rf "$run"
    # shellcheck disable=SC2046 # options are words
    "$pesc" train "$(model "$1" "$2")" --data "$out/data/$2/tune.json" -o "$run" \
        --experiment pesc --max-steps "$steps" --batch-size "$batch" --learning-rate "$rate" \
        --lr-scheduler cosine --warmup-ratio 0.05 --max-grad-norm 1 --compute f32 \
        --router-steps "$steps" --logging-steps 10 --seed "$2" --quiet $(variant_options "$1") >&2
}

# flatten NAME COMMAND...: an evaluation's JSON as lines of words, see flat.awk: $out/eval/NAME.
flatten() {
    flat=$out/eval/$1
    [ -f "$flat" ] && return
    shift
    "$@" --json >"$flat.json"
    tr -d '\n' <"$flat.json" | tr '{}' '\n\n' | awk -f "$here/flat.awk" >"$flat.new"
    mv "$flat.new" "$flat"
}

evaluate() { # VARIANT... SEED: tuned and evaluated
    while [ $# -gt 1 ]; do
        variant=$1
        shift
        for own_seed in "$@"; do :; done # the last word
        tune "$variant" "$own_seed"
        flatten "$variant-$own_seed" "$pesc" eval "$(model "$variant" "$own_seed")" \
            --pack "$out/run/$variant-$own_seed" --data "$out/data/$own_seed/heldout.json" --routing
    done
}

# each COMMAND...: the command for every seed, which it gets as its last word; all seeds at a time.
each() {
    workers='' broken=0
    for seed in $seeds; do
        ("$@" "$seed") &
        workers="$workers $!"
    done
    for worker in $workers; do
        wait "$worker" || broken=1
    done
    [ $broken -eq 0 ] || exit 3
}

# The number after these words in an evaluation.
value() { # EVALUATION WORDS...
    from=$out/eval/$1
    shift
    awk -v words="$* " 'index($0, words) == 1 { print substr($0, length(words) + 1); exit }' "$from"
}
# Mean over the six skills of the held-out loss per token: the measure of all recipes.
loss() { # VARIANT SEED
    value "$1-$2" mean loss
}

# row NAME FUNCTION ARGUMENTS...: one line "NAME seed value" per seed.
row() {
    row_name=$1
    shift
    for seed in $seeds; do
        printf '%s\t%s\t%s\n' "$row_name" "$seed" "$("$@" "$seed")"
    done
}
less() { # VARIANT OTHER SEED: by how much the loss of the first is lower
    awk "BEGIN { print $(loss "$2" "$3") - $(loss "$1" "$3") }"
}

# Rows to a table in Markdown: seeds, mean, standard deviation of the seeds.
table() { # HEADING [DECIMALS]
    awk -F "$tab" -v heading="$1" -v decimals="${2:-3}" -f "$here/table.awk"
}

# claim TEXT CONDITION: counts the seeds (in $seed) for which an awk condition holds.
claim() {
    claim_text=$1 held=0 asked=0
    shift
    for seed in $seeds; do
        asked=$((asked + 1))
        if "$@" "$seed"; then
            held=$((held + 1))
        fi
    done
    echo "Rule: $claim_text: holds for $held of $asked seeds."
    [ "$held" -eq "$asked" ]
}
holds() { # CONDITION
    awk "BEGIN { exit !($1) }"
}

# begin NAME: what follows on stdout is the recipe's report, $out/NAME.md. finish STATUS shows it.
begin() {
    report=$out/$1.md
    exec 3>&1 >"$report.new"
}
finish() {
    exec 1>&3 3>&-
    mv "$report.new" "$report"
    cat "$report"
    exit "$1"
}
