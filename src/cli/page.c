#include "config.h"
#include "cli/page.h"

#include <stdlib.h>

/* (A stream in memory would do, but glibc's loses what it has no memory for, and its error flag
 * stays clear.) */
static ssize_t put(void *ctx, const char *data, size_t n)
{
    struct page *p = ctx;
    if (p->err->code || afile_write(p->file, data, n, p->err) != 0)
        return 0;
    return (ssize_t)n;
}

int page_open(struct page *p, const char *path, struct pesc_error *err)
{
    *p = (struct page){.file = afile_open(path, err), .err = err};
    if (!p->file)
        return -1;
    p->f = fopencookie(p, "w", (cookie_io_functions_t){.write = put});
    if (p->f)
        return 0;
    afile_abort(p->file);
    return FAIL(err, MEMORY, "%s: no memory to write it", path);
}

int page_end(struct page *p, int rc)
{
    int bad = ferror(p->f);
    bad |= fclose(p->f);
    if (rc == 0 && !bad && !p->err->code)
        return afile_commit(p->file, 0, NULL, NULL, p->err);
    afile_abort(p->file);
    return FAIL(p->err, IO, "cannot write the file"); /* unless it is known better */
}
