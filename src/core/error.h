/* Errors belong to the caller: first error wins, the library never prints and never exits. */
#ifndef PESC_CORE_ERROR_H
#define PESC_CORE_ERROR_H

#include "core/codes.h"
#include "pesc.h"

enum pesc_code {
    PESC_OK = 0,
#define PESC_X(id, code, status) PESC_E_##id,
    PESC_ERROR_CODES(PESC_X)
#undef PESC_X
};

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Records an error unless one is there already; err may be NULL. Always returns -1. Unprintable
 * bytes of the text are shown escaped, so that hostile names cannot drive a terminal. */
int error_set(struct pesc_error *err, enum pesc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* return FAIL(err, ST_TRUNC, "%s: ...", path);      return a coded error
 * TRY(file_read(..., err));                         forward one
 * TRY_OR(file_read(..., err), done);                forward one through a clean-up label */
#define FAIL(err, id, ...) error_set((err), PESC_E_##id, __VA_ARGS__)
#define TRY(expr)                                                                                  \
    do {                                                                                           \
        if ((expr) != 0)                                                                           \
            return -1;                                                                             \
    } while (0)
#define TRY_OR(expr, label)                                                                        \
    do {                                                                                           \
        if ((expr) != 0)                                                                           \
            goto label;                                                                            \
    } while (0)

/* Warnings and other remarks go to whoever listens; a NULL listener is silence.
 * code is a short stable name such as "W-ST-FIELD". */
struct notes {
    void (*fn)(void *ctx, const char *code, const char *text);
    void *ctx;
};
void note(const struct notes *n, const char *code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Copies text into out (size bytes, always terminated), escaping what a terminal would obey:
 * control characters, and bytes that are not UTF-8. */
void text_escape(char *out, size_t size, const char *text);

#endif
