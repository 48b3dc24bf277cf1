#include "config.h"
#include "cli/runs_filter.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void filter_free(struct filter *f)
{
    for (int i = 0; i < f->n_texts; i++)
        free(f->texts[i]);
    f->n_texts = 0;
}

int filter_add(struct filter *f, struct pesc_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(f->sql + f->n, sizeof f->sql - f->n, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof f->sql - f->n)
        return FAIL(err, LIMIT, "more conditions and columns than a query has room for");
    f->n += (size_t)n;
    return 0;
}

static int value(struct filter *f, struct query_value v, struct pesc_error *err)
{
    if (f->n_values == FILTER_VALUES)
        return FAIL(err, LIMIT, "more than %d values in one query", FILTER_VALUES);
    f->v[f->n_values++] = v;
    return filter_add(f, err, "?%d", f->n_values);
}

int filter_text(struct filter *f, const char *text, size_t n, struct pesc_error *err)
{
    char *copy = f->n_texts < FILTER_VALUES ? strndup(text, n) : NULL;
    if (!copy)
        return f->n_texts < FILTER_VALUES
                   ? FAIL(err, MEMORY, "no memory for a query")
                   : FAIL(err, LIMIT, "more than %d values in one query", FILTER_VALUES);
    f->texts[f->n_texts++] = copy;
    return value(f, (struct query_value){.text = copy}, err);
}

int filter_number(struct filter *f, double x, struct pesc_error *err)
{
    return value(f, (struct query_value){.is_real = 1, .real = x}, err);
}

static const struct {
    const char *name, *sql;
} columns[] = {{"run", "substr(r.uuid, 1, 8)"},
               {"uuid", "r.uuid"},
               {"name", "v.name"},
               {"experiment", "v.experiment"},
               {"status", "v.status"},
               {"steps", "v.steps"},
               {"step", "r.last_step"},
               {"loss", "v.train_loss"},
               {"valid", "v.best_valid"},
               {"hours", "v.hours"},
               {"base", "coalesce(v.base, '-')"},
               {"moe", "coalesce(v.moe, 'dense')"},
               {"resumes", "v.resumes"},
               {"created", "v.created"},
               {"exit", "v.exit_code"},
               {"error", "v.error"},
               {"seed", "r.seed"},
               {"tokens", "r.tokens_seen"},
               {"folder", "r.dir"},
               {"note", "nullif(r.note, '')"}};
enum { COLUMNS = sizeof columns / sizeof *columns };

static int is(const char *a, size_t n, const char *b)
{
    return strlen(b) == n && !strncmp(a, b, n);
}

static int begins(const char *a, size_t n, const char *b, const char *c, size_t *at)
{
    *at = n > strlen(b) && !strncmp(a, b, strlen(b))   ? strlen(b)
          : n > strlen(c) && !strncmp(a, c, strlen(c)) ? strlen(c)
                                                       : 0;
    return *at > 0;
}

int filter_column(struct filter *f, const char *name, size_t n, struct pesc_error *err)
{
    size_t at;
    for (int i = 0; i < COLUMNS; i++)
        if (is(name, n, columns[i].name))
            return filter_add(f, err, "%s", columns[i].sql);
    if (begins(name, n, "param:", "params.", &at) || begins(name, n, "tag:", "tags.", &at)) {
        TRY(filter_add(f, err, "(SELECT value FROM %s WHERE run_id = r.id AND key = ",
                       name[0] == 'p' ? "param" : "tag"));
        TRY(filter_text(f, name + at, n - at, err));
        return filter_add(f, err, ")");
    }
    if (begins(name, n, "metric:", "metrics.", &at)) {
        TRY(filter_add(f, err,
                       "(SELECT coalesce(value, 'NaN') FROM metric WHERE run_id = r.id AND key_id ="
                       " (SELECT id FROM metric_key WHERE name = "));
        TRY(filter_text(f, name + at, n - at, err));
        return filter_add(f, err, ") ORDER BY step DESC LIMIT 1)");
    }
    if (begins(name, n, "eval:", "evals.", &at)) {
        const char *slash = NULL;
        for (const char *p = name + at; p < name + n; p++)
            slash = *p == '/' ? p : slash;
        if (!slash)
            return FAIL(err, USAGE_VALUE, "%.*s: an evaluation is TASK/METRIC", (int)n, name);
        TRY(filter_add(f, err,
                       "(SELECT coalesce(value, 'NaN') FROM eval WHERE run_id = r.id AND task = "));
        TRY(filter_text(f, name + at, (size_t)(slash - name) - at, err));
        TRY(filter_add(f, err, " AND metric = "));
        TRY(filter_text(f, slash + 1, (size_t)(name + n - slash - 1), err));
        return filter_add(f, err, " ORDER BY step DESC LIMIT 1)");
    }
    return FAIL(err, USAGE_VALUE,
                "no column is named '%.*s'; there are the names in 'pesc runs list --help', and"
                " param:KEY, metric:NAME, tag:KEY, eval:TASK/METRIC",
                (int)n, name);
}

