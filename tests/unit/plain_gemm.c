/* The products of gemm.h in plain C, for tests of what calls them. */
#include "config.h"
#include "tensor/gemm.h"

static void product(float *C, float beta, const float *A, long a_row, long a_col, const float *B,
                    long b_row, long b_col, long M, long N, long K)
{
    for (long m = 0; m < M; m++)
        for (long n = 0; n < N; n++) {
            double sum = 0;
            for (long k = 0; k < K; k++)
                sum += (double)A[m * a_row + k * a_col] * B[k * b_row + n * b_col];
            C[m * N + n] = (beta == 0 ? 0 : C[m * N + n]) + (float)sum;
        }
}

void gemm_nt(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    (void)g;
    product(C, beta, A, K, 1, B, 1, K, M, N, K);
}

void linear_fwd(struct gemm *g, float *Y, const float *X, const struct wmat *W, const float *bias,
                long T)
{
    (void)g;
    (void)bias;
    product(Y, 0, X, W->K, 1, W->data, 1, W->K, T, W->N, W->K);
}

void linears_fwd(struct gemm *g, const struct linear *l, int n)
{
    for (int i = 0; i < n; i++)
        linear_fwd(g, l[i].Y, l[i].X, l[i].W, l[i].bias, l[i].T);
}

void gemm_nn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    (void)g;
    product(C, beta, A, K, 1, B, N, 1, M, N, K);
}

void gemm_tn(struct gemm *g, float *C, float beta, const float *A, const float *B, long M, long N,
             long K)
{
    (void)g;
    product(C, beta, A, 1, M, B, N, 1, M, N, K);
}

void gemm_count(struct gemm *g, long M, long N, long K)
{
    (void)g, (void)M, (void)N, (void)K;
}
