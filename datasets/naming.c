#include "config.h"
#include "datasets/naming.h"

#include "core/file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *ending;
    enum name_kind kind;
} endings[] = {
    {".json", NAME_JSON},   {".jsonl", NAME_JSON},  {".ndjson", NAME_JSON},
    {".csv", NAME_CSV},     {".tsv", NAME_TSV},     {".tab", NAME_TSV},
    {".txt", NAME_TEXT},    {".text", NAME_TEXT},   {".zip", NAME_ARCHIVE},
    {".tar", NAME_ARCHIVE}, {".tgz", NAME_ARCHIVE}, {".tzst", NAME_ARCHIVE},
    {".txz", NAME_ARCHIVE}, {".tbz", NAME_ARCHIVE}, {".tbz2", NAME_ARCHIVE},
    {".7z", NAME_ARCHIVE},  {".rar", NAME_ARCHIVE}, {".iso", NAME_ARCHIVE},
};
static const char *const packings[] = {".gz", ".xz", ".zst", ".zstd", ".bz2"};
static const char *const told[] = {"readme",    "license", "licence",  "copying", "notice",
                                   "changelog", "changes", "citation", "authors", "requirements"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static int ends_in(const char *s, size_t n, const char *ending)
{
    size_t k = strlen(ending);
    return n > k && !strncasecmp(s + n - k, ending, k);
}

/* Length of a name without .gz and the like. */
static size_t unpacked_length(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < COUNT(packings); i++)
        if (ends_in(name, n, packings[i]))
            return n - strlen(packings[i]);
    return n;
}

/* A name that stands alone or before an ending: README, readme.txt, not readme_corpus.txt. */
static int is_told(const char *base)
{
    for (size_t i = 0; i < COUNT(told); i++) {
        size_t k = strlen(told[i]);
        if (!strncasecmp(base, told[i], k) && (!base[k] || base[k] == '.'))
            return 1;
    }
    return 0;
}

/* Any part of the path that begins with a dot, but not . and .. themselves. */
static int is_hidden(const char *path)
{
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        size_t n = strcspn(p, "/");
        if (*p == '.' && !(n == 1 || (n == 2 && p[1] == '.')))
            return 1;
    }
    return !strncmp(path, "__MACOSX/", 9);
}

enum name_kind name_kind(const char *path, int *packed)
{
    const char *base = path_base(path);
    size_t n = unpacked_length(base);
    if (packed)
        *packed = base[n] != 0;
    if (is_hidden(path) || is_told(base))
        return NAME_IGNORED;
    for (size_t i = 0; i < COUNT(endings); i++)
        if (ends_in(base, n, endings[i].ending))
            return endings[i].kind;
    return NAME_OTHER;
}

static const struct {
    const char *word;
    enum data_part part;
} words[] = {
    {"train", DATA_PART_TRAIN},      {"training", DATA_PART_TRAIN}, {"valid", DATA_PART_VALID},
    {"validation", DATA_PART_VALID}, {"val", DATA_PART_VALID},      {"dev", DATA_PART_VALID},
    {"test", DATA_PART_TEST},        {"testing", DATA_PART_TEST},
};

static enum data_part word_part(const char *s, size_t n)
{
    for (size_t i = 0; i < COUNT(words); i++)
        if (strlen(words[i].word) == n && !strncasecmp(s, words[i].word, n))
            return words[i].part;
    return DATA_PART_ANY;
}

enum data_part name_part(const char *path)
{
    const char *base = path_base(path);
    enum data_part found = DATA_PART_ANY;
    for (const char *p = path; p < base; p += strcspn(p, "/") + 1) {
        enum data_part part = word_part(p, strcspn(p, "/"));
        if (part != DATA_PART_ANY)
            return part;
    }
    for (const char *p = base; *p;) {
        size_t n = 0;
        while (isalnum((unsigned char)p[n]))
            n++;
        enum data_part part = word_part(p, n);
        if (part != DATA_PART_ANY && found != DATA_PART_ANY && part != found)
            return DATA_PART_ANY;
        if (part != DATA_PART_ANY)
            found = part;
        p += n ? n : 1;
    }
    return found;
}

void name_plain(const char *path, char *out, size_t size)
{
    const char *base = path_base(path);
    snprintf(out, size, "%.*s", (int)unpacked_length(base), base);
}

const char *data_part_name(enum data_part p)
{
    switch (p) {
    case DATA_PART_TRAIN:
        return "train";
    case DATA_PART_VALID:
        return "valid";
    case DATA_PART_TEST:
        return "test";
    case DATA_PART_ANY:
    case DATA_PART_WATCHED:
    case DATA_PART_HELD_OUT:
        break;
    }
    return "all";
}
