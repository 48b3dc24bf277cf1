/* A source, for the two files that know its shapes. Internal. */
#ifndef DATASETS_SOURCE_INTERNAL_H
#define DATASETS_SOURCE_INTERNAL_H

#include "core/archive.h"
#include "core/hash.h"
#include "datasets/naming.h"
#include "datasets/source.h"
#include "datasets/stored.h"

enum {
    ENTRIES = 1 << 18, /* files of a folder, members of an archive */
    DEPTH = 16         /* of folders in a folder */
};

struct entry {
    char *name; /* below the folder, or as the archive has it */
    enum name_kind kind;
    enum data_part part;
    const char *special; /* why it cannot be read: "a symbolic link"; NULL: it can */
    int encrypted, chosen;
};

struct source {
    const struct dataset_options *o;
    const struct notes *notes;
    enum { SHAPE_FILE, SHAPE_FOLDER, SHAPE_ARCHIVE } shape;
    struct entry *v; /* of folders and archives */
    long n, cap;
    long at; /* the next entry */
    unsigned parts;
    uint64_t limit;
    struct stored *stored; /* the file that is open, or the archive */
    struct arc_reader *arc;
    struct hash *hash; /* of the member */
    uint64_t bytes, size, unpacked;
    int has_size, at_end;
    char head[STORED_HEAD]; /* of the member, looked at and then handed out */
    size_t head_n, head_pos;
    char name[PATH_CAP]; /* of the input, for messages */
    char archive_sha256[SHA256_HEX];
    char path[PATH_CAP];
};

/* Adds a copy of name and says what names say. NULL without memory or with too many. */
struct entry *source_add(struct source *s, const char *name, struct pesc_error *err);
/* The part to be read, of those there are: which entries are chosen. One file only where need_one
 * is set and there are no parts. */
int source_choose(struct source *s, int need_one, struct pesc_error *err) MUST_USE;
/* What to take content of that beginning for. */
int source_kind(const struct source *s, const char *path, const char *head, size_t n,
                enum record_kind *out, struct pesc_error *err) MUST_USE;

int archive_list(struct source *s, struct pesc_error *err) MUST_USE;
int archive_next(struct source *s, struct input *in, struct pesc_error *err);
int archive_member_end(struct source *s, char *sha256, uint64_t *bytes,
                       struct pesc_error *err) MUST_USE;

#endif
