#include "config.h"
#include "datasets/regex.h"

#include "datasets/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_CAP = 64 << 10, DEPTH_CAP = 64, HEAP_CAP_KIB = 1 << 20, STEP_CAP = 200000000 };

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
    int jit;
};

struct regex_match {
    pcre2_match_data *data;
};

/* Oniguruma's \s and \w; PCRE2's own differ (U+180E; marks, connectors and letter-like numbers). */
#define ONIG_S                                                                                     \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"       \
    "\\x{3000}"
#define ONIG_W                                                                                     \
    "\\p{L}\\p{Nl}\\p{M}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"                    \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

/* Complement of ONIG_S. */
#define ONIG_NOT_S                                                                                 \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"      \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"                 \
    "\\x{3001}-\\x{10ffff}"

/* Outside a class Oniguruma also takes these for \w. */
#define ONIG_W_ALONE "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"

#define WORD "[" ONIG_W ONIG_W_ALONE "]"

struct translation {
    const char *p, *end, *whole;
    size_t whole_n;
    struct buf out;
    size_t atom;                  /* where the last repeatable item starts in out */
    size_t group[DEPTH_CAP];      /* where each open group starts in out */
    char caseless[DEPTH_CAP + 1]; /* by depth */
    int depth;
};

static int refuse(const struct translation *t, const char *what, struct pesc_error *err)
{
    return FAIL(err, TOK_UNSUP, "regex: %s in \"%.*s\"", what,
                t->whole_n > 200 ? 200 : (int)t->whole_n, t->whole);
}

/* Without regard to case Oniguruma also takes one character for several: sharp s for ss. PCRE2 does
 * not, so what could meet such a character is refused: letters beyond ASCII, and these pairs. */
static const char beyond_ascii[] = "regardless of case, what is not ASCII";

static int meets_ligature(const struct translation *t)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    if (t->end - t->p < 2)
        return 0;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((t->p[0] | 32) == pairs[i][0] && (t->p[1] | 32) == pairs[i][1])
            return 1;
    return 0;
}

static int put(struct translation *t, const char *s, struct pesc_error *err)
{
    return buf_put(&t->out, s, strlen(s), err);
}

static int is_category(const char *name, size_t n)
{
    static const char known[] = "C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No "
                                "P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
    for (const char *p = known; *p; p = strchr(p, ' ') + 1)
        if (!memcmp(p, name, n) && p[n] == ' ')
            return n > 0;
    return 0;
}

/* \p{Name}: general categories mean the same in both; any other name is a script for us, and a
 * plain script name would mean script extensions to newer PCRE2. */
static int translate_property(struct translation *t, struct pesc_error *err)
{
    const char *name = t->p + 3;
    const char *close =
        t->p + 2 < t->end && t->p[2] == '{' ? memchr(name, '}', (size_t)(t->end - name)) : NULL;
    if (!close)
        return refuse(t, "unreadable \\p", err);
    size_t n = (size_t)(close - name), caret = n && name[0] == '^';
    TRY(buf_put(&t->out, t->p, 3 + caret, err));
    if (n - caret > 2)
        TRY(put(t, "sc:", err));
    else if (!is_category(name + caret, n - caret))
        return refuse(t, "unknown property", err);
    TRY(buf_put(&t->out, name + caret, n - caret + 1, err));
    t->p = close + 1;
    return 0;
}

