/* Development only: texts in, ids out, for compare_tokenizers.py.
 * tok_dump MODEL FLAGS < JSON strings, one per line > arrays of ids, one per line;
 * the time spent encoding goes to standard error. */
#include "config.h"
#include "core/json.h"
#include "datasets/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int dump(const struct tokenizer *t, int flags, struct pesc_error *err)
{
    struct ids ids = {0};
    char *line = NULL;
    size_t cap = 0, bytes = 0;
    clock_t spent = 0;
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = getline(&line, &cap, stdin)) > 0) {
        json_t *v = json_parse(line, (size_t)n, NULL, err->text, sizeof err->text);
        if (!json_is_string(v)) {
            rc = -1;
            break;
        }
        clock_t start = clock();
        ids.n = 0;
        rc = tokenizer_encode(t, json_string_value(v), json_string_length(v), flags, &ids, err);
        spent += clock() - start;
        bytes += json_string_length(v);
        json_decref(v);
        printf("[");
        for (size_t i = 0; i < ids.n; i++)
            printf(i ? ",%d" : "%d", ids.v[i]);
        printf("]\n");
    }
    fprintf(stderr, "%zu %.6f\n", bytes, (double)spent / CLOCKS_PER_SEC);
    free(line);
    free(ids.v);
    return rc;
}

int main(int argc, char **argv)
{
    struct pesc_error err = {0};
    struct tokenizer *t = NULL;
    if (argc != 3)
        return 2;
    int bad = tokenizer_open(argv[1], NULL, &t, &err) != 0 || dump(t, atoi(argv[2]), &err) != 0;
    if (bad)
        fprintf(stderr, "%s\n", err.text);
    tokenizer_close(t);
    return bad;
}
