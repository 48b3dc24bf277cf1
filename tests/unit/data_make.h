/* Data sets made for tests: tokenised records, in files that are gone when the set is open. */
#ifndef TESTS_UNIT_DATA_MAKE_H
#define TESTS_UNIT_DATA_MAKE_H

#include "core/file.h"
#include "datasets/batcher.h"
#include "tests/tap.h"

#include <stdlib.h>
#include <unistd.h>

enum { MAKE_VOCAB = 1 << 22 };

/* Any text in each of n files; NULL is a failure that has been told. */
static inline struct dataset *data_open(const char *const *texts, long n, struct dataset_options o,
                                        const struct tokenizer *t)
{
    char names[8][64];
    const char *paths[8];
    struct dataset *d = NULL;
    struct pesc_error err = {0};
    int rc = n <= 8 ? 0 : -1;
    if (!o.vocab_size)
        o.vocab_size = MAKE_VOCAB;
    for (long i = 0; i < n && rc == 0; i++) {
        snprintf(names[i], sizeof names[i], "data_make.%ld.%ld.jsonl", (long)getpid(), i);
        paths[i] = names[i];
        rc = file_write(paths[i], texts[i], strlen(texts[i]), &err);
    }
    if (rc == 0)
        rc = dataset_open(paths, n, t, &o, NULL, &d, &err);
    for (long i = 0; i < n; i++)
        remove(names[i]);
    if (rc != 0) {
        ok(0, "data set of %.60s", texts[0]);
        diag("[%s] %s", err.name, err.text);
    }
    return d;
}

/* n records that start with their number, counted from first, of 2 + hash % spread tokens. Caller
 * frees. */
static inline char *data_numbered(long first, long n, long spread)
{
    char *text = malloc((size_t)n * (size_t)(40 + 3 * spread) + 1), *at = text;
    if (!text)
        return NULL;
    *at = 0;
    for (long i = first; i < first + n; i++) {
        long len = 2 + (long)((uint64_t)(i + 1) * 0x9E3779B97F4A7C15u >> 40) % spread;
        at += sprintf(at, "{\"input_ids\":[%ld", i);
        for (long j = 1; j < len; j++)
            at += sprintf(at, ",%ld", 2 + j % 7);
        at += sprintf(at, "]}\n");
    }
    return text;
}

#endif
