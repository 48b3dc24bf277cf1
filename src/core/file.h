/* Files: bounded reading of regular files, and writing that is whole or absent. */
#ifndef PESC_CORE_FILE_H
#define PESC_CORE_FILE_H

#include "core/error.h"

#include <sys/stat.h>

enum { PATH_CAP = 4096, SHA256_HEX = 65 };

/* dir/name into out (PATH_CAP bytes); an absolute name replaces dir. */
int path_join(char *out, const char *dir, const char *name, struct pesc_error *err) MUST_USE;
/* Absolute path without links; the path must exist. */
int path_real(char *out, const char *path, struct pesc_error *err) MUST_USE;
int path_exists(const char *path);
int path_is_dir(const char *path);
/* Bytes that a folder's file system has free for us; 0: none, or not known. */
uint64_t dir_free(const char *dir);
const char *path_base(const char *path); /* after the last slash */

/* Creates one directory (an existing one is fine) or a chain of them. */
int dir_make(const char *path, struct pesc_error *err) MUST_USE;
int dir_make_all(const char *path, struct pesc_error *err) MUST_USE;
/* Removes a directory this program made, with all that is below. */
int dir_remove_all(const char *path, struct pesc_error *err) MUST_USE;

/* Makes renames and removals in a directory durable. */
int dir_sync(const char *path, struct pesc_error *err) MUST_USE;

/* Opens a regular file for reading: E-IO-MISSING, E-IO-TYPE (never hangs on a FIFO), E-IO.
 * Returns the descriptor, which the caller closes, or -1; st may be NULL. */
int file_open_read(const char *path, struct stat *st, struct pesc_error *err);
/* n bytes at off, all of them; a short file is E-ST-CHANGED (it shrank while being read). */
int file_pread(int fd, void *buf, size_t n, uint64_t off, const char *path,
               struct pesc_error *err) MUST_USE;
/* The whole file, at most cap bytes (E-LIMIT), with a zero byte behind. Caller frees *data. */
int file_read(const char *path, size_t cap, char **data, size_t *len,
              struct pesc_error *err) MUST_USE;

/* A file without a name in dir, readable and writable, gone when it is closed or the process ends.
 * The descriptor is above 0. */
int file_temporary(const char *dir, int *fd, struct pesc_error *err) MUST_USE;
void file_close_temporary(int fd); /* 0 is fine */
int file_pwrite(int fd, const void *buf, size_t n, uint64_t off, const char *path,
                struct pesc_error *err) MUST_USE;

/* A file that appears under its name only when complete: written to a temporary beside it,
 * fsync, rename, fsync of the folder. */
struct afile;
struct afile *afile_open(const char *path, struct pesc_error *err); /* NULL on failure */
int afile_write(struct afile *f, const void *data, size_t n, struct pesc_error *err) MUST_USE;
/* Ends and frees f in every case. sha256 (SHA256_HEX bytes) and bytes may be NULL.
 * fresh: fail with E-USAGE-EXISTS when the name is taken. */
int afile_commit(struct afile *f, int fresh, char *sha256, uint64_t *bytes,
                 struct pesc_error *err) MUST_USE;
/* The same for a file named after its content: DIR/before<sha256>after, in the folder that it was
 * opened in. What has that name already has this content, and is replaced only to be sure of it.
 * path: PATH_CAP bytes. The folder cannot be flushed: E-IO "durability unknown", the file stays. */
int afile_commit_hashed(struct afile *f, const char *before, const char *after, char *path,
                        char *sha256, uint64_t *bytes, struct pesc_error *err) MUST_USE;
/* SHA-256 of what was written so far. */
int afile_digest(const struct afile *f, unsigned char raw[32], struct pesc_error *err) MUST_USE;
const char *afile_path(const struct afile *f); /* what it was opened as, for messages */
/* Takes disk space for bytes in all, so that a full disk shows before anything is written. */
int afile_reserve(struct afile *f, uint64_t bytes, struct pesc_error *err) MUST_USE;
void afile_abort(struct afile *f); /* removes the temporary; NULL is fine */
int file_write(const char *path, const void *data, size_t n, struct pesc_error *err) MUST_USE;
/* What errno says of path, "cannot WHAT": E-IO-FULL when there is no room, else E-IO. */
int file_fail(struct pesc_error *err, const char *path, const char *what);

#endif
