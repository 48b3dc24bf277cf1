#include "config.h"
#include "core/gunzip.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

enum { CHUNK = 64 * 1024, GZIP_ONLY = 16 + MAX_WBITS };

struct gunzip {
    struct byte_source from;
    const char *name;
    z_stream z;
    int in_member, eof;
    unsigned char buf[CHUNK];
};

struct gunzip *gunzip_open(const struct byte_source *from, const char *name, struct pesc_error *err)
{
    struct gunzip *g = calloc(1, sizeof *g);
    if (!g || inflateInit2(&g->z, GZIP_ONLY) != Z_OK) {
        FAIL(err, MEMORY, "%s: no memory", name);
        free(g);
        return NULL;
    }
    g->from = *from;
    g->name = name;
    g->in_member = 1;
    return g;
}

static int fill(struct gunzip *g, struct pesc_error *err)
{
    if (g->z.avail_in > 0 || g->eof)
        return 0;
    long got = g->from.read(g->from.ctx, g->buf, sizeof g->buf, err);
    if (got < 0)
        return -1;
    g->eof = got == 0;
    g->z.next_in = g->buf;
    g->z.avail_in = (uInt)got;
    return 0;
}

long gunzip_read(void *gunzip, void *buf, size_t cap, struct pesc_error *err)
{
    struct gunzip *g = gunzip;
    uInt room = cap > UINT_MAX ? UINT_MAX : (uInt)cap;
    g->z.next_out = buf;
    g->z.avail_out = room;
    while (g->z.avail_out == room) {
        TRY(fill(g, err));
        if (!g->in_member) { /* between members: the end, or another one */
            if (g->z.avail_in == 0)
                return 0;
            if (inflateReset(&g->z) != Z_OK)
                return FAIL(err, INTERNAL, "%s: zlib cannot start again", g->name);
            g->in_member = 1;
        }
        if (g->z.avail_in == 0)
            return FAIL(err, AR_CORRUPT, "%s: the gzip data is cut off", g->name);
        int rc = inflate(&g->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END)
            g->in_member = 0;
        else if (rc == Z_MEM_ERROR)
            return FAIL(err, MEMORY, "%s: no memory", g->name);
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            return FAIL(err, AR_CORRUPT, "%s: gzip: %s", g->name,
                        g->z.msg ? g->z.msg : "data is damaged");
    }
    return (long)(room - g->z.avail_out);
}

void gunzip_close(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    free(g);
}
