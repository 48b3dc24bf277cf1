#!/bin/sh
# Opens reports in headless Chromium: no console message, no network request; leaves screenshots at
# desktop and phone width, light and dark, to be looked at. Not part of the tests.
#   sh tests/dev/check_report.sh BUILD OUT [REPORT.html...]
# Without a report, those of tests/cli/fill_report's history are made.
set -eu
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
shift 2
command -v chromium >/dev/null || { echo "chromium is needed" >&2; exit 2; }
if [ $# -eq 0 ]; then
    rm -f "$out"/h.db*
    "$build/tests/cli/fill_report" "$out/h.db" 50
    PESC_DB=$out/h.db
    export PESC_DB
    "$build/pesc" runs report aaaa -o "$out/one.html"
    "$build/pesc" runs report aaaa dense empty "run 4" "run 5" -o "$out/five.html"
    # shellcheck disable=SC2046 # uuids are words
    "$build/pesc" runs report $("$build/pesc" runs sql --csv "SELECT uuid FROM run" | tail -n +2 | tr -d '\r') \
        -o "$out/fifty.html"
    "$build/pesc" runs report dense -o "$out/dense.html"
    set -- "$out/one.html" "$out/five.html" "$out/fifty.html" "$out/dense.html"
fi
bad=0
browse() { # NAME OPTIONS...
    shot=$out/$1
    shift
    rm -f "$shot.log" "$shot.net" "$shot.png"
    timeout 120 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
        --allow-file-access-from-files --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$out/profile" \
        --enable-logging=stderr --log-net-log="$shot.net" --net-log-capture-mode=Everything \
        --screenshot="$shot.png" "$@" 2>"$shot.log" >/dev/null || bad=1
    if grep -E 'CONSOLE|Refused to|SEVERE' "$shot.log"; then
        echo "$shot: the console is not empty"
        bad=1
    fi
    # What was asked for, apart from what the browser does for itself.
    if [ ! -s "$shot.net" ] || [ ! -s "$shot.png" ]; then
        echo "$shot: no log of the network, or no picture"
        bad=1
    elif grep -oE '"url":"[a-z]+://[^"]*"' "$shot.net" |
        grep -vE '"(file|chrome|chrome-extension|devtools|data)://' |
        grep -vE '://[a-z0-9.-]*(google|googleapis|gstatic|gvt1)\.com' | sort -u | grep .; then
        echo "$shot: a network request"
        bad=1
    fi
}
for report; do
    name=$(basename "$report" .html)
    for scheme in light dark; do
        dark=$([ $scheme = dark ] && echo 0 || echo 1)
        browse "$name-$scheme-1280" --blink-settings=preferredColorScheme="$dark" \
            --window-size=1280,3000 "file://$report"
        # A window is 500 wide at least; a frame is as wide as a phone.
        {
            echo '<!DOCTYPE html><body style="margin:0;display:flex;gap:8px;background:#888">'
            for at in runs evaluations routing lineage; do
                echo "<iframe style='border:0;width:390px;height:1700px;flex:none'" \
                    "src='file://$report#$at'></iframe>"
            done
        } >"$out/$name-phone.html"
        browse "$name-$scheme-390" --blink-settings=preferredColorScheme="$dark" \
            --window-size=1584,1700 "file://$out/$name-phone.html"
    done
done
[ $bad -eq 0 ] && echo "no console message, no network request; look at $out/*.png"
exit $bad
