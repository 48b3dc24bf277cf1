/* A tokenizer of bytes for tests: stands in for datasets/tokenizer.h's, which must not be linked.
 */
#ifndef TESTS_FAKE_TOKENIZER_H
#define TESTS_FAKE_TOKENIZER_H

#include "datasets/tokenizer.h"

enum {
    FAKE_BOS = 1,
    FAKE_EOS = 2,
    FAKE_SPACE = 3,
    FAKE_LINES = 4,
    FAKE_BYTE = 10,
    FAKE_SIZE = 266
};

struct tokenizer {
    int bos, eos, adds_bos;
    int prefix_space; /* every text begins with FAKE_SPACE */
    int merges_lines; /* two line ends are one token FAKE_LINES */
};

#endif
