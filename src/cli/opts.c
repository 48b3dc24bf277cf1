#include "config.h"
#include "cli/cmd.h"
#include "core/number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char dashed(char c)
{
    return c == '_' ? '-' : c;
}

static int name_is(const char *given, size_t n, const char *name)
{
    if (!name || strlen(name) != n)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (dashed(given[i]) != name[i])
            return 0;
    return 1;
}

long opts_count(const struct cmd *cmd)
{
    long n = 0;
    while (cmd->opts && cmd->opts[n].name)
        n++;
    return n;
}

static const struct opt *find(const struct cmd *cmd, const char *name, size_t n)
{
    for (long i = 0; i < opts_count(cmd); i++)
        if (name_is(name, n, cmd->opts[i].name) || name_is(name, n, cmd->opts[i].alias))
            return &cmd->opts[i];
    return NULL;
}

const struct opt *opts_find(const struct cmd *cmd, const char *name)
{
    return find(cmd, name, strlen(name));
}

/* Levenshtein distance of two short names. */
static int distance(const char *a, size_t n, const char *b)
{
    int row[128];
    int m = (int)strlen(b);
    if (m > 126 || n > 126)
        return 127;
    for (int j = 0; j <= m; j++)
        row[j] = j;
    for (int i = 1; i <= (int)n; i++) {
        int diag = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = diag + (dashed(a[i - 1]) != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

static int unknown(const struct cmd *cmd, const char *name, size_t n, const char *where,
                   enum pesc_code code, struct pesc_error *err)
{
    const char *best = NULL;
    int best_d = 4;
    for (long i = 0; i < opts_count(cmd); i++) {
        int d = distance(name, n, cmd->opts[i].name);
        if (d < best_d) {
            best_d = d;
            best = cmd->opts[i].name;
        }
    }
    if (best)
        return error_set(err, code, "%sunknown option '%.*s'; did you mean '%s'?", where, (int)n,
                         name, best);
    return error_set(err, code, "%sunknown option '%.*s'; --help lists them", where, (int)n, name);
}

static int bad_value(const struct opt *o, const char *value, const char *where, const char *want,
                     struct pesc_error *err)
{
    return FAIL(err, USAGE_VALUE, "%s%s: '%s' is not %s", where, o->name, value, want);
}

static int range_check(const struct opt *o, double x, const char *value, const char *where,
                       struct pesc_error *err)
{
    if (o->min != o->max && !(x >= o->min && x <= o->max))
        return FAIL(err, USAGE_VALUE, "%s%s: %s is outside %g..%g", where, o->name, value, o->min,
                    o->max);
    return 0;
}

static int choice_has(const char *choices, const char *value)
{
    size_t n = strlen(value);
    if (strchr(value, '|'))
        return 0;
    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (!strncmp(p, value, n) && (p[n] == '|' || p[n] == 0))
            return n > 0;
    return 0;
}

int opts_size(const char *value, uint64_t *out)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"kB", 1e3},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"KiB", 1024.0},
                 {"K", 1024.0},
                 {"MiB", 1048576.},
                 {"M", 1048576.},
                 {"GiB", 1073741824.},
                 {"G", 1073741824.},
                 {"TiB", 1099511627776.}};
    char *end;
    double x = strtod(value, &end);
    if (end == value || !(x > 0) || !isfinite(x))
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit) && x * units[i].factor < 9e18) {
            *out = (uint64_t)(x * units[i].factor);
            return *out ? 0 : -1;
        }
    return -1;
}

static int parse_sizes(const char *value, struct opt_sizes *out)
{
    char one[64];
    for (out->n = 0; out->n < OPT_SIZES_CAP; value++) {
        size_t n = strcspn(value, ",");
        if (n >= sizeof one)
            return -1;
        memcpy(one, value, n);
        one[n] = 0;
        if (!strcmp(one, "max"))
            out->v[out->n] = UINT64_MAX;
        else if (opts_size(one, &out->v[out->n]) != 0)
            return -1;
        out->n++;
        value += n;
        if (!*value)
            return 0;
    }
    return -1;
}

static const char *sizes_text(const struct opt_sizes *s, char *buf, size_t size)
{
    size_t at = 0;
    for (long i = 0; i < s->n && at < size; i++)
        if (s->v[i] == UINT64_MAX)
            at += (size_t)snprintf(buf + at, size - at, "%smax", i ? "," : "");
        else
            at += (size_t)snprintf(buf + at, size - at, "%s%llu", i ? "," : "",
                                   (unsigned long long)s->v[i]);
    return s->n ? buf : NULL;
}

