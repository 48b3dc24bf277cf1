#include "config.h"
#include "core/hash.h"

#include "core/file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hash {
    EVP_MD_CTX *md;
    int failed;
};

struct hash *hash_new(struct pesc_error *err)
{
    struct hash *h = calloc(1, sizeof *h);
    if (h)
        h->md = EVP_MD_CTX_new();
    if (!h || !h->md || EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) != 1) {
        FAIL(err, MEMORY, "no memory for a digest");
        hash_free(h);
        return NULL;
    }
    return h;
}

void hash_add(struct hash *h, const void *data, size_t n)
{
    if (n && EVP_DigestUpdate(h->md, data, n) != 1)
        h->failed = 1;
}

void hash_hex(struct hash *h, char hex[65])
{
    unsigned char raw[32];
    /* A digest that failed must never compare equal to one that did not. */
    if (h->failed || EVP_DigestFinal_ex(h->md, raw, NULL) != 1) {
        memset(hex, '!', 64);
        hex[64] = 0;
        return;
    }
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", raw[i]);
}

int hash_peek(const struct hash *h, unsigned char raw[32], struct pesc_error *err)
{
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    int good = copy && !h->failed && EVP_MD_CTX_copy_ex(copy, h->md) == 1 &&
               EVP_DigestFinal_ex(copy, raw, NULL) == 1;
    EVP_MD_CTX_free(copy);
    return good ? 0 : FAIL(err, MEMORY, "no memory for a digest");
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->md);
    free(h);
}

int hash_bytes(const void *data, size_t n, char hex[65], struct pesc_error *err)
{
    struct hash *h = hash_new(err);
    if (!h)
        return -1;
    hash_add(h, data, n);
    hash_hex(h, hex);
    hash_free(h);
    return 0;
}

int hash_file(const char *path, char hex[65], uint64_t *bytes, struct pesc_error *err)
{
    enum { CHUNK = 1 << 20 };
    struct stat st;
    int rc = -1, fd = file_open_read(path, &st, err);
    if (fd < 0)
        return -1;
    struct hash *h = hash_new(err);
    char *buf = malloc(CHUNK);
    if (!buf)
        FAIL(err, MEMORY, "no memory to hash %s", path);
    if (!h || !buf)
        goto done;
    uint64_t size = (uint64_t)st.st_size;
    for (uint64_t off = 0; off < size;) {
        size_t n = size - off < CHUNK ? (size_t)(size - off) : CHUNK;
        TRY_OR(file_pread(fd, buf, n, off, path, err), done);
        hash_add(h, buf, n);
        off += n;
    }
    hash_hex(h, hex);
    if (bytes)
        *bytes = size;
    rc = 0;
done:
    free(buf);
    hash_free(h);
    close(fd);
    return rc;
}

const char *hash_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