int filter_as_number(struct filter *f, const char *name, size_t n, struct pesc_error *err)
{
    TRY(filter_add(f, err,
                   "(SELECT CASE WHEN typeof(x) IN ('real', 'integer') THEN x WHEN x GLOB '*[0-9]*'"
                   " AND x NOT GLOB '*[^-+.0-9eE]*' AND x NOT GLOB '*[0-9.][-+]*' AND x NOT GLOB"
                   " '[eE]*' THEN CAST(x AS REAL) WHEN lower(x) IN ('inf', 'infinity') THEN 9e999"
                   " WHEN lower(x) IN ('-inf', '-infinity') THEN -9e999 END FROM (SELECT "));
    TRY(filter_column(f, name, n, err));
    return filter_add(f, err, " AS x))");
}

/* --- conditions --- */

static const char *blank(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* The operator at p, the longest that fits; NULL: none. */
static const char *operator_at(const char *p, size_t *n)
{
    static const char *const list[] = {"<=", ">=", "!=", "==", "<", ">", "="};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!strncmp(p, list[i], strlen(list[i]))) {
            *n = strlen(list[i]);
            return list[i];
        }
    if (!strncmp(p, "like ", 5)) {
        *n = 4;
        return "LIKE";
    }
    return NULL;
}

/* A value: 'text' with '' for a quote, or what goes up to a blank or a parenthesis. */
static int read_value(const char **p, char *out, size_t size, int *quoted, struct pesc_error *err)
{
    size_t n = 0;
    const char *at = *p;
    *quoted = *at == '\'' || *at == '"';
    char quote = *quoted ? *at++ : 0;
    for (;; at++) {
        if (*quoted && *at == quote && at[1] == quote)
            at++;
        else if (*quoted ? *at == quote : !*at || strchr("()", *at) || isspace((unsigned char)*at))
            break;
        else if (!*at)
            return FAIL(err, USAGE_VALUE, "--where: a text without its end: %s", *p);
        if (n + 1 >= size)
            return FAIL(err, USAGE_VALUE, "--where: a text that is too long");
        out[n++] = *at;
    }
    out[n] = 0;
    *p = at + *quoted;
    return n > 0 || *quoted ? 0 : FAIL(err, USAGE_VALUE, "--where: a value is missing");
}

static int comparison(struct filter *f, const char **text, struct pesc_error *err)
{
    const char *p = *text, *name = p, *op;
    char word[512], *end;
    size_t n = 0, op_n = 0;
    int quoted;
    while (*p && !isspace((unsigned char)*p) && !strchr("<>=!()", *p))
        p++;
    n = (size_t)(p - name);
    p = blank(p);
    op = operator_at(p, &op_n);
    if (n == 0 || !op)
        return FAIL(err, USAGE_VALUE, "--where: NAME OP VALUE is expected at '%s'", *text);
    p = blank(p + op_n);
    TRY(read_value(&p, word, sizeof word, &quoted, err));
    double x = strtod(word, &end);
    /* NaN is no number here: it is the text that stands for it. */
    int number = !quoted && end != word && !*end && x == x && strcmp(op, "LIKE") != 0;
    TRY((number ? filter_as_number : filter_column)(f, name, n, err));
    TRY(filter_add(f, err, " %s ", !strcmp(op, "==") ? "=" : op));
    TRY(number ? filter_number(f, x, err) : filter_text(f, word, strlen(word), err));
    *text = p;
    return 0;
}

/* Whether the word is next, which then is passed over. */
static int takes(const char **p, const char *word)
{
    size_t n = strlen(word);
    *p = blank(*p);
    if (strncmp(*p, word, n) != 0 || (!isspace((unsigned char)(*p)[n]) && (*p)[n] != '('))
        return 0;
    *p = blank(*p + n);
    return 1;
}

static int either(struct filter *f, const char **p, int depth, struct pesc_error *err);

static int one(struct filter *f, const char **p, int depth, struct pesc_error *err)
{
    if (depth > FILTER_DEPTH)
        return FAIL(err, USAGE_VALUE, "--where: more than %d within each other", FILTER_DEPTH);
    if (takes(p, "not")) { /* of what a run has not, no comparison holds */
        TRY(filter_add(f, err, "NOT coalesce("));
        TRY(one(f, p, depth + 1, err));
        return filter_add(f, err, ", 0)");
    }
    TRY(filter_add(f, err, "("));
    if (**p == '(') {
        ++*p;
        TRY(either(f, p, depth + 1, err));
        if (**p != ')')
            return FAIL(err, USAGE_VALUE, "--where: ')', 'and' or 'or' is expected at '%s'", *p);
        *p = blank(*p + 1);
    } else {
        TRY(comparison(f, p, err));
    }
    return filter_add(f, err, ")");
}

/* "and" binds more than "or", as in SQL. */
static int either(struct filter *f, const char **p, int depth, struct pesc_error *err)
{
    for (;;) {
        *p = blank(*p);
        TRY(one(f, p, depth, err));
        if (takes(p, "and"))
            TRY(filter_add(f, err, " AND "));
        else if (takes(p, "or"))
            TRY(filter_add(f, err, " OR "));
        else
            return 0;
    }
}

int filter_where(struct filter *f, const char *text, struct pesc_error *err)
{
    const char *p = text;
    TRY(filter_add(f, err, "("));
    TRY(either(f, &p, 0, err));
    if (*p)
        return FAIL(err, USAGE_VALUE, "--where: 'and' or 'or' is expected at '%s'", p);
    return filter_add(f, err, ")");
}
