/* Makes a large archive without making its content first: make_stream FILE.tar.zst MIB. The records
 * are empty, counted and not kept, so that what is measured is reading. */
#include "config.h"
#include "tests/unit/packing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char piece[4096];
    unsigned long long size = argc == 3 ? strtoull(argv[2], NULL, 10) << 20 : 0;
    if (size == 0) {
        fprintf(stderr, "usage: make_stream FILE.tar.zst MIB\n");
        return 2;
    }
    snprintf(piece, sizeof piece, "{\"input_ids\":[],\"pad\":\"");
    for (size_t n = strlen(piece), i = 0; i < 3000; i++)
        piece[n + i] = (char)('a' + i * i % 26);
    strcat(piece, "\"}\n");
    return pack_large(argv[1], PACK_TAR_ZST, "train.jsonl", piece, size) == 0 ? 0 : 1;
}
