/* Archives, read and written as streams; the one home of libarchive. The reader opens only the
 * formats and filters that its caller lists, runs no other program, never touches the file system,
 * and takes anything but ARCHIVE_OK for an error. The writer's bytes depend on its input and on
 * the versions of libarchive and libzstd, on nothing else. */
#ifndef PESC_CORE_ARCHIVE_H
#define PESC_CORE_ARCHIVE_H

#include "core/error.h"
#include "core/file.h"
#include "core/stream.h"

enum arc_format { ARC_RAW = 1, ARC_TAR = 2, ARC_ZIP = 4 }; /* raw: one unnamed stream */
enum arc_filter { ARC_PLAIN = 1, ARC_GZIP = 2, ARC_ZSTD = 4, ARC_XZ = 8, ARC_BZIP2 = 16 };

struct arc_entry {
    const char *name; /* as stored, not to be trusted; until the next entry; raw: "data" */
    uint64_t size;    /* as declared; 0 when unknown (raw) */
    int has_size;
    const char *special; /* "a symbolic link" and the like; NULL: a regular file */
    int encrypted;
};

struct arc_reader;
/* Reads from fd (which stays the caller's, is not moved, and is path in messages). formats and
 * filters are sums of the enums above; at most one filter may be applied. E-AR-FORMAT for anything
 * else. Free with arc_reader_close (NULL is fine). */
int arc_reader_open(int fd, const char *path, unsigned formats, unsigned filters,
                    struct arc_reader **out, struct pesc_error *err) MUST_USE;
/* 1 and the next regular file (folders are passed over), 0 at the end. E-AR-MEMBER for links,
 * devices and the like, E-AR-CORRUPT. */
int arc_reader_next(struct arc_reader *r, struct arc_entry *e, struct pesc_error *err);
/* Up to n bytes of the entry; *got is 0 only at its end. A caller that limits what it takes counts
 * what it got, not what was declared. */
int arc_reader_data(struct arc_reader *r, void *buf, size_t n, size_t *got,
                    struct pesc_error *err) MUST_USE;

/* The same for data of all sorts. A stream that cannot be sought in serves all but ARC_ZIP, which
 * needs the descriptor. */
int arc_reader_open_stream(const struct byte_source *from, const char *path, unsigned formats,
                           unsigned filters, struct arc_reader **out,
                           struct pesc_error *err) MUST_USE;
/* 1 and the next entry of any kind, 0 at the end. */
int arc_reader_any(struct arc_reader *r, struct arc_entry *e, struct pesc_error *err);
/* Once the end is reached: takes the rest of the input. E-AR-CORRUPT when more than the padding of
 * a tar follows, or when a tar lacks the mark of its end, as one does that was cut between entries.
 * (A zip has its directory at the end; what is missing there shows when it is opened.) */
int arc_reader_end(struct arc_reader *r, struct pesc_error *err) MUST_USE;
/* After arc_reader_next failed on ARC_RAW with err: is it only that nothing was compressed? */
int arc_reader_is_empty(const struct arc_reader *r, const struct pesc_error *err);
void arc_reader_close(struct arc_reader *r);

/* Writes FORMAT through zstd (level 3, one thread, checksum) into f, which the caller commits or
 * aborts afterwards. tar: plain ustar, regular files, mode 0644, owner 0, time 0, no padding. */
struct arc_writer;
struct arc_writer *arc_writer_open(struct afile *f, enum arc_format format,
                                   struct pesc_error *err); /* NULL on failure */
/* tar: begins a file of exactly size bytes. A raw stream has no entries. */
int arc_writer_entry(struct arc_writer *w, const char *name, uint64_t size,
                     struct pesc_error *err) MUST_USE;
int arc_writer_data(struct arc_writer *w, const void *data, size_t n,
                    struct pesc_error *err) MUST_USE;
int arc_writer_close(struct arc_writer *w, struct pesc_error *err) MUST_USE; /* frees w always */
void arc_writer_abort(struct arc_writer *w);                                 /* NULL is fine */

#endif
