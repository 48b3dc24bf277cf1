#include "config.h"
#include "core/arena.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/rng.h"
#include "tests/tap.h"

static void test_rng(void)
{
    /* Known answers of Random123's philox4x32-10 for counter and key 0, and for all ones. */
    struct rng_key zero = {0, 0, 0, 0};
    uint32_t out[4];
    rng_block(&zero, 0, out);
    ok(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8,
       "philox known answer, zeros");
    struct rng_key ones = {UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    rng_block(&ones, UINT32_MAX, out);
    ok(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd,
       "philox known answer, ones");
    uint32_t many[4 * 67];
    struct rng_key key = {0x123456789abcdefull, RNG_DROPOUT, 17, 4000000000u};
    for (long n = 0; n <= 67; n += n < 18 ? 1 : 7) {
        int same = 1;
        rng_blocks(&key, UINT32_MAX - 20, many, n); /* the number of the block wraps */
        for (long i = 0; i < n; i++) {
            rng_block(&key, UINT32_MAX - 20 + (uint32_t)i, out);
            same &= !memcmp(out, many + 4 * i, sizeof out);
        }
        ok(same, "%ld blocks at once are those one by one", n);
    }
    for (uint64_t n = 1; n < 200; n += 13) {
        char seen[200] = {0};
        int bad = 0;
        for (uint64_t i = 0; i < n; i++) {
            uint64_t p = rng_permute(42, 3, i, n);
            bad |= p >= n || seen[p];
            if (p < n)
                seen[p] = 1;
        }
        ok(!bad, "rng_permute is a permutation of %d", (int)n);
    }
}

static void test_arena(void)
{
    struct arena a;
    struct pesc_error err = {0};
    arena_count(&a);
    arena_alloc(&a, 3, 5);
    arena_alloc(&a, 100, 4);
    is_long((long)a.used, 64 + 448, "arena counts aligned bytes");
    ok(arena_back(&a, &err) == 0, "arena is backed");
    ok(arena_alloc(&a, 3, 5) && arena_alloc(&a, 100, 4) && !a.overflow, "same layout fits");
    ok(!arena_alloc(&a, 1, 1) && a.overflow, "one byte more overflows");
    ok(!arena_alloc(&a, SIZE_MAX, 8), "size product overflow is refused");
    arena_free(&a);
}

static void test_json(void)
{
    enum json_fault f;
    static const struct {
        const char *text;
        enum json_fault fault;
    } bad[] = {{"{\"a\":1,\"a\":2}", JSON_FAULT_DUP}, {"{\"t\":1,\"\\u0074\":2}", JSON_FAULT_DUP},
               {"{\"a\":NaN}", JSON_FAULT_SYNTAX},    {"{\"a\":1} x", JSON_FAULT_SYNTAX},
               {"{\"a\":007}", JSON_FAULT_SYNTAX},    {"\"\\ud800\"", JSON_FAULT_UTF8},
               {"\"\xc0\xaf\"", JSON_FAULT_UTF8},     {"\"\\u0000\"", JSON_FAULT_NUL},
               {"{\"a\":1e999}", JSON_FAULT_SYNTAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *v = json_parse(bad[i].text, strlen(bad[i].text), &f, NULL, 0);
        ok(!v && f == bad[i].fault, "refused: %s", bad[i].text);
        json_decref(v);
    }
    is_long((long)json_count_objects("{\"{\\\"{\":{}}", 11), 2, "objects outside strings");
}

static void test_files(void)
{
    struct pesc_error err = {0};
    char hex[65], *data;
    size_t n;
    ok(hash_bytes("abc", 3, hex, &err) == 0 && !strncmp(hex, "ba7816bf8f01cfea", 16), "sha256");
    ok(file_write("test_core.tmp", "hello", 5, &err) == 0, "file written");
    ok(file_read("test_core.tmp", 100, &data, &n, &err) == 0 && n == 5 && !memcmp(data, "hello", 6),
       "file read back");
    free(data);
    ok(file_read("test_core.tmp", 4, &data, &n, &err) != 0 && err.code == PESC_E_LIMIT,
       "cap holds");
    err.code = 0;
    ok(file_read("/dev/zero", 4, &data, &n, &err) != 0 && err.code == PESC_E_IO_TYPE,
       "a device is refused");
    err.code = 0;
    struct afile *f = afile_open("test_core.tmp", &err);
    ok(f && afile_commit(f, 1, NULL, NULL, &err) != 0 && err.code == PESC_E_USAGE_EXISTS,
       "fresh file does not replace");
    remove("test_core.tmp");
    char shown[64];
    text_escape(shown, sizeof shown, "a\033[31m\xc2\x9b\xe2\x80\xae\xff\xc3\xa9");
    is_str(shown, "a\\x1b[31m\\xc2\\x9b\\xe2\\x80\\xae\\xff\xc3\xa9", "terminal escapes are shown");
}

int main(void)
{
    test_rng();
    test_arena();
    test_json();
    test_files();
    return tap_done();
}
