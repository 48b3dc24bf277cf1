#include "config.h"
#include "tensor/gemm_plan.h"

#include <string.h>

static void strides_of(const struct matmul *p, dnnl_dims_t w)
{
    long row = p->weights_row ? p->weights_row : p->layout == WEIGHTS_KN ? p->N : p->K;
    w[0] = p->layout == WEIGHTS_KN ? row : 1;
    w[1] = p->layout == WEIGHTS_KN ? 1 : row;
}

static dnnl_data_type_t weights_type(const struct matmul *p)
{
    return p->weights_type == dnnl_data_type_undef ? p->type : p->weights_type;
}

/* The two majors differ in how descriptors are made, not in what runs. */
#if DNNL_VERSION_MAJOR >= 3
static int describe(const struct matmul *p, dnnl_memory_desc_t *src, dnnl_memory_desc_t *wei,
                    dnnl_memory_desc_t *dst)
{
    dnnl_dims_t sd = {p->M, p->K}, wd = {p->K, p->N}, dd = {p->M, p->N};
    dnnl_dims_t ss = {p->src_row ? p->src_row : p->K, 1};
    dnnl_dims_t ds = {p->dst_row ? p->dst_row : p->N, 1}, ws;
    strides_of(p, ws);
    return dnnl_memory_desc_create_with_strides(src, 2, sd, p->type, ss) == dnnl_success &&
           (p->layout == WEIGHTS_OWN
                ? dnnl_memory_desc_create_with_tag(wei, 2, wd, weights_type(p), dnnl_format_tag_any)
                : dnnl_memory_desc_create_with_strides(wei, 2, wd, weights_type(p), ws)) ==
               dnnl_success &&
           dnnl_memory_desc_create_with_strides(dst, 2, dd, p->dst_type, ds) == dnnl_success;
}

int matmul_make(struct matmul *p, dnnl_engine_t engine)
{
    dnnl_memory_desc_t src = NULL, wei = NULL, dst = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int good =
        describe(p, &src, &wei, &dst) && dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_post_ops_create(&post) == dnnl_success &&
        (!p->add ||
         dnnl_post_ops_append_sum(post, 1.0f, 0, dnnl_data_type_undef) == dnnl_success) &&
        dnnl_primitive_attr_set_post_ops(attr, post) == dnnl_success &&
        dnnl_matmul_primitive_desc_create(&pd, engine, src, wei, NULL, dst, attr) == dnnl_success &&
        dnnl_primitive_create(&p->prim, pd) == dnnl_success &&
        dnnl_memory_create(&p->src, src, engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(
            &p->weights, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), engine,
            p->layout == WEIGHTS_OWN ? DNNL_MEMORY_ALLOCATE : DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&p->dst, dst, engine, DNNL_MEMORY_NONE) == dnnl_success;
    if (good)
        p->weights_bytes =
            dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (post)
        dnnl_post_ops_destroy(post);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (src)
        dnnl_memory_desc_destroy(src);
    if (wei)
        dnnl_memory_desc_destroy(wei);
    if (dst)
        dnnl_memory_desc_destroy(dst);
    if (!good)
        matmul_free(p);
    return good ? 0 : -1;
}
#else
static int describe(const struct matmul *p, dnnl_memory_desc_t *src, dnnl_memory_desc_t *wei,
                    dnnl_memory_desc_t *dst)
{
    dnnl_dims_t sd = {p->M, p->K}, wd = {p->K, p->N}, dd = {p->M, p->N};
    dnnl_dims_t ss = {p->src_row ? p->src_row : p->K, 1};
    dnnl_dims_t ds = {p->dst_row ? p->dst_row : p->N, 1}, ws;
    strides_of(p, ws);
    return dnnl_memory_desc_init_by_strides(src, 2, sd, p->type, ss) == dnnl_success &&
           (p->layout == WEIGHTS_OWN
                ? dnnl_memory_desc_init_by_tag(wei, 2, wd, weights_type(p), dnnl_format_tag_any)
                : dnnl_memory_desc_init_by_strides(wei, 2, wd, weights_type(p), ws)) ==
               dnnl_success &&
           dnnl_memory_desc_init_by_strides(dst, 2, dd, p->dst_type, ds) == dnnl_success;
}

int matmul_make(struct matmul *p, dnnl_engine_t engine)
{
    dnnl_memory_desc_t src, wei, dst;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    dnnl_primitive_desc_t pd = NULL;
    int good =
        describe(p, &src, &wei, &dst) && dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_post_ops_create(&post) == dnnl_success &&
        (!p->add || dnnl_post_ops_append_sum(post, 1.0f) == dnnl_success) &&
        dnnl_primitive_attr_set_post_ops(attr, post) == dnnl_success &&
        dnnl_matmul_desc_init(&desc, &src, &wei, NULL, &dst) == dnnl_success &&
        dnnl_primitive_desc_create(&pd, &desc, attr, engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&p->prim, pd) == dnnl_success &&
        dnnl_memory_create(&p->src, &src, engine, DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(
            &p->weights, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), engine,
            p->layout == WEIGHTS_OWN ? DNNL_MEMORY_ALLOCATE : DNNL_MEMORY_NONE) == dnnl_success &&
        dnnl_memory_create(&p->dst, &dst, engine, DNNL_MEMORY_NONE) == dnnl_success;
    if (good)
        p->weights_bytes =
            dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (post)
        dnnl_post_ops_destroy(post);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (!good)
        matmul_free(p);
    return good ? 0 : -1;
}
#endif

void matmul_free(struct matmul *p)
{
    if (p->prim)
        dnnl_primitive_destroy(p->prim);
    if (p->src)
        dnnl_memory_destroy(p->src);
    if (p->weights)
        dnnl_memory_destroy(p->weights);
    if (p->dst)
        dnnl_memory_destroy(p->dst);
    memset(p, 0, sizeof *p);
}

int matmul_run(struct matmul *p, dnnl_stream_t stream, const void *src, const void *weights,
               void *dst)
{
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, p->src}, {DNNL_ARG_WEIGHTS, p->weights}, {DNNL_ARG_DST, p->dst}};
    dnnl_status_t s = dnnl_memory_set_data_handle(p->src, (void *)src);
    if (s == dnnl_success && weights)
        s = dnnl_memory_set_data_handle(p->weights, (void *)weights);
    if (s == dnnl_success)
        s = dnnl_memory_set_data_handle(p->dst, dst);
    if (s == dnnl_success)
        s = dnnl_primitive_execute(p->prim, stream, 3, args);
    return s == dnnl_success ? dnnl_stream_wait(stream) : s;
}
