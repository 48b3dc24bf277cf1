/* What this CPU can multiply, and which types follow from it. */
#include "config.h"
#include "core/isa.h"
#include "tensor/gemm_own.h"
#include "tensor/gemm_state.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>

struct known {
    unsigned isa;
    const char *name;
};

/* oneDNN's names are sets of bits: a later instruction set holds the earlier ones'. The first of
 * the list that is there. */
static int find(const struct known *known, char *why, size_t size)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    int i = 0;
    while ((isa & known[i].isa) != known[i].isa)
        i++;
    if (why && size)
        snprintf(why, size, "%s", known[i].name);
    return i;
}

int gemm_has_bf16(char *why, size_t size)
{
    static const struct known known[] = {{dnnl_cpu_isa_avx512_core_bf16, "AVX512-BF16"},
                                         {dnnl_cpu_isa_avx512_core, "AVX-512 without BF16"},
                                         {dnnl_cpu_isa_avx2, "AVX2"},
                                         {0, "no AVX2"}};
    return find(known, why, size) == 0;
}

int gemm_has_int8(char *why, size_t size)
{
    static const struct known known[] = {{dnnl_cpu_isa_avx512_core_vnni, "AVX512-VNNI"},
                                         {dnnl_cpu_isa_avx2_vnni, "AVX-VNNI"},
                                         {dnnl_cpu_isa_avx512_core, "AVX-512 without VNNI"},
                                         {dnnl_cpu_isa_avx2, "AVX2 without VNNI"},
                                         {0, "no AVX2"}};
    return find(known, why, size) < 2;
}

int gemm_own_usable(long size)
{
    unsigned amx = dnnl_cpu_isa_avx512_core_amx, isa = (unsigned)dnnl_get_effective_cpu_isa();
    if ((isa & amx) == amx) /* whose tiles are oneDNN's */
        return 0;
    if (size == sizeof(float)) /* with AVX-512, oneDNN's rows are alone, and fast */
        return isa_avx2() && (isa & dnnl_cpu_isa_avx512_core) != dnnl_cpu_isa_avx512_core &&
               (isa & dnnl_cpu_isa_avx2) == dnnl_cpu_isa_avx2;
    return size == 2 ? isa_avx512_bf16() : isa_avx512_vnni();
}

int gemm_has_own(void)
{
    return gemm_own_usable(sizeof(uint16_t)) && gemm_own_usable(1);
}

enum dtype compute_form(enum compute c)
{
    return c == COMPUTE_BF16 || (c == COMPUTE_INT8 && gemm_has_bf16(NULL, 0)) ? DT_BF16 : DT_F32;
}

const char *compute_name(enum compute c)
{
    static const char *const name[] = {"f32", "bf16", "int8"};
    return name[c];
}

const char *gemm_library_version(char *buf, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(buf, size, "%d.%d.%d", v->major, v->minor, v->patch);
    return buf;
}
