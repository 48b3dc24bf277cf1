/* The program with memory that runs out. Its own allocations and jansson's come by here through the
 * linker (--wrap) and through jansson's hook; in a build without sanitizers also those of the other
 * libraries and of libc. Those of oneDNN, libstdc++ and libgomp are left alone: they end the
 * program themselves. From the environment: FAIL_AT=N     the N-th allocation (from 1) fails
 *   FAIL_ON=1     and so do all after it
 *   FAIL_SITES=F  F gets the number of each allocation that is the first of its call stack
 *   FAIL_TELL=F   F gets the call stack of the one that fails */
#include "config.h"
#include "tests/wrapped.h"

#include "core/hash.h"
#include "core/json.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAMES = 64, SEEN = 1 << 16, RANGES = 64 };

static struct {
    long calls, at;
    int on, sites, tell;
    pthread_mutex_t lock;
    uint64_t seen[SEEN];
    long n_ranges;
    struct {
        uintptr_t from, to;
        int archive;
    } range[RANGES];
} failing = {.sites = -1, .tell = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

/* Nothing is counted then. */
static __thread int inside;

static int new_stack(void *const *frame, int n)
{
    uint64_t h = 1469598103934665603u;
    for (int i = 0; i < n; i++)
        h = (h ^ (uintptr_t)frame[i]) * 1099511628211u;
    h |= 1;
    for (size_t i = h % SEEN;; i = (i + 1) % SEEN) {
        if (failing.seen[i] == h)
            return 0;
        if (!failing.seen[i]) {
            failing.seen[i] = h;
            return 1;
        }
    }
}

/* Counts an allocation; whether it fails. */
static int fails(void)
{
    if (inside || (!failing.at && failing.sites < 0))
        return 0;
    long n = __atomic_add_fetch(&failing.calls, 1, __ATOMIC_RELAXED);
    if (failing.sites >= 0) {
        void *frame[FRAMES];
        inside = 1;
        int depth = backtrace(frame, FRAMES);
        inside = 0;
        pthread_mutex_lock(&failing.lock);
        if (new_stack(frame, depth)) {
            char line[32];
            int k = snprintf(line, sizeof line, "%ld\n", n);
            if (write(failing.sites, line, (size_t)k) != k)
                _exit(99);
        }
        pthread_mutex_unlock(&failing.lock);
    }
    if (!failing.at || n < failing.at || (n > failing.at && !failing.on))
        return 0;
    if (failing.tell >= 0 && n == failing.at) {
        void *frame[FRAMES];
        inside = 1;
        backtrace_symbols_fd(frame, backtrace(frame, FRAMES), failing.tell);
        inside = 0;
    }
    errno = ENOMEM;
    return 1;
}

char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(align, n);
}

int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
    return fails() ? ENOMEM : __real_posix_memalign(p, align, n);
}

char *__wrap_strndup(const char *s, size_t n)
{
    n = strnlen(s, n);
    char *copy = __wrap_malloc(n + 1);
    if (copy) {
        memcpy(copy, s, n);
        copy[n] = 0;
    }
    return copy;
}

char *__wrap_strdup(const char *s)
{
    return __wrap_strndup(s, strlen(s));
}

/* While jansson 2.14 reads a text, its buffer doubles; where it cannot at a closing quotation mark,
 * jansson runs past its end. */
json_t *__real_json_load_callback(json_load_callback_t feed, void *ctx, size_t flags,
                                  json_error_t *error);
json_t *__wrap_json_load_callback(json_load_callback_t feed, void *ctx, size_t flags,
                                  json_error_t *error);
static __thread int reading;

json_t *__wrap_json_load_callback(json_load_callback_t feed, void *ctx, size_t flags,
                                  json_error_t *error)
{
    reading++;
    json_t *v = __real_json_load_callback(feed, ctx, flags, error);
    reading--;
    return v;
}