static int translate_escape(struct translation *t, int in_class, struct pesc_error *err)
{
    if (t->p + 1 >= t->end)
        return refuse(t, "lone backslash", err);
    if (t->caseless[t->depth] && strchr("pPwWxu", t->p[1]))
        return refuse(t, beyond_ascii, err);
    char c = t->p[1], msg[] = "unsupported \\x";
    const char *with = NULL;
    switch (c) {
    case 's':
        with = in_class ? ONIG_S : "[" ONIG_S "]";
        break;
    case 'w':
        with = in_class ? ONIG_W : WORD;
        break;
    case 'S':
        with = in_class ? ONIG_NOT_S : "[^" ONIG_S "]";
        break;
    case 'W':
        with = in_class ? NULL : "[^" ONIG_W ONIG_W_ALONE "]";
        break;
    case 'b':
        with = in_class ? NULL : "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))";
        break;
    case 'B':
        with = in_class ? NULL : "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))";
        break;
    case 'h':
        with = in_class ? "0-9a-fA-F" : "[0-9a-fA-F]";
        break;
    case 'p':
    case 'P':
        return translate_property(t, err);
    case 'u': /* four digits */
        for (int i = 2; i < 6; i++)
            if (t->p + i >= t->end || !strchr("0123456789abcdefABCDEF", t->p[i]) || !t->p[i])
                return refuse(t, "unreadable \\u", err);
        TRY(put(t, "\\x{", err));
        TRY(buf_put(&t->out, t->p + 2, 4, err));
        t->p += 6;
        return put(t, "}", err);
    case 'd':
    case 'D':
    case 't':
    case 'n':
    case 'r':
    case 'f':
    case 'v':
    case 'a':
    case 'e':
    case 'x':
        break;
    case 'A':
    case 'z':
        if (!in_class)
            break;
        /* fall through */
    default:
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
            msg[sizeof msg - 2] = c;
            return refuse(t, msg, err);
        }
        if ((unsigned char)c >= 0x80) { /* an escaped letter stands for itself */
            t->p++;
            return 0;
        }
    }
    if (!with && c == 'W')
        return refuse(t, "\\W inside a class", err);
    if (!with && (c == 'b' || c == 'B'))
        return refuse(t, "\\b inside a class", err);
    if (c == 'v')
        with = "\\x{0b}"; /* a list of line ends in PCRE2 */
    if (with)
        TRY(put(t, with, err));
    else
        TRY(buf_put(&t->out, t->p, 2, err));
    t->p += 2;
    return 0;
}

/* What stands between the brackets of a class; a class within it adds its members to it. */
static int translate_members(struct translation *t, int nested, struct pesc_error *err)
{
    t->p++;
    if (t->p < t->end && (*t->p == ']' || (nested && (*t->p == '^' || *t->p == ':'))))
        return refuse(t, nested ? "class within a class" : "class that starts with ]", err);
    while (t->p < t->end && *t->p != ']') {
        if ((unsigned char)*t->p >= 0x80 && t->caseless[t->depth])
            return refuse(t, beyond_ascii, err);
        if (*t->p == '&' && t->p + 1 < t->end && t->p[1] == '&')
            return refuse(t, "intersection of classes", err);
        if (*t->p == '\\') {
            TRY(translate_escape(t, 1, err));
        } else if (*t->p == '[') {
            if (nested)
                return refuse(t, "class within a class within a class", err);
            TRY(translate_members(t, 1, err));
        } else if (nested && *t->p == '-') {
            return refuse(t, "range in a class within a class", err);
        } else {
            TRY(buf_put(&t->out, t->p++, 1, err));
        }
    }
    if (t->p >= t->end)
        return refuse(t, "class without end", err);
    t->p++;
    return 0;
}

static int translate_class(struct translation *t, struct pesc_error *err)
{
    int negated = t->p + 1 < t->end && t->p[1] == '^';
    TRY(put(t, negated ? "[^" : "[", err));
    t->p += negated;
    TRY(translate_members(t, 0, err));
    return put(t, "]", err);
}

static int translate_group(struct translation *t, struct pesc_error *err)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    if (t->depth == DEPTH_CAP)
        return refuse(t, "groups nested too deep", err);
    t->group[t->depth++] = t->out.n;
    t->caseless[t->depth] = t->caseless[t->depth - 1];
    size_t left = (size_t)(t->end - t->p);
    if (left < 2 || (t->p[1] != '?' && t->p[1] != '*')) {
        t->p++;
        return put(t, "(?:", err); /* captures are never used */
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (left >= n && !memcmp(t->p, known[i], n)) {
            t->p += n;
            return put(t, known[i], err);
        }
    }
    if (left > 4 && !memcmp(t->p, "(?i:", 4)) {
        t->p += 4;
        t->caseless[t->depth] = 1;
        return put(t, "(?i:", err);
    }
    /* elsewhere the alternatives behind it would belong to it */
    if (left >= 4 && !memcmp(t->p, "(?i)", 4) && t->out.n == 0) {
        t->p += 4;
        t->depth--;
        t->caseless[t->depth] = 1;
        return put(t, "(?i)", err);
    }
    return refuse(t, "unsupported kind of group", err);
}

/* {n,m}, which Oniguruma never reads as possessive: a + behind it repeats the whole. */
static int translate_interval(struct translation *t, struct pesc_error *err)
{
    const char *q = t->p + 1;
    while (q < t->end && ((*q >= '0' && *q <= '9') || *q == ','))
        q++;
    if (q >= t->end || *q != '}' || t->p[1] == ',' || t->p[1] == '}')
        return refuse(t, "unreadable {}", err);
    q++;
    TRY(buf_put(&t->out, t->p, (size_t)(q - t->p), err));
    t->p = q;
    if (q < t->end && *q == '+') {
        TRY(buf_room(&t->out, 5, err));
        memmove(t->out.p + t->atom + 3, t->out.p + t->atom, t->out.n - t->atom);
        memcpy(t->out.p + t->atom, "(?:", 3);
        t->out.n += 3;
        TRY(put(t, ")+", err));
        t->p++;
    }
    return 0;
}

