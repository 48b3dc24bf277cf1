/* gzip as a stream, every member's checksum and length compared: libarchive compares neither. The
 * one home of zlib. */
#ifndef PESC_CORE_GUNZIP_H
#define PESC_CORE_GUNZIP_H

#include "core/stream.h"

struct gunzip;
/* name is for messages and must outlive it. NULL without memory. */
struct gunzip *gunzip_open(const struct byte_source *from, const char *name,
                           struct pesc_error *err);
/* As byte_source.read. Members that follow each other are read as one; whatever else follows, a cut
 * and a wrong checksum are E-AR-CORRUPT. */
long gunzip_read(void *gunzip, void *buf, size_t cap, struct pesc_error *err);
void gunzip_close(struct gunzip *g);

#endif
