/* Archives and compressed files of every kind, made with libarchive for tests. */
#ifndef TESTS_UNIT_PACKING_H
#define TESTS_UNIT_PACKING_H

#include <stddef.h>

enum packing {
    PACK_PLAIN,
    PACK_GZ,
    PACK_XZ,
    PACK_ZST,
    PACK_BZ2,
    PACK_TAR,
    PACK_TAR_GZ,
    PACK_TAR_XZ,
    PACK_TAR_ZST,
    PACK_TAR_BZ2,
    PACK_ZIP,
    PACK_ZIP_STORED,
    PACK_ZIP_SECRET, /* encrypted */
    PACK_COUNT
};
const char *packing_ending(enum packing p); /* ".tar.gz"; "" for a plain file */
int packing_is_archive(enum packing p);     /* it has members */

/* A member; link: the target of a symbolic link, hard: of a hard link; fifo: a FIFO. */
struct packed {
    const char *name, *text;
    size_t n;
    const char *link, *hard;
    int fifo;
};
/* Writes files[count] (the first one's text alone where there are no members). 0, or -1 and what
 * libarchive says on stdout. */
int pack_files(const char *path, enum packing p, const struct packed *files, long count);

/* A large member, made of piece again and again until size bytes are reached. */
int pack_large(const char *path, enum packing p, const char *name, const char *piece,
               unsigned long long size);

#endif
