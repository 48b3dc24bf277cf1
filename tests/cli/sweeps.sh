#!/bin/sh
# Sweeps of runs: interrupted and gone on with, side by side, as commands, ranked, refused.
# (sweep.sh is another thing: commands that run out of memory.)
: "${PESC:?}" "${PESC_SRC:?}"
. "$PESC_SRC/tests/cli/lib.sh"

make_base
pesc craft base/init -o M --experts 2 --adapter-dim 4 --seed 3
ok $? "a small model"
cat >six.yaml <<'Y'
model: M
data: [tune.json]
eval-data: heldout.json
max-steps: 24
batch-size: 4
max-seq-length: 64
eval-steps: 12
save-steps: 5
experiment: rates
grid:
  learning-rate: [1e-3, 1e-2, 3e-2]
  seed: [1, 2]
Y
board() { # DIR
    "$PESC" train --sweep six.yaml -o "$1" --leaderboard 2>err
}

# --- whole ---
pesc train --sweep six.yaml -o whole
ok $? "a sweep of six runs"
cp out whole.board
has whole.board '^ *1 ' "ends with a leaderboard"
[ "$(ls -d whole/*/ | wc -l)" = 6 ]
ok $? "a folder each"
board whole >again
same whole.board again "the leaderboard alone is the same"
[ "$(sql "SELECT count(*) FROM v_run WHERE experiment = 'rates' AND status = 'finished'")" = 6 ]
ok $? "the history has them as one experiment"
best=$(sed -n 's/^ *1 .* //p' whole.board)
has "whole/$best/config.yaml" 'learning-rate' "a run's configuration is its own"
pesc train --sweep six.yaml -o whole --json
grep -q '"rank": 6' out && [ "$(sql "SELECT count(*) FROM segment")" = 6 ]
ok $? "the same again repeats none, and prints JSON"

# --- stopped in the middle ---
begin() { # DIR: starts a sweep in a session of its own, as a user in another terminal
    setsid "$PESC" train --sweep six.yaml -o "$1" >out 2>err &
    sweep=$!
    for _ in $(seq 300); do
        grep -q '^\[3/6\]' err && break
        sleep 0.1
    done
}
begin killed
kill -9 $sweep
wait $sweep 2>/dev/null
sleep 0.5
[ "$(sql "SELECT count(*) FROM v_run v JOIN run r ON r.id = v.id WHERE r.dir LIKE '%/killed/%'")" -lt 6 ]
ok $? "killed in the middle"
pesc train --sweep six.yaml -o killed
ok $? "goes on"
cp out board.now
same whole.board board.now "to the same leaderboard"
[ "$(sql "SELECT count(*) FROM run WHERE dir LIKE '%/killed/%' AND status = 'finished'")" = 6 ]
ok $? "each run is there once"

begin stopped
kill -INT $sweep
wait $sweep
exits 130 E-INTERRUPTED "Ctrl+C"
has err 'goes on with the runs that are left' "which says how to go on"
[ "$(sql "SELECT count(*) FROM run WHERE dir LIKE '%/stopped/%' AND status = 'running'")" = 0 ]
ok $? "no run is left at work"
pesc train --sweep six.yaml -o stopped
ok $? "goes on"
cp out board.now
same whole.board board.now "to the same leaderboard"

# --- side by side ---
pesc train --sweep six.yaml -o two --jobs 2 --memory 1GiB
ok $? "two at a time"
has err '2 runs at a time, each with 512 MiB and 1 thread' "share the memory"
cp out board.now
same whole.board board.now "to the same leaderboard"
[ "$(sql "SELECT max(budget_bytes) FROM plan p JOIN run r ON r.id = p.run_id
    WHERE r.dir LIKE '%/two/%'")" = 536870912 ]
ok $? "each within its share"

# --- commands ---
pesc train --sweep six.yaml -o cmds --print-commands
[ "$(wc -l <out)" = 6 ] && [ ! -e cmds ]
ok $? "six commands, and nothing is made"
sed "s|^pesc|'$PESC'|" out >cmds.sh
mkdir cmds
sh cmds.sh >out 2>err
ok $? "which run"
board cmds >out
cp out board.now
same whole.board board.now "to the same leaderboard"

# --- lists, failing runs, NaN ---
cat >list.yaml <<'Y'
data: tune.json
max-steps: 2
batch-size: 2
max-seq-length: 32
metric: train/loss
runs:
  - {learning-rate: 1e-3, data: [tune.json, heldout.json]}
  - {pack: "no such pack's"}
  - {seed: 7}
Y
pesc train M --sweep list.yaml -o list --seed 5
exits 2 E-USAGE "an option of the command line that runs change"
pesc train M --sweep list.yaml -o list
exits 1 E-RUN-FAILED "a run that fails"
has err '1 of 3 runs failed' "is counted"
has out 'finished' "the others are made, and ranked"
has out 'not begun' "the failed one, too"
has out '^ *1 *[0-9.]* *2 ' "by their training loss"
grep -q 'error\[' list/*pack*.log
ok $? "its words are in its log"
pesc train M --sweep list.yaml -o list --print-commands
has out "'--pack=no such pack'\\\\''s'" "words are quoted for a shell"
sed -i '/no such/d' list.yaml
pesc train M --sweep list.yaml -o list
ok $? "without it all is well"
has err '1 earlier run is not in the file any more' "which is said"

# --- refused ---
refuse() { # CODE WHAT TEXT
    printf '%b' "$3" >bad.yaml
    pesc train M --data tune.json --sweep bad.yaml -o bad
    exits 2 "$1" "$2"
    [ ! -e bad ]
    ok $? "and nothing is made"
}
refuse E-USAGE-CONFIG "no runs" 'max-steps: 2\n'
refuse E-USAGE-CONFIG "an empty grid" 'grid: {seed: []}\n'
refuse E-USAGE-CONFIG "a key that there is not" 'grid: {learning-rat: [1]}\n'
has err "did you mean 'learning-rate'" "the nearest is named"
refuse E-USAGE-VALUE "a value that is none" 'grid: {seed: [1, x]}\n'
refuse E-USAGE-CONFIG "the same run twice" 'grid: {seed: [1, 1]}\n'
refuse E-USAGE-CONFIG "a name, which runs have" 'name: x\ngrid: {seed: [1]}\n'
refuse E-USAGE-CONFIG "a metric that there is not" 'metric: wer\ngrid: {seed: [1]}\n'
refuse E-USAGE-CONFIG "a list for one value" 'max-steps: [1, 2]\ngrid: {seed: [1]}\n'
pesc train M --data tune.json -o bad --jobs 2
exits 2 E-USAGE "jobs without a sweep"
pesc plan M --data tune.json --sweep six.yaml
exits 2 E-USAGE "a plan of a sweep"
pesc train M --sweep missing.yaml -o bad
exits 9 E-IO-MISSING "no such file"
printf 'grid: {threads: [1, 2]}\n' >bad.yaml
pesc train M --data tune.json --sweep bad.yaml -o bad --jobs 2
exits 2 E-USAGE-CONFIG "runs with threads of their own, side by side"
flock whole/.sweep.lock "$PESC" train --sweep six.yaml -o whole >out 2>err
exits 12 E-RUN-BUSY "another sweep is at work there"
plan
