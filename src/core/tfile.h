/* A file without a name, for what is not to stay in memory: it is gone with the process, however
 * that ends. Its content is kept out of the page cache too, which counts against a container's
 * limit: what was written is on its way to the disk at once, and dropped when it got there; unless
 * it is asked for otherwise. */
#ifndef PESC_CORE_TFILE_H
#define PESC_CORE_TFILE_H

#include "core/error.h"

#include <stddef.h>
#include <stdint.h>

struct tfile;
enum tfile_kind {
    TFILE_DROPPED,
    /* The page cache may keep what it likes, and the disk gets it when the kernel thinks fit: for
     * content that the machine has memory for. All threads read and write. */
    TFILE_CACHED,
    /* Past the page cache, where the file system can; else as TFILE_DROPPED. Memory, sizes and
     * places are multiples of TFILE_BLOCK. */
    TFILE_DIRECT
};
enum { TFILE_BLOCK = 4096 };
/* In the file system of folder dir, bytes long, all zero, with its space reserved where the file
 * system can: E-IO-FULL then comes from here and not half-way. E-IO-MISSING, E-IO. */
int tfile_open(const char *dir, uint64_t bytes, enum tfile_kind kind, struct tfile **out,
               struct pesc_error *err) MUST_USE;
void tfile_close(struct tfile *f); /* NULL is fine */
/* Waits at most for the write before this one. E-IO-FULL, E-IO. */
int tfile_write(struct tfile *f, const void *data, size_t n, uint64_t at,
                struct pesc_error *err) MUST_USE;
int tfile_read(struct tfile *f, void *data, size_t n, uint64_t at, struct pesc_error *err) MUST_USE;
/* A read of this will come soon. */
void tfile_soon(struct tfile *f, size_t n, uint64_t at);

#endif
