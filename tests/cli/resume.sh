#!/bin/sh
# A run that was stopped or killed and resumed must be the run that was not: the same adapters and
# the same rows in the history.
. "$PESC_SRC/tests/cli/lib.sh"
make_base
"$PESC" craft base/init -o M --experts 4 --adapter-dim 4 >/dev/null || exit 99
steps=60
opts="--data tune.json --eval-data heldout.json --eval-steps 1 --batch-size 4 --max-seq-length 48 \
--max-steps $steps --learning-rate 1e-2 --lr-scheduler cosine --adapter-dropout 0.1 --save-steps 6 \
--router-steps 10 --json"

# Starts a run in the background, waits for its step 8, and sends it a signal. Nobody reads what it
# prints then, so that it cannot come further than a full pipe lets it, some 40 steps.
strike() { # SIGNAL RUN OPTIONS
    rm -f lines
    mkfifo lines
    # A shell's background job would ignore SIGINT.
    env --default-signal=INT "$PESC" train M $opts $3 -o "$2" >lines 2>err &
    pid=$!
    exec 3<lines
    while read -r line <&3; do
        case $line in *'"event":"step","step":8,'*) break ;; esac
    done
    # A handler in a thread that computes would write into the heap: see src/cli/stop.h.
    cgt=$(sed -n 's/^SigCgt:[^0-9a-f]*0*\(.*\)/\1/p' /proc/$pid/status)
    [ $((0x0$cgt & 0x4003)) -eq 0 ]
    ok $? "no handler of SIGHUP, SIGINT or SIGTERM"
    kill "-$1" $pid
    # Its thread for signals takes it up while the pipe holds the run back; on a busy machine that
    # may take longer than all the steps that are left.
    tries=0
    while [ $tries -lt 100 ] && grep -q '^ShdPnd:.*[1-9a-f]' /proc/$pid/status 2>/dev/null; do
        tries=$((tries + 1))
        sleep 0.1
    done
    sleep 0.2
    cat <&3 >out
    exec 3<&-
    wait $pid
    status=$?
}
# What must not depend on how often a run was interrupted.
rows() { # RUN
    sql "SELECT metric, step, value FROM v_metric WHERE uuid = (SELECT uuid FROM run WHERE name = '$1')
        AND metric NOT IN ('tokens_per_s', 'trained_tokens_per_s', 'peak_rss_bytes')
        ORDER BY metric, step"
    sql "SELECT task, metric, step, value, n FROM eval WHERE run_id = (SELECT id FROM run WHERE name = '$1')
        ORDER BY task, metric, step"
}
routing() { # RUN
    sql "SELECT layer, expert, step, load, prob FROM router_expert WHERE run_id =
        (SELECT id FROM run WHERE name = '$1') ORDER BY layer, expert, step"
}

pesc train M $opts -o whole
ok $? "a run without interruption"
cp out whole.json
rows whole >whole.rows
routing whole >whole.routing

# Runs that are killed have their optimiser's state on disk, and go on with it in memory.
for how in TERM KILL INT HUP; do
    keep=''
    [ $how = KILL ] && keep='--optimizer-state disk'
    strike $how $how "$keep"
    case $how in
    KILL)
        [ $status -eq 137 ]
        ok $? "SIGKILL"
        grep -q '"status":"running"' KILL/run.json
        ok $? "which nobody could write down"
        [ -z "$(find KILL -name '.tmp-*-state')" ]
        ok $? "and its state on disk is gone"
        ;;
    *)
        want=143 code=E-TERMINATED
        [ $how = INT ] && want=130 code=E-INTERRUPTED
        [ $status -eq $want ] && grep -q "error\[$code\] stopped after step" err
        ok $? "SIG$how: exit $want, $code"
        grep -q -e '--resume auto' err
        ok $? "says how to go on"
        grep -q '"status":"interrupted"' $how/run.json
        ok $? "the run is interrupted"
        has out '"event":"end","status":"interrupted"' "and the JSON says so"
        [ "$(sql "SELECT status FROM run WHERE name = '$how'")" = interrupted ]
        ok $? "and the history"
        ;;
    esac
    [ ! -e $how/adapter.safetensors ]
    ok $? "there is no result"
    pesc eval M --pack $how --data heldout.json
    exits 3 E-CFG-CRAFT "which eval says"
    cp -r $how $how.copy
    pesc train M $opts -o $how
    exits 2 E-USAGE-EXISTS "a run is not started over"
    pesc train M $opts -o $how --resume auto
    ok $? "resume"
    tail -n 1 out >end.json
    same whole/adapter.safetensors $how/adapter.safetensors "ends in the same adapters"
    rows $how >$how.rows
    same whole.rows $how.rows "and the same rows"
    [ "$(sql "SELECT tokens_seen FROM run WHERE name = '$how'")" = "$(sql "SELECT tokens_seen FROM run WHERE name = 'whole'")" ]
    ok $? "and tokens"
    [ "$(sql "SELECT count(*) FROM segment g JOIN run r ON r.id = g.run_id WHERE r.name = '$how'")" = 2 ]
    ok $? "in two segments"
    [ "$(grep -c '"started":' $how/segments.jsonl)" -eq 2 ]
    ok $? "which the folder knows as well"
    [ "$(grep -c '"ended_ms":' $how/segments.jsonl)" -eq $(($([ $how = KILL ] && echo 0 || echo 1) + 1)) ]
    ok $? "and how each ended, but for one that was killed"
    has $how/metrics.jsonl '{"event":"resume","step":[0-9]*}' "and where it went on"
    for key in tokens trained_tokens loss eval_loss; do
        [ "$(number $key <end.json)" = "$(tail -n 1 whole.json | number $key)" ]
        ok $? "the closing object counts the whole run's $key"
    done
