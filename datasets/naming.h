/* What names of files say: what they hold, how they are packed, which part of a data set they are.
 * Internal to datasets/. */
#ifndef DATASETS_NAMING_H
#define DATASETS_NAMING_H

#include "datasets/dataset.h"
#include "datasets/records.h"

enum name_kind {
    NAME_JSON,    /* .json, .jsonl, .ndjson */
    NAME_CSV,     /* .csv */
    NAME_TSV,     /* .tsv, .tab */
    NAME_TEXT,    /* .txt, .text */
    NAME_ARCHIVE, /* .zip, .tar, .tgz ... */
    NAME_OTHER,
    NAME_IGNORED /* hidden files, README, LICENSE and the like */
};
/* packed (may be NULL): there is an ending such as .gz, behind which the kind was looked for. */
enum name_kind name_kind(const char *path, int *packed);
/* By the folders of a path, then by the file's name, where the word stands between other signs than
 * letters and digits: train, valid, validation, val, dev, test. DATA_PART_ANY: none, or several. */
enum data_part name_part(const char *path);
/* The last part of path without packing, into out. */
void name_plain(const char *path, char *out, size_t size);

#endif
