#include "config.h"
#include "experiments/export_names.h"

#include "core/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 250, CUT_AT = 230 };

struct escaped {
    char *p;
    size_t n;
};

static int is_hex(char c)
{
    return c && strchr("0123456789abcdef", c) != NULL;
}

static int is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What is here reads as an escape, or as the end of a cut name. */
static int looks_escaped(const char *s)
{
    if (s[0] != '_')
        return 0;
    if (s[1] == 'x')
        return is_hex(s[2]) && is_hex(s[3]);
    return s[1] == 'h' && strspn(s + 2, "0123456789abcdef") == 16 && !s[18];
}

static int is_name(const char *text, size_t len, const char *const *sorted, long n)
{
    long lo = 0, hi = n;
    while (lo < hi) {
        long mid = lo + (hi - lo) / 2;
        int c = strncmp(sorted[mid], text, len);
        if (c == 0 && sorted[mid][len])
            c = 1;
        if (c == 0)
            return 1;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}

static int below_another(const char *name, const char *const *sorted, long n)
{
    for (const char *s = strchr(name, '/'); s; s = strchr(s + 1, '/'))
        if (is_name(name, (size_t)(s - name), sorted, n))
            return 1;
    return 0;
}

static int stays(const char *name, size_t i, int keep_slashes)
{
    unsigned char c = (unsigned char)name[i];
    int first = i == 0 || (keep_slashes && name[i - 1] == '/');
    if (c == '/')
        return keep_slashes && i > 0 && name[i - 1] != '/' && name[i + 1] && name[i + 1] != '/';
    if (c == '.')
        return !first;
    if (c == '_')
        return !looks_escaped(name + i) && (i > 0 || strcmp(name, "_x_"));
    return is_letter(c) || (c && strchr("-: ", c));
}

static void escape(struct escaped *e, const char *name, int keep_slashes)
{
    e->n = 0;
    for (size_t i = 0; name[i]; i++) {
        if (stays(name, i, keep_slashes))
            e->p[e->n++] = name[i];
        else
            e->n += (size_t)sprintf(e->p + e->n, "_x%02x_", (unsigned char)name[i]);
    }
    if (e->n == 0)
        e->n = (size_t)sprintf(e->p, "_x_");
    e->p[e->n] = 0;
}

int export_name(char out[EXPORT_NAME_CAP], const char *name, const char *const *sorted, long n,
                struct pesc_error *err)
{
    size_t len = strlen(name);
    char hex[65];
    struct escaped e = {malloc(len * 5 + 8), 0};
    if (!e.p)
        return FAIL(err, MEMORY, "no memory for a name");
    escape(&e, name, !below_another(name, sorted, n));
    int rc = strcmp(e.p, name) != 0;
    if (e.n <= NAME_MAX_BYTES) {
        memcpy(out, e.p, e.n + 1);
    } else if (hash_bytes(name, len, hex, err) != 0) {
        rc = -1;
    } else {
        size_t cut = CUT_AT; /* not within an escape, nor right behind a slash */
        for (size_t at = CUT_AT - 4; at < cut; at++)
            if (looks_escaped(e.p + at))
                cut = at;
        cut -= e.p[cut - 1] == '/';
        snprintf(out, EXPORT_NAME_CAP, "%.*s_h%.16s", (int)cut, e.p, hex);
        rc = 2;
    }
    free(e.p);
    return rc;
}
