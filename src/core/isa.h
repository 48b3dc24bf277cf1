/* Which vector instructions this CPU has and this build can make, for code that is chosen when it
 * runs. */
#ifndef PESC_CORE_ISA_H
#define PESC_CORE_ISA_H

/* With fused multiplication and addition. */
static inline int isa_avx2(void)
{
#if defined __x86_64__ && defined __GNUC__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

/* Of the server class (F, BW, DQ, VL). */
static inline int isa_avx512(void)
{
#ifdef PESC_HAVE_AVX512_BF16
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    return 0;
#endif
}

/* That with products of bytes. */
static inline int isa_avx512_vnni(void)
{
#ifdef PESC_HAVE_AVX512_BF16
    return isa_avx512() && __builtin_cpu_supports("avx512vnni");
#else
    return 0;
#endif
}

/* That with products of pairs of bf16. */
static inline int isa_avx512_bf16(void)
{
#ifdef PESC_HAVE_AVX512_BF16
    return isa_avx512() && __builtin_cpu_supports("avx512bf16");
#else
    return 0;
#endif
}

#endif
