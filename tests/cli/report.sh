#!/bin/sh
# pesc runs plot and report on a history that fill_report writes: 50 runs, with all that is odd.
. "$PESC_SRC/tests/cli/lib.sh"
tests=$(dirname "$PESC")/tests/cli
unset COLUMNS LC_ALL LC_CTYPE LANG
well() { # FILE WHAT
    "$tests/well_formed" "$1" >out 2>err
    ok $? "$2"
}
lacks() { # FILE PATTERN WHAT
    ! grep -q -- "$2" "$1"
    ok $? "$3"
}
absent() { # FILE WHAT
    [ ! -e "$1" ] && [ -z "$(find . -name '*.tmp-*')" ]
    ok $? "$2"
}

pesc runs plot latest
exits 10 E-DB "plot without a history"
pesc runs report latest -o r.html
exits 10 E-DB "report without a history"
absent r.html "and nothing is written"
"$tests/fill_report" "$PESC_DB" 50 || exit 99
esc=$(printf '\033')

# The terminal.
pesc runs plot aaaa
ok $? "plot"
has out '^train/loss, valid/loss (nats)$' "metrics of one unit share a drawing, which says the unit"
has out '^ *+-*+.*+' "an axis"
has out '^ *100  *200  *300  *400$' "its numbers"
has out '^ *step$' "and its name"
has out '^  \* *train/loss  1 NaN  1 Infinity$' "a legend counts NaN and Infinity"
has out '^ *N$' "NaN is marked"
has out '^ *^$' "Infinity is marked"
awk 'length > 80 { bad = 1 } END { exit bad }' out
ok $? "in 80 columns"
LC_ALL=C grep -q "[^ -~]" out
[ $? -eq 1 ]
ok $? "in ASCII"
LANG=C.UTF-8 pesc runs plot aaaa -m train/loss
has out '⠉' "braille where the locale is UTF-8"
LC_ALL=C LANG=C.UTF-8 pesc runs plot aaaa -m train/loss
lacks out '⠉' "but not when LC_ALL says otherwise"
COLUMNS=50 pesc runs plot aaaa dense -m lr grad_norm
awk 'length > 50 { bad = 1 } END { exit bad }' out
ok $? "in 50 columns"
has out '1 -Infinity' "-Infinity is counted"
has out '<script>.*x1b' "a name's escapes are shown"
lacks out "$esc" "and not obeyed"
[ "$(grep -c '^lr$\|^grad_norm$' out)" = 2 ]
ok $? "units that differ have drawings of their own"
pesc runs plot aaaa -m grad_norm --log
has out 'logarithmic' "a logarithmic axis"
has out '^  v: -Infinity or not above 0$' "which says what it cannot show"
pesc runs plot aaaa -m train/loss -x tokens
has out '^ *tokens$' "along tokens"
pesc runs plot aaaa -m train/loss -x time
has out '^ *time in seconds$' "along time"
"$tests/fill_report" paused.db 2 paused || exit 99
pesc runs plot --db paused.db aaaa -m train/loss -x time
grep -q '^ *2  *4  *6$' out && grep -q 'time in minutes' out
ok $? "of work: the hour between two processes is left out"
pesc runs plot aaaa -m train/loss --smooth 50
cp out smooth
pesc runs plot aaaa -m train/loss
! cmp -s out smooth && grep -q '1 NaN  1 Infinity' smooth
ok $? "--smooth changes the curve, and keeps NaN"
pesc runs plot empty
exits 10 E-DB-RUN "a run without metrics"
pesc runs plot aaaa -m nothing
exits 10 E-DB-RUN "a metric that is not there"
pesc runs plot nobody
exits 10 E-DB-RUN "a run that is not there"
pesc runs plot
exits 2 E-USAGE "plot without a run"
pesc runs plot -1
ok $? "the newest"
if command -v script >/dev/null 2>&1; then
    TERM=xterm script -qec "'$PESC' runs plot aaaa dense -m lr" /dev/null >out 2>err
    has out "$esc\[38;5;" "a terminal has colours"
    TERM=xterm NO_COLOR=1 script -qec "'$PESC' runs plot aaaa dense -m lr" /dev/null >out 2>err
    lacks out "$esc\[38" "but not with NO_COLOR"
fi