static int set(const struct opt *o, void *opts, const char *value, const char *where,
               struct pesc_error *err)
{
    void *at = (char *)opts + o->offset;
    char *end;
    errno = 0;
    switch (o->kind) {
    case OPT_FLAG:
        if (!strcmp(value, "true") || !strcmp(value, "yes") || !strcmp(value, "1"))
            *(int *)at = 1;
        else if (!strcmp(value, "false") || !strcmp(value, "no") || !strcmp(value, "0"))
            *(int *)at = 0;
        else
            return bad_value(o, value, where, "true or false", err);
        return 0;
    case OPT_LONG: {
        long x = strtol(value, &end, 10);
        if (end == value || *end || errno)
            return bad_value(o, value, where, "a whole number", err);
        TRY(range_check(o, (double)x, value, where, err));
        *(long *)at = x;
        return 0;
    }
    case OPT_REAL: {
        double x = strtod(value, &end);
        if (end == value || *end || !isfinite(x))
            return bad_value(o, value, where, "a number", err);
        TRY(range_check(o, x, value, where, err));
        *(double *)at = x;
        return 0;
    }
    case OPT_CHOICE:
        if (!choice_has(o->arg, value))
            return FAIL(err, USAGE_VALUE, "%s%s: '%s' is none of %s", where, o->name, value,
                        o->arg);
        *(const char **)at = value;
        return 0;
    case OPT_STRING:
        *(const char **)at = value;
        return 0;
    case OPT_SIZE:
        if (opts_size(value, at) != 0)
            return bad_value(o, value, where, "a size such as 512MiB or 2GiB", err);
        return 0;
    case OPT_SIZES:
        if (parse_sizes(value, at) != 0)
            return bad_value(o, value, where, "a size such as 512MiB or 2GiB, or max", err);
        return 0;
    case OPT_LIST: {
        struct opt_list *l = at;
        if (l->n == OPT_LIST_CAP)
            return FAIL(err, USAGE_VALUE, "%s%s: more than %d values", where, o->name,
                        OPT_LIST_CAP);
        l->v[l->n++] = value;
        return 0;
    }
    }
    return FAIL(err, INTERNAL, "option %s has no kind", o->name);
}

int opts_set(const struct cmd *cmd, void *opts, const char *name, const char *value,
             const char *where, char *given, struct pesc_error *err)
{
    const struct opt *o = find(cmd, name, strlen(name));
    if (!o)
        return unknown(cmd, name, strlen(name), where, PESC_E_USAGE_CONFIG, err);
    if (given)
        given[o - cmd->opts] = 1;
    return set(o, opts, value, where, err);
}

const char *opts_text(const struct opt *o, const void *opts, char *buf, size_t size)
{
    const void *at = (const char *)opts + o->offset;
    char number[NUMBER_CAP];
    switch (o->kind) {
    case OPT_FLAG:
        return *(const int *)at ? "true" : "false";
    case OPT_LONG:
        snprintf(buf, size, "%ld", *(const long *)at);
        return buf;
    case OPT_REAL:
        number_text(*(const double *)at, number);
        snprintf(buf, size, "%s", number);
        return buf;
    case OPT_STRING:
    case OPT_CHOICE:
        return *(const char *const *)at;
    case OPT_SIZE:
        if (*(const uint64_t *)at == 0)
            return NULL;
        snprintf(buf, size, "%llu", (unsigned long long)*(const uint64_t *)at);
        return buf;
    case OPT_SIZES:
        return sizes_text(at, buf, size);
    case OPT_LIST:
        return NULL;
    }
    return NULL;
}

int opts_parse(const struct cmd *cmd, void *opts, int argc, char **argv, int *nargs, char *given,
               struct pesc_error *err)
{
    int n = 0;
    const struct opt *list = NULL; /* an OPT_LIST that still takes words */
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!strcmp(word, "--")) {
            while (++i < argc)
                argv[n++] = argv[i];
            break;
        }
        if (word[0] != '-' || word[1] == 0) {
            if (list)
                TRY(set(list, opts, word, "--", err));
            else
                argv[n++] = word;
            continue;
        }
        list = NULL;
        if (!strcmp(word, "--help") || !strcmp(word, "-h"))
            return 1;
        const char *name = word + (word[1] == '-' ? 2 : 1);
        const char *eq = strchr(name, '=');
        size_t len = eq ? (size_t)(eq - name) : strlen(name);
        const struct opt *o = find(cmd, name, len);
        const char *value = eq ? eq + 1 : NULL;
        if (!o && len > 3 && !strncmp(name, "no", 2) && dashed(name[2]) == '-') {
            o = find(cmd, name + 3, len - 3);
            if (o && (o->kind != OPT_FLAG || value))
                o = NULL;
            if (o)
                value = "false";
        }
        if (!o || (word[1] != '-' && len > 1)) /* one dash, one letter */
            return unknown(cmd, name, len, "", PESC_E_USAGE_OPTION, err);
        if (given)
            given[o - cmd->opts] = 1;
        if (!value && o->kind == OPT_FLAG)
            value = "true";
        if (!value) {
            if (i + 1 >= argc)
                return FAIL(err, USAGE_VALUE, "--%s needs a value (%s)", o->name, o->arg);
            value = argv[++i];
        }
        TRY(set(o, opts, value, "--", err));
        if (o->kind == OPT_LIST)
            list = o;
    }
    *nargs = n;
    return 0;
}
