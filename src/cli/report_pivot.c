#include "config.h"
#include "cli/report.h"

#include "cli/markup.h"

#include <stdlib.h>
#include <string.h>

struct column {
    struct rows rows; /* key, value in the order of keys */
    long at;
};

/* The least key that is next in any column, NULL at the end. */
static const char *next_key(const struct column *c, long n)
{
    const char *least = NULL;
    for (long i = 0; i < n; i++)
        if (c[i].at < c[i].rows.n_rows) {
            const char *key = cell_text(rows_at(&c[i].rows, c[i].at, 0));
            least = !least || strcmp(key, least) < 0 ? key : least;
        }
    return least;
}

static const char *value_of(const struct column *c, const char *key)
{
    if (c->at < c->rows.n_rows && !strcmp(cell_text(rows_at(&c->rows, c->at, 0)), key))
        return cell_text(rows_at(&c->rows, c->at, 1));
    return NULL;
}

static int differs(const struct column *c, long n, const char *key)
{
    const char *first = value_of(&c[0], key);
    for (long i = 1; i < n; i++) {
        const char *v = value_of(&c[i], key);
        if (!v != !first || (v && strcmp(v, first)))
            return 1;
    }
    return 0;
}

static void put_head(struct report *p, const char *caption, const char *what, long cols)
{
    fprintf(p->f,
            "<div class=\"scroll\" tabindex=\"0\">\n<table>\n<caption><span>%s</span></caption>\n"
            "<thead><tr><th scope=\"col\">%s</th>",
            caption, what);
    for (long i = 0; i < cols && cols > 1; i++) {
        fputs("<th scope=\"col\">", p->f);
        report_swatch(p, i);
        fputs("</th>", p->f);
    }
    fprintf(p->f, "%s</tr></thead>\n<tbody>\n", cols > 1 ? "" : "<th scope=\"col\">value</th>");
}

static void put_row(struct report *p, const struct column *c, long n, const char *key)
{
    fputs("<tr><th scope=\"row\">", p->f);
    markup_text(p->f, key);
    fputs("</th>", p->f);
    for (long i = 0; i < n; i++) {
        const char *v = value_of(&c[i], key);
        struct cell cell = {.kind = v ? CELL_TEXT : CELL_NULL, .text = v, .n = v ? strlen(v) : 0};
        report_cell(p->f, &cell);
    }
    fputs("</tr>\n", p->f);
}

/* Which keys make a table. */
enum which { ALL, DIFFERING, SAME };

/* One column for each run, or one for all where they are the same. Returns how many rows. */
static long pivot(struct report *p, struct column *c, enum which which, const char *caption,
                  const char *what)
{
    long n = p->runs->n, cols = which == SAME ? 1 : n, shown = 0;
    const char *key;
    for (long i = 0; i < n; i++)
        c[i].at = 0;
    while ((key = next_key(c, n)) != NULL) {
        if (which == ALL || differs(c, n, key) == (which == DIFFERING)) {
            if (shown++ == 0)
                put_head(p, caption, what, cols);
            put_row(p, c, cols, key);
        }
        /* key belongs to one of the rows: the others first */
        long owner = -1;
        for (long i = 0; i < n; i++) {
            if (!value_of(&c[i], key))
                continue;
            if (cell_text(rows_at(&c[i].rows, c[i].at, 0)) == key)
                owner = i;
            else
                c[i].at++;
        }
        c[owner].at++;
    }
    if (shown)
        fputs("</tbody>\n</table>\n</div>\n", p->f);
    return shown;
}

static void columns_free(struct column *c, long n)
{
    for (long i = 0; i < n; i++)
        rows_free(&c[i].rows);
    free(c);
}

static struct column *columns_read(struct report *p, const char *sql, struct pesc_error *err)
{
    struct column *c = calloc((size_t)p->runs->n, sizeof *c);
    if (!c)
        FAIL(err, MEMORY, "no memory for a report");
    for (long i = 0; c && i < p->runs->n; i++)
        if (query_rows(p->r, &c[i].rows, err, sql, "i", p->runs->v[i].id) != 0) {
            columns_free(c, i);
            return NULL;
        }
    return c;
}

int report_params(struct report *p, struct pesc_error *err)
{
    long n = p->runs->n, shown = 0;
    struct column *c =
        columns_read(p, "SELECT key, value FROM param WHERE run_id = ?1 ORDER BY key", err);
    if (!c)
        return -1;
    report_section(p, "parameters", "Parameters");
    if (n > 1) {
        shown = pivot(p, c, DIFFERING, "Parameters that differ", "parameter");
        if (!shown)
            fputs("<p>No parameter differs.</p>\n", p->f);
        fputs("<details><summary>Parameters that are the same in all runs</summary>\n", p->f);
    }
    shown += pivot(p, c, SAME, n > 1 ? "The same in all runs" : "Parameters", "parameter");
    if (n > 1)
        fputs("</details>\n", p->f);
    if (!shown)
        fputs("<p>No parameters are recorded.</p>\n", p->f);
    report_section_end(p);
    columns_free(c, n);
    return 0;
}

#define SCORE(x)                                                                                   \
    "CASE WHEN " x " > 1e308 THEN 'Infinity' WHEN " x " < -1e308 THEN '-Infinity'"                 \
    " ELSE printf('%.5g', " x ") END"

#define SCORES(confidence)                                                                         \
    "SELECT e.task || ', ' || e.metric AS key, CASE WHEN e.value IS NULL THEN 'NaN' ELSE " SCORE(  \
        "e.value") " END || " confidence " || ' at ' || e.step FROM eval e WHERE e.run_id = ?1"    \
                   " AND e.step = (SELECT max(x.step) FROM eval x WHERE x.run_id = ?1"             \
                   " AND x.task = e.task AND x.metric = e.metric) ORDER BY key LIMIT 500"

/* The last evaluation of each task, runs side by side. */
int report_scores(struct report *p, struct pesc_error *err)
{
    static const char with[] =
        SCORES(" CASE WHEN e.lo IS NULL OR e.hi IS NULL THEN '' ELSE ' (' || " SCORE(
            "e.lo") " || ' to ' || " SCORE("e.hi") " || ')' END"),
                      without[] = SCORES("''"); /* before schema 4 */
    struct column *c = columns_read(p, reader_version(p->r) < 4 ? without : with, err);
    if (!c)
        return -1;
    report_section(p, "evaluations", "Evaluations");
    if (!pivot(p, c, ALL, "Evaluations: the last of each task (95 % confidence) and its step",
               "task, metric"))
        fputs("<p>No evaluations are recorded.</p>\n", p->f);
    report_section_end(p);
    columns_free(c, p->runs->n);
    return 0;
}