# SVG and PNG.
pesc runs plot aaaa dense "run 4" -m train/loss lr -o a.svg
ok $? "plot -o a.svg"
well a.svg "is well-formed"
has a.svg '<title>NaN near step 100</title>' "NaN is marked"
has a.svg '<title>Infinity near step 101</title>' "so is Infinity"
has a.svg '>all &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\\x1b\[31m\\x01: train/loss' "names are escaped"
has a.svg 'prefers-color-scheme:dark' "it follows the reader's scheme"
if pesc runs plot aaaa -m lr -o a.png; then
    [ "$(head -c 8 a.png | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] && [ -s a.png ]
    ok $? "plot -o a.png"
    # shellcheck disable=SC2046 # words
    pesc runs plot "run 4" -m $(seq -f 'extra-%02.0f' 0 59) -o b.png
    exits 8 E-LIMIT "a picture that is too high"
    absent b.png "is not written"
    pesc runs plot aaaa -m lr -o nowhere/b.png
    exits 9 E-IO "a folder that is not there"
else
    exits 2 E-UNSUPPORTED "without cairo there is no PNG, and it is said"
    has err 'libcairo2' "which package is missing"
fi
pesc runs plot aaaa -o a.pdf
exits 2 E-USAGE-VALUE "neither SVG nor PNG"
absent a.pdf "and nothing is written"

# Reports.
pesc runs report aaaa -o one.html
ok $? "report"
[ ! -s out ] && [ ! -s err ]
ok $? "says nothing"
well one.html "is well-formed"
lacks one.html 'https\{0,1\}:' "names no host"
lacks one.html '<link\|<img\|<iframe\|<object\|@import\|url(' "loads nothing"
has one.html "Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\"" \
    "and forbids to"
lacks one.html '<script' "no script, not even a name's"
lacks one.html "$esc" "no escape character"
has one.html '<title>Run all &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;\\x1b\[31m\\x01</title>' "the name, escaped"
has one.html 'name="viewport" content="width=device-width' "made for phones"
has one.html '@media print' "and paper"
has one.html 'prefers-color-scheme:dark' "and the dark"
[ "$(grep -c '<svg class="chart" role="img"' one.html)" = 4 ]
ok $? "four charts: loss, learning rate, gradient norm, tokens per second"
[ "$(grep -c '^<title id="chart' one.html)" = 4 ] && [ "$(grep -c '^<desc id="chart' one.html)" = 4 ]
ok $? "each with title and description"
has one.html '<text class="label" [^>]*>nats</text>' "a unit"
has one.html '<text class="label" [^>]*>step</text>' "a name of the axis"
has one.html 'train/loss, 1 NaN, 1 Infinity' "NaN and Infinity are counted"
has one.html '<title>NaN near step 100</title>' "and marked"
has one.html 'grad_norm, 1 -Infinity' "-Infinity"
has one.html '<td class="s">boolq</td><td class="s">accuracy</td><td class="n">400</td><td class="n">NaN</td><td class="s">unknown</td>' "NaN in a table"
has one.html '<td class="n">Infinity</td>' "Infinity in a table"
has one.html '<td class="n">0.6</td><td class="s">0.55 to 0.71</td>' "a confidence interval"
has one.html 'title="layer 2, expert 0: 1.00 %">1.0</td>' "the load of an expert"
has one.html '<td class="h0" title="layer 2, expert 0: 1.00 %"' "in the colour of a dead one"
has one.html '<td class="h1" title="layer 5, expert 1: 3.75 %">3.8</td>' "one that has little"
has one.html '<td class="h6" title="layer 5, expert 0: 73.75 %">73.8</td>' "and one that has too much"
has one.html '<span class="box h0"></span>under 0.1, dead</li>' "which the legend explains"
has one.html 'title="domain code, expert 0: 37.50 %"' "load by domain"
has one.html 'Load among the tokens of &lt;b&gt;maths&lt;/b&gt;' "domains by layer, escaped"
has one.html 'Change over time: busiest expert' "change over time"
has one.html '<td class="q5" title="layer 5, step 400: 5.900">5.90</td>' "with its numbers"
has one.html '<td class="l">empty 2, too_long 11, &lt;i&gt; 1</td>' "skipped records by reason"
has one.html '<td class="n">1700</td><td class="n">1650</td><td class="n">3.03</td>' "planned and real peak"
has one.html '<td class="n">2400</td><td class="n">2345.6</td>' "planned and real speed"
has one.html 'f0f0f0f0' "the base's fingerprint"
has one.html 'abc123 (changed)' "the code"
has one.html 'heldout.json (valid, dd02)' "the data"
has one.html '@1.0 (exported, eeee0000eeee)' "the pack"
has one.html '<td class="s">ckpt/200</td>' "what it was resumed from"
has one.html 'W-ROUTER-DEAD' "alarms"
has one.html '<th scope="row">batch_size</th><td class="s">16</td>' "parameters"
lacks one.html 'span></span>all' "no colours where there is one run"

pesc runs report aaaa dense empty "run 4" -o more.html --title 'A <b> "title"'
ok $? "report of several"
well more.html "is well-formed"
has more.html '<h1>A &lt;b&gt; &quot;title&quot;</h1>' "--title, escaped"
[ "$(grep -n 'Parameters that differ' more.html | cut -d: -f1)" -lt "$(grep -n 'Parameters that are the same' more.html | head -n 1 | cut -d: -f1)" ]
ok $? "parameters that differ come first"
has more.html '<th scope="row">lr</th><td class="s">2e-4</td><td class="s">2e-4</td><td class="s">3e-4</td><td class="s">4e-4</td>' "with all values"
has more.html '<th scope="row">arc, accuracy</th><td class="s">0.6 (0.55 to 0.71) at 400</td><td>–</td>' \
    "evaluations side by side, with confidence"
has more.html '<td class="s">Infinity at 400</td>' "Infinity among them"
has more.html '<td class="s">NaN at 400</td>' "and NaN"
has more.html 'loss is not finite' "why a run failed"
has more.html '^<h3>extra-11</h3>$' "metrics of users have charts"
lacks more.html '^<h3>extra-12</h3>$' "the first of them"
has more.html '<p>48 more metrics are not drawn' "and it says how many are left out"
pesc runs report aaaa aaaa -o twice.html
sed '/Made by/d' twice.html >a && sed '/Made by/d' one.html >b && cmp -s a b
ok $? "a run named twice is there once"

for run in dense empty; do
    pesc runs report $run -o $run.html
    ok $? "report of the run '$run'"
    well $run.html "is well-formed"
    for text in evaluations data plan; do
        has $run.html "No $text" "without $text it says so"
    done
    has $run.html 'No router statistics' "without experts it says so"
done
has empty.html 'No metrics are recorded' "without metrics it says so"

# shellcheck disable=SC2046 # uuids are words
pesc runs report $(sql "SELECT uuid FROM run ORDER BY id") -o fifty.html
ok $? "report of 50 runs"
well fifty.html "is well-formed"
[ "$(grep -o 'class="curve c49"' fifty.html | wc -l)" -gt 3 ]
ok $? "each with its colour"
[ "$(wc -c <fifty.html)" -lt 4000000 ]
ok $? "in less than 4 MB"

# A history as the first version of the schema had it.
"$tests/fill_report" old.db 4 old || exit 99
pesc runs plot --db old.db aaaa
ok $? "plot from an old history"
pesc runs report --db old.db aaaa -o old.html
ok $? "report from it"
well old.html "is well-formed"
has old.html 'did not record it' "and says what it cannot have"
has old.html '<td class="s">arc</td><td class="s">accuracy</td><td class="n">400</td><td class="n">0.6</td><td class="n">0.05</td>' "with evaluations"
has old.html '<td class="n">1000</td><td class="n">14</td>' "with data"
has old.html 'title="layer 2, expert 0: 1.00 %">1.0</td>' "and routing"
pesc runs report --db old.db aaaa dense -o old2.html
ok $? "report of several from it"
has old2.html '<td class="s">0.6 at 400</td>' "with evaluations"

# Whole or not at all.
echo before >kept.html
pesc runs report nobody -o kept.html
exits 10 E-DB-RUN "a run that is not there"
[ "$(cat kept.html)" = before ]
ok $? "leaves what was there"
pesc runs report aaaa
exits 2 E-USAGE "report without -o"
pesc runs report aaaa -o r.png
exits 2 E-USAGE-VALUE "report into something else"
pesc runs report -o r.html
exits 2 E-USAGE "report without a run"
pesc runs report aaaa -o nowhere/r.html
exits 9 E-IO "a folder that is not there"
(ulimit -f 40 && "$PESC" runs report aaaa -o big.html >out 2>err)
[ $? -eq 9 ]
ok $? "a file that may not grow: exit 9"
absent big.html "and nothing is left"
plan
