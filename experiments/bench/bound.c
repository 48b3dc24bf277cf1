#include "config.h"
#include "experiments/bench/bound.h"

enum { HEAD_ROWS = 512 }; /* at a time: the whole vocabulary's results must fit into memory */

static void add(struct bound *b, const char *name, enum stage stage, enum phase phase, long times,
                enum gemm_form form, enum compute type, long M, long N, long K)
{
    if (times > 0 && M > 0)
        b->p[b->n++] = (struct product){
            name, stage, phase, times, {.M = M, .N = N, .K = K, .form = form, .type = type}};
}

/* Type of the products that are not int8. */
static enum compute rest(const struct model *m)
{
    return compute_form(m->compute) == DT_BF16 ? COMPUTE_BF16 : COMPUTE_F32;
}

/* A matrix [N, K] of every layer: forward everywhere, towards data above the lowest. */
static void add_matrix(struct bound *b, const struct model *m, const char *name, enum stage stage,
                       enum layer_tensor t, long times, long T)
{
    long rows, cols, L = m->c.num_layers;
    enum compute type = rest(m);
    if (!layer_tensor_shape(&m->c, t, &rows, &cols))
        return;
    if (m->compute == COMPUTE_INT8 && linear_int8(rows, cols, m->plan.int8_min))
        type = COMPUTE_INT8;
    add(b, name, stage, PHASE_FORWARD, L * times, GEMM_NT, type, T, rows, cols);
    add(b, name, stage, PHASE_BACKWARD, (L - 1) * times, GEMM_NN, type, T, cols, rows);
}

/* n experts with so many rows each; their weights' gradients, which in bf16 oneDNN has no
 * transposed form for, as products of the same size. */
static void add_experts(struct bound *b, const struct model *m, long n, long rows)
{
    long D = m->c.hidden_size, A = m->moe.dim;
    enum compute type = m->moe.bf16 ? COMPUTE_BF16 : COMPUTE_F32;
    enum gemm_form turned = m->moe.bf16 ? GEMM_NT : GEMM_TN;
    add(b, "adapter down", STAGE_MOE, PHASE_FORWARD, n, GEMM_NT, type, rows, A, D);
    add(b, "adapter up", STAGE_MOE, PHASE_FORWARD, n, GEMM_NT, type, rows, D, A);
    add(b, "adapter up gradient", STAGE_MOE, PHASE_BACKWARD, n, turned, type, D, A, rows);
    add(b, "adapter up", STAGE_MOE, PHASE_BACKWARD, n, GEMM_NN, type, rows, A, D);
    add(b, "adapter down gradient", STAGE_MOE, PHASE_BACKWARD, n, turned, type, A, D, rows);
    add(b, "adapter down", STAGE_MOE, PHASE_BACKWARD, n, GEMM_NN, type, rows, D, A);
}

/* The rows are taken as evenly routed, as training drives them to be. */
static void add_adapters(struct bound *b, const struct model *m, long T)
{
    long L = m->c.num_layers, D = m->c.hidden_size, E = m->moe.experts;
    long rows = T * m->moe.top_k / E, more = T * m->moe.top_k % E;
    add(b, "router", STAGE_MOE, PHASE_FORWARD, L, GEMM_NT, COMPUTE_F32, T, E, D);
    add(b, "router gradient", STAGE_MOE, PHASE_BACKWARD, L, GEMM_TN, COMPUTE_F32, E, D, T);
    add(b, "router", STAGE_MOE, PHASE_BACKWARD, L, GEMM_NN, COMPUTE_F32, T, D, E);
    add_experts(b, m, L * (E - more), rows);
    add_experts(b, m, L * more, rows + 1);
}

void bound_count(struct bound *b, const struct model *m, long T, long scored, double pairs)
{
    long D = m->c.hidden_size, V = m->c.vocab_size;
    enum compute type = rest(m);
    *b = (struct bound){0};
    add_matrix(b, m, "q", STAGE_PROJ, LT_Q, 1, T);
    add_matrix(b, m, "k, v", STAGE_PROJ, LT_K, 2, T);
    add_matrix(b, m, "o", STAGE_PROJ, LT_O, 1, T);
    add_matrix(b, m, "gate, up", STAGE_FFN, LT_GATE, 2, T);
    add_matrix(b, m, "down", STAGE_FFN, LT_DOWN, 1, T);
    long full = scored / HEAD_ROWS, more = scored % HEAD_ROWS;
    add(b, "head", STAGE_HEAD, PHASE_FORWARD, full, GEMM_NT, type, HEAD_ROWS, V, D);
    add(b, "head", STAGE_HEAD, PHASE_FORWARD, 1, GEMM_NT, type, more, V, D);
    add(b, "head", STAGE_HEAD, PHASE_BACKWARD, full, GEMM_NN, type, HEAD_ROWS, D, V);
    add(b, "head", STAGE_HEAD, PHASE_BACKWARD, 1, GEMM_NN, type, more, D, V);
    if (m->crafted)
        add_adapters(b, m, T);
    /* forward q k^T and p v, backward dp, dv, dq, dk: 2 C each for a pair and head */
    b->attention = pairs * (double)(m->c.num_heads * m->c.head_dim) *
                   (4 * (double)m->c.num_layers + 8 * (double)(m->c.num_layers - 1));
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        for (int phase = 0; phase < PHASE_COUNT; phase++)
            b->flops += bound_flops(b, (enum stage)stage, (enum phase)phase);
}

double bound_attention(const struct bound *b)
{
    double best = 0; /* operations a second */
    for (long i = 0; i < b->n; i++) {
        const struct gemm_probe *p = &b->p[i].probe;
        double speed = 2.0 * (double)p->M * (double)p->N * (double)p->K / gemm_probe_best(p);
        if (p->type != COMPUTE_INT8 && speed > best)
            best = speed;
    }
    return best > 0 ? b->attention / best : 0;
}

double bound_flops(const struct bound *b, enum stage s, enum phase phase)
{
    double sum = 0;
    for (long i = 0; i < b->n; i++)
        if (b->p[i].stage == s && b->p[i].phase == phase)
            sum += 2.0 * (double)b->p[i].times * (double)b->p[i].probe.M * (double)b->p[i].probe.N *
                   (double)b->p[i].probe.K;
    return sum;
}

int bound_measure(struct bound *b, double seconds, struct pesc_error *err)
{
    b->seconds = b->latest = 0;
    for (long i = 0; i < b->n; i++) {
        struct gemm_probe now = b->p[i].probe, *best = &b->p[i].probe;
        TRY(gemm_probe(&now, seconds, err));
        for (int w = 0; w < GEMM_WAYS; w++)
            if (best->seconds[w] == 0 || now.seconds[w] < best->seconds[w])
                best->seconds[w] = now.seconds[w];
        b->latest += (double)b->p[i].times * gemm_probe_best(&now);
        b->seconds += (double)b->p[i].times * gemm_probe_best(best);
    }
    return 0;
}