done
routing KILL >KILL.routing
same whole.routing KILL.routing "routing rows are those of the whole run, after SIGKILL"
curve() { # RUN
    "$PESC" pack export "$1" -o "$1.pescpack" >/dev/null 2>&1
    "$PESC" pack import "$1.pescpack" --store S 2>/dev/null >digest
    cat "S/$(cat digest)/metrics.jsonl"
}
curve whole >whole.curve
curve KILL >KILL.curve
same whole.curve KILL.curve "a pack's curve has each step once"

# A finished run.
pesc train M $opts -o KILL --resume auto
ok $? "resume of a finished run"
has out '"event":"end".*"loss":[0-9]' "knows its loss"
same whole/adapter.safetensors KILL/adapter.safetensors "and changes nothing"
grep -q '"metric":"loss"' KILL/run.json && ! grep -q nan KILL/run.json
ok $? "and its evaluation"
rows KILL >again.rows
same whole.rows again.rows "and keeps its rows"

# The other form of the optimiser, from memory to disk and back; and from one form to the other.
pesc train M $opts -o bytes --optimizer adamw8bit
ok $? "a run with moments as bytes"
strike TERM part "--optimizer adamw8bit --optimizer-state disk"
[ $status -eq 143 ]
ok $? "and one on disk, stopped"
cp -r part part.copy
pesc train M $opts -o part --resume auto --optimizer adamw8bit
same bytes/adapter.safetensors part/adapter.safetensors "ends in the same adapters in memory"
pesc train M $opts -o part.copy --resume auto --optimizer adamw8bit --optimizer-state disk
same bytes/adapter.safetensors part.copy/adapter.safetensors "and on disk"
! cmp -s whole/adapter.safetensors bytes/adapter.safetensors
ok $? "which are not those of the other form"
grep -q '^optimizer: adamw8bit$' bytes/config.yaml && [ "$(sql "SELECT count(*) FROM param
    WHERE key = 'optimizer' AND value = 'adamw8bit'")" -ge 1 ]
ok $? "folder and history know the form"
pesc train M $opts -o part --resume auto
exits 7 E-CK-MISMATCH "from bytes to floats"
has err 'optimizer' "which is named"
pesc train M $opts -o TERM --resume auto --optimizer adamw8bit
exits 7 E-CK-MISMATCH "from floats to bytes"

# What may not change.
pesc train M $opts -o TERM --resume auto --seed 5
exits 7 E-CK-MISMATCH "another seed"
pesc train M $opts -o TERM --resume auto --batch-size 2
exits 7 E-CK-MISMATCH "another batch size"
pesc train M $opts -o TERM --resume auto --max-steps 5
exits 7 E-CK-MISMATCH "fewer steps than were done"
grep -q '"status":"finished"' TERM/run.json
ok $? "and the run stays finished"
cp tune.json tune.bak
sed '2s/"output":"/"output":"Z/' tune.bak >tune.json
pesc train M $opts -o TERM --resume auto
exits 7 E-DS-CHANGED "data that was edited"
mv tune.bak tune.json
pesc train M $opts -o TERM --resume auto --max-steps 63
ok $? "more steps"
has out '"event":"step","step":61,' "from where it was"
OMP_NUM_THREADS=2 pesc train M $opts -o TERM --resume auto --max-steps 64
has err 'W-RES-THREADS' "another number of threads is noted"
taskset -c 0 "$PESC" train M $opts -o TERM --resume auto --max-steps 65 --threads 2 >out 2>err
has err 'W-THREADS' "more threads than cores are warned about"
taskset -c 0 "$PESC" train M $opts -o TERM --resume auto --max-steps 66 >out 2>err
ok $? "no more by default"
! grep -q 'W-THREADS' err
ok $? "and no warning then"

# Checkpoints that are damaged.
newest=$(ls INT.copy/ckpt | tail -n 1)
printf 'x' | dd of="INT.copy/ckpt/$newest" bs=1 seek=5000 conv=notrunc 2>/dev/null
pesc train M $opts -o INT.copy --resume auto
ok $? "a damaged checkpoint is passed over"
has err 'warning\[E-CK-CORRUPT\]' "with a warning"
[ -e "INT.copy/ckpt/$newest.bad" ]
ok $? "and kept as .bad"
same whole/adapter.safetensors INT.copy/adapter.safetensors "and the end is the same"
pesc train M $opts -o HUP.copy --resume "HUP.copy/ckpt/nothing"
exits 9 E-IO-MISSING "a checkpoint that is not there"
pesc train M $opts -o new --resume "HUP.copy/ckpt/nothing"
exits 9 E-IO-MISSING "likewise for a new run"
[ ! -e new ]
ok $? "which then leaves nothing"
[ -z "$(find . -name '.tmp-*')" ]
ok $? "no temporaries anywhere"
plan