static void *jansson_malloc(size_t n)
{
    int doubles = reading && n >= 32 && (n & (n - 1)) == 0;
    return doubles ? __real_malloc(n) : __wrap_malloc(n);
}

/* libarchive ends the program where it has no memory for a name, and crashes where it has none for
 * a filter. */
const char *__real_archive_entry_pathname_utf8(void *entry);
const char *__wrap_archive_entry_pathname_utf8(void *entry);
const char *__real_archive_entry_pathname(void *entry);
const char *__wrap_archive_entry_pathname(void *entry);

const char *__wrap_archive_entry_pathname_utf8(void *entry)
{
    inside++;
    const char *name = __real_archive_entry_pathname_utf8(entry);
    inside--;
    return name;
}

const char *__wrap_archive_entry_pathname(void *entry)
{
    inside++;
    const char *name = __real_archive_entry_pathname(entry);
    inside--;
    return name;
}

int __real_archive_write_add_filter_zstd(void *archive);
int __wrap_archive_write_add_filter_zstd(void *archive);

int __wrap_archive_write_add_filter_zstd(void *archive)
{
    inside++;
    int rc = __real_archive_write_add_filter_zstd(archive);
    inside--;
    return rc;
}

#if !defined __SANITIZE_ADDRESS__
/* In the place of libc's, for everyone; the program's own have been counted above. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

/* 2: from libarchive. */
static int from_library(const void *caller)
{
    for (long i = 0; i < failing.n_ranges; i++)
        if ((uintptr_t)caller >= failing.range[i].from && (uintptr_t)caller < failing.range[i].to)
            return 1 + failing.range[i].archive;
    return 0;
}
#define LIBRARY_FAILS (from_library(__builtin_return_address(0)) && fails())

void *malloc(size_t n)
{
    return LIBRARY_FAILS ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return LIBRARY_FAILS ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    /* A text of libarchive that cannot grow ends the program, too. */
    int from = from_library(__builtin_return_address(0));
    return from == 1 && fails() ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return LIBRARY_FAILS ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    if (LIBRARY_FAILS)
        return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

static int add_ranges(struct dl_phdr_info *info, size_t size, void *ctx)
{
    static const char *const names[] = {"libc.so",  "libsqlite3",  "libarchive", "libyaml",
                                        "libpcre2", "libutf8proc", "libcrypto.", "libz.",
                                        "libzstd",  "liblzma",     "libbz2",     "liblz4"};
    (void)size, (void)ctx;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strstr(info->dlpi_name, names[i]))
            continue;
        for (int k = 0; k < info->dlpi_phnum && failing.n_ranges < RANGES; k++)
            if (info->dlpi_phdr[k].p_type == PT_LOAD) {
                uintptr_t from = info->dlpi_addr + info->dlpi_phdr[k].p_vaddr;
                failing.range[failing.n_ranges].archive = !strcmp(names[i], "libarchive");
                failing.range[failing.n_ranges].from = from;
                failing.range[failing.n_ranges++].to = from + info->dlpi_phdr[k].p_memsz;
            }
    }
    return 0;
}
#endif

static int file_of(const char *name)
{
    const char *path = getenv(name);
    return path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
}

__attribute__((constructor)) static void failing_start(void)
{
    void *frame[4];
    const char *at = getenv("FAIL_AT");
    char hex[65];
    backtrace(frame, 4); /* the first loads a library */
    /* libcrypto 3.0 crashes where its own beginning meets no memory. */
    if (hash_bytes("", 0, hex, NULL) != 0)
        _exit(99);
    json_set_alloc_funcs(jansson_malloc, free);
    failing.sites = file_of("FAIL_SITES");
    failing.tell = file_of("FAIL_TELL");
    failing.on = getenv("FAIL_ON") != NULL;
#if !defined __SANITIZE_ADDRESS__
    dl_iterate_phdr(add_ranges, NULL);
#endif
    failing.at = at ? atol(at) : 0;
}
