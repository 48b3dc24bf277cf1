#include "config.h"
#include "cli/report.h"

#include "cli/markup.h"

#include <math.h>
#include <time.h>

/* Colours of heat maps: h0..h6 from too little over even to too much, q0..q5 from none to much. */
static const char style[] =
    ":root{color-scheme:light dark;--ground:#fff;--text:#1f2937;--faint:#5b6470;--line:#d9dde3;"
    "--head:#f3f5f7;--none:repeating-linear-gradient(45deg,#e5e7eb 0 3px,#fff 3px 6px);"
    "--h0:#1d4f91;--h1:#6aa3d8;--h2:#c3dbef;--h3:#f1f1ee;--h4:#fbd5b0;--h5:#f0924e;--h6:#b8400e;"
    "--q0:#f4f4f1;--q1:#d8e8d3;--q2:#a9d1a6;--q3:#6bb07a;--q4:#2f8152;--q5:#0d5233;"
    "--deep:#fff;--pale:#1f2937}\n"
    "@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--text:#e6edf3;--faint:#9aa4af;"
    "--line:#30363d;--head:#161b22;"
    "--none:repeating-linear-gradient(45deg,#30363d 0 3px,#0d1117 3px 6px);"
    "--h0:#79b8ff;--h1:#3a75b5;--h2:#1f3e60;--h3:#22272e;--h4:#573620;--h5:#a5561f;--h6:#ffa25c;"
    "--q0:#1b2027;--q1:#1d3527;--q2:#235238;--q3:#2f7a50;--q4:#55b17c;--q5:#a3e3bd;"
    "--deep:#0d1117;--pale:#e6edf3}}\n"
    "*{box-sizing:border-box}"
    "body{margin:0 auto;max-width:84rem;padding:1rem;background:var(--ground);color:var(--text);"
    "font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem;"
    "border-bottom:1px solid var(--line);padding-bottom:.25rem}h3{font-size:1rem;margin:1.25rem 0 "
    ".25rem}\n"
    "p,figcaption,caption,nav,footer,summary{color:var(--faint)}"
    "a{color:inherit}nav a{margin-right:1rem;white-space:nowrap}\n"
    ".charts{display:grid;gap:1.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),"
    "1fr))}figure{margin:0;min-width:0}figure h3{margin-top:0}svg{display:block;width:100%;"
    "height:auto}\n"
    ".key{list-style:none;margin:.25rem 0;padding:0;font-size:.85rem;display:flex;flex-wrap:wrap;"
    "gap:.1rem 1rem}.key svg,.run svg{display:inline-block;width:2.2em;height:.8em;"
    "vertical-align:baseline;margin-right:.35em;flex:none}.key svg.sign{width:1em}\n"
    ".scroll{overflow-x:auto;margin:.5rem 0 1rem}"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;padding:.25rem 0;font-weight:600}"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top;overflow-wrap:normal}td{max-width:34rem}"
    "td.s{white-space:nowrap}td.l{overflow-wrap:anywhere;min-width:16rem}"
    "caption span{display:block;position:sticky;left:0;max-width:calc(100vw - 3rem)}"
    ".record td{white-space:normal;overflow-wrap:anywhere;min-width:8rem}"
    "tbody th{position:sticky;left:0;background:var(--ground);max-width:14rem;min-width:8rem;"
    "overflow-wrap:anywhere}@media (max-width:40rem){tbody th{max-width:8.5rem}}"
    ".record .n{text-align:left}thead "
    "th{background:var(--head);white-space:nowrap}.n{text-align:right;white-space:nowrap}\n"
    ".heat td,.heat th{padding:.15rem .35rem;text-align:center;border:1px solid var(--ground)}"
    ".heat th{font-weight:400;color:var(--faint);background:var(--ground)}.heat tbody "
    "th{text-align:right;"
    "min-width:2.5rem}.heat th.w{min-width:7rem}.heat td{min-width:2.3rem}"
    ".many td{min-width:.55rem;padding:.15rem 0;font-size:0}.many td b{font-size:.7rem}"
    ".many thead th{font-size:.65rem;padding:.15rem 0}\n"
    ".box{display:inline-block;width:1.4em;height:1em;border:1px solid var(--line);"
    "margin-right:.35em;vertical-align:-.1em}.hn{background:var(--none)}\n"
    ".h0,.h6{color:var(--deep)}.h1,.h2,.h3,.h4,.h5{color:var(--pale)}"
    ".h0{background:var(--h0)}.h1{background:var(--h1)}.h2{background:var(--h2)}"
    ".h3{background:var(--h3)}.h4{background:var(--h4)}.h5{background:var(--h5)}"
    ".h6{background:var(--h6)}"
    ".q0,.q1,.q2,.q3{color:var(--pale)}.q4,.q5{color:var(--deep)}"
    ".q0{background:var(--q0)}.q1{background:var(--q1)}.q2{background:var(--q2)}"
    ".q3{background:var(--q3)}.q4{background:var(--q4)}.q5{background:var(--q5)}\n"
    "@media print{:root{color-scheme:light}body{max-width:none;font-size:11px}nav{display:none}"
    ".scroll{overflow:visible}figure,tr{break-inside:avoid}"
    "*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}\n";

void report_head(struct report *p, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';"
          " style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
          "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>",
          p->f);
    markup_text(p->f, title);
    fputs("</title>\n<style>\n", p->f);
    fputs(style, p->f);
    chart_style(p->f, p->runs->n > 4 ? p->runs->n : 4);
    fputs("</style>\n</head>\n<body>\n<header>\n<h1>", p->f);
    markup_text(p->f, title);
    fputs("</h1>\n</header>\n<main>\n", p->f);
}

void report_foot(struct report *p)
{
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
    fprintf(p->f, "</main>\n<footer><p>Made by pesc %s, %s UTC. All times are UTC.</p></footer>\n",
            pesc_version(), when);
    fputs("</body>\n</html>\n", p->f);
}

void report_section(struct report *p, const char *id, const char *title)
{
    fprintf(p->f, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n", id, id, title);
}

void report_section_end(struct report *p)
{
    fputs("</section>\n", p->f);
}

void report_swatch(struct report *p, long run)
{
    if (p->runs->n > 1)
        fprintf(p->f,
                "<span class=\"run\"><svg viewBox=\"0 0 22 8\" aria-hidden=\"true\">"
                "<path class=\"curve c%ld\" d=\"M0 4h22\"/></svg></span>",
                run);
    markup_text(p->f, p->runs->v[run].label);
}

void report_number(FILE *f, double x, int digits)
{
    if (isnan(x))
        fputs("NaN", f);
    else if (isinf(x))
        fputs(x > 0 ? "Infinity" : "-Infinity", f);
    else
        fprintf(f, "%.*g", digits, x);
}
