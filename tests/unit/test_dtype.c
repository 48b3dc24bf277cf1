#include "config.h"
#include "tensor/dtype.h"
#include "tests/tap.h"

#include <float.h>

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* The value of a half, from its definition. */
static double half_value(unsigned h)
{
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    double sign = h >> 15 ? -1 : 1;
    if (e == 31)
        return m ? NAN : sign * INFINITY;
    return sign * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
}

static uint16_t narrow(float x, enum dtype d)
{
    enum { MANY = 17 }; /* a vector and one more: both ways have to agree */
    float v[MANY];
    uint16_t h[MANY];
    int same = 1;
    for (int i = 0; i < MANY; i++)
        v[i] = x;
    dtype_from_f32(h, v, d, MANY);
    for (int i = 0; i < MANY; i++)
        same &= h[i] == h[0];
    return same ? h[0] : (uint16_t)~h[0];
}

/* All 65536 values at once, from an odd address, and back. */
static void test_exhaustive(enum dtype d)
{
    static unsigned char raw[2 * 65536 + 1];
    static float x[65536];
    static uint16_t back[65536];
    long wrong = 0, lost = 0, nan_lost = 0;
    for (unsigned h = 0; h < 65536; h++) {
        uint16_t v = (uint16_t)h;
        memcpy(raw + 1 + 2 * h, &v, 2);
    }
    dtype_to_f32(x, raw + 1, d, 65536);
    dtype_from_f32(back, x, d, 65536);
    for (unsigned h = 0; h < 65536; h++) {
        double want = d == DT_F16 ? half_value(h) : (double)float_of(h << 16);
        if (isnan(want)) {
            nan_lost +=
                !isnan(x[h]) || !isnan(d == DT_F16 ? half_value(back[h])
                                                   : (double)float_of((uint32_t)back[h] << 16));
            continue;
        }
        wrong += (double)x[h] != want || (bits_of(x[h]) >> 31) != h >> 15;
        lost += back[h] != h;
    }
    is_long(wrong, 0, "every value widens exactly");
    is_long(lost, 0, "every value survives there and back");
    is_long(nan_lost, 0, "NaN stays NaN both ways");
}

/* Between each two neighbours: the middle goes to the even one, a hair beside it to the nearer. */
static void test_rounding(enum dtype d)
{
    unsigned top = d == DT_F16 ? 0x7bff : 0x7f7f;
    long ties = 0, below = 0, above = 0, negative = 0;
    for (unsigned h = 0; h < top; h++) {
        double a = d == DT_F16 ? half_value(h) : (double)float_of(h << 16);
        double b = d == DT_F16 ? half_value(h + 1) : (double)float_of((h + 1) << 16);
        float mid = (float)((a + b) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        ties += narrow(mid, d) != even;
        negative += narrow(-mid, d) != (even | 0x8000);
        below += narrow(float_of(bits_of(mid) - 1), d) != h;
        above += narrow(float_of(bits_of(mid) + 1), d) != h + 1;
    }
    is_long(ties, 0, "ties go to even");
    is_long(negative, 0, "also below zero");
    is_long(below, 0, "just below the middle goes down");
    is_long(above, 0, "just above the middle goes up");
}

static void test_names(void)
{
    const char *spelling = "";
    is_long(dtype_from_name("bf16"), DT_BF16, "bf16 by its own name");
    is_long(dtype_from_st("F16"), DT_F16, "F16 by its name in files");
    is_long(dtype_from_st("f16"), -1, "names in files are upper case");
    is_long((long)dtype_size(DT_F32), 4, "f32 has 4 bytes");
    is_long(dtype_st_bits("I64", &spelling), 64, "I64 has 64 bits");
    is_str(spelling, "I64", "and its spelling is kept");
    is_long(dtype_st_bits("F4", &spelling), 4, "F4 has 4 bits");
    is_long(dtype_st_bits("F31", &spelling), 0, "F31 is nothing");
    is_str(dtype_st_name(DT_COUNT), "other", "no name beyond the table");
}

int main(void)
{
    test_exhaustive(DT_BF16);
    test_exhaustive(DT_F16);
    test_rounding(DT_BF16);
    test_rounding(DT_F16);
    ok(narrow(65519.996f, DT_F16) == 0x7bff && narrow(65520.0f, DT_F16) == 0x7c00 &&
           narrow(65536.0f, DT_F16) == 0x7c00 && narrow(70001.0f, DT_F16) == 0x7c00 &&
           narrow(-131071.0f, DT_F16) == 0xfc00 && narrow(-1e30f, DT_F16) == 0xfc00 &&
           narrow(INFINITY, DT_F16) == 0x7c00,
       "f16 overflows to infinity from 65520");
    ok(narrow(FLT_MAX, DT_BF16) == 0x7f80 && narrow(INFINITY, DT_BF16) == 0x7f80,
       "bf16 overflows to infinity");
    ok(narrow(1e-40f, DT_F16) == 0 && narrow(-1e-40f, DT_F16) == 0x8000, "f16 underflows to zero");
    ok(isnan(half_value(narrow(float_of(0x7f800001), DT_F16))) &&
           isnan(float_of((uint32_t)narrow(float_of(0x7f800001), DT_BF16) << 16)),
       "a NaN of low bits only stays NaN");
    test_names();
    dtype_to_f32(NULL, NULL, DT_BF16, 0);
    dtype_from_f32(NULL, NULL, DT_F32, 0);
    return tap_done();
}