static int translate(struct translation *t, struct pesc_error *err)
{
    while (t->p < t->end) {
        size_t at = t->out.n, len;
        switch (*t->p) {
        case '\\':
            TRY(translate_escape(t, 0, err));
            t->atom = at;
            break;
        case '[':
            TRY(translate_class(t, err));
            t->atom = at;
            break;
        case '(':
            TRY(translate_group(t, err));
            break;
        case ')':
            if (!t->depth)
                return refuse(t, "unmatched )", err);
            t->atom = t->group[--t->depth];
            TRY(buf_put(&t->out, t->p++, 1, err));
            break;
        case '{':
            TRY(translate_interval(t, err));
            break;
        default:
            utf8_get(t->p, &len);
            if (t->caseless[t->depth] && len > 1)
                return refuse(t, beyond_ascii, err);
            if (t->caseless[t->depth] && meets_ligature(t))
                return refuse(t, "regardless of case, letters that a ligature has", err);
            if (!strchr("*+?|^$", *t->p))
                t->atom = at;
            TRY(buf_put(&t->out, t->p, len, err));
            t->p += len;
        }
    }
    return t->depth ? refuse(t, "unmatched (", err) : 0;
}

struct regex *regex_new(const char *pattern, size_t n, struct pesc_error *err)
{
    struct translation t = {.p = pattern, .end = pattern + n, .whole = pattern, .whole_n = n};
    if (n > PATTERN_CAP || memchr(pattern, 0, n)) {
        refuse(&t, "pattern too long or with a zero byte", err);
        return NULL;
    }
    struct regex *r = calloc(1, sizeof *r);
    pcre2_compile_context *ctx = pcre2_compile_context_create(NULL);
    int rc = -1, code;
    PCRE2_SIZE where;
    if (!r || !ctx) {
        error_set(err, PESC_E_MEMORY, "no memory for a regex");
        goto done;
    }
    TRY_OR(translate(&t, err), done);
    /* ^ and $ are always about lines in Oniguruma */
    pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile((PCRE2_SPTR)(t.out.p ? t.out.p : ""), t.out.n,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                            &code, &where, ctx);
    if (!r->code && code == PCRE2_ERROR_HEAP_FAILED) {
        error_set(err, PESC_E_MEMORY, "no memory for a regex");
        goto done;
    }
    if (!r->code) {
        char why[128] = "cannot compile";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        refuse(&t, why, err);
        goto done;
    }
    r->limits = pcre2_match_context_create(NULL);
    if (!r->limits) {
        error_set(err, PESC_E_MEMORY, "no memory for a regex");
        goto done;
    }
    pcre2_set_match_limit(r->limits, STEP_CAP);
    pcre2_set_heap_limit(r->limits, HEAP_CAP_KIB);
    r->jit = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE) == 0;
    rc = 0;
done:
    pcre2_compile_context_free(ctx);
    buf_free(&t.out);
    if (rc != 0) {
        regex_free(r);
        return NULL;
    }
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->limits);
    free(r);
}

struct regex_match *regex_match_new(struct pesc_error *err)
{
    struct regex_match *m = malloc(sizeof *m);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!m || !data) {
        free(m);
        pcre2_match_data_free(data);
        error_set(err, PESC_E_MEMORY, "no memory for a regex match");
        return NULL;
    }
    m->data = data;
    return m;
}

void regex_match_free(struct regex_match *m)
{
    if (!m)
        return;
    pcre2_match_data_free(m->data);
    free(m);
}

int regex_find(const struct regex *r, struct regex_match *m, const char *text, size_t n,
               size_t from, size_t *start, size_t *end, struct pesc_error *err)
{
    int rc = r->jit ? pcre2_jit_match(r->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK,
                                      m->data, r->limits)
                    : PCRE2_ERROR_JIT_STACKLIMIT;
    /* the compiled matcher has a small stack; the interpreter may use the heap */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(r->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         m->data, r->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return FAIL(err, MEMORY, "no memory for a regex on %zu bytes of text", n);
    if (rc < 0) {
        char why[128] = "failed";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return FAIL(err, LIMIT, "the tokenizer's regex on %zu bytes of text: %s", n, why);
    }
    const PCRE2_SIZE *pos = pcre2_get_ovector_pointer(m->data);
    *start = pos[0];
    *end = pos[1];
    return 1;
}
