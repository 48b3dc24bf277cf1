/* Test Anything Protocol in a few lines. End main with: return tap_done(); */
#ifndef TESTS_TAP_H
#define TESTS_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_n, tap_bad;

static inline int ok(int pass, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline int ok(int pass, const char *fmt, ...)
{
    va_list ap;
    printf("%sok %d - ", pass ? "" : "not ", ++tap_n);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    tap_bad += !pass;
    return pass;
}

static inline void diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void diag(const char *fmt, ...)
{
    va_list ap;
    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

static inline int is_str(const char *got, const char *want, const char *what)
{
    int same = got && want && !strcmp(got, want);
    ok(same, "%s", what);
    if (!same)
        diag("got '%s', want '%s'", got ? got : "(null)", want ? want : "(null)");
    return same;
}

static inline int is_long(long got, long want, const char *what)
{
    ok(got == want, "%s", what);
    if (got != want)
        diag("got %ld, want %ld", got, want);
    return got == want;
}

static inline int is_near(double got, double want, double tol, const char *what)
{
    int pass = fabs(got - want) <= tol;
    ok(pass, "%s", what);
    if (!pass)
        diag("got %.9g, want %.9g, off by %.3g, allowed %.3g", got, want, fabs(got - want), tol);
    return pass;
}

/* The whole program is skipped; the only reason that continuous integration accepts is that
 * ../shared is missing. */
static inline int tap_skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    return 0;
}

static inline int tap_done(void)
{
    printf("1..%d\n", tap_n);
    return tap_bad != 0;
}

/* The folder with real checkpoints, or NULL (then skip). */
static inline const char *tap_material(void)
{
    const char *dir = getenv("PESC_MATERIAL");
    static char readme[4096];
    if (!dir || !*dir)
        return NULL;
    snprintf(readme, sizeof readme, "%s/README.md", dir);
    FILE *f = fopen(readme, "r");
    if (!f)
        return NULL;
    fclose(f);
    return dir;
}
#define TAP_NO_MATERIAL "missing ../shared"

#endif
