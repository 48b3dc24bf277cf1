#!/bin/sh
# Development check, not run by make check: break one line of a kernel, of the engine or of the
# training loop at a time and demand that the unit tests notice. Run from the top of the tree:
#
#   sh tests/dev/mutate.sh [PATTERN]     only the mutations whose line contains PATTERN
#
# Prints one line per mutation; exit status 1 if a mutant survived or no longer applies.
set -u
top=$(pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export TMPDIR="$tmp" # for what a broken test leaves behind
cp -r src adapters tests "$tmp" && cd "$tmp" || exit 1
echo "#define PACKAGE_VERSION \"mutant\"" >config.h
case $(uname -m) in x86_64) echo "#define PESC_HAVE_AVX512_BF16 1" >>config.h ;; esac
cc="${CC:-cc} -std=gnu11 -O2 -fopenmp -fno-math-errno -ffp-contract=fast -D_GNU_SOURCE -w -I. -Isrc"
libs="-ldnnl -ljansson -lcrypto -lm"
sources=$(ls src/core/rng.c src/core/arena.c src/core/error.c src/core/file.c src/core/hash.c \
    src/core/json.c src/core/machine.c src/core/tfile.c src/core/thread.c src/core/xxh64.c \
    src/tensor/*.c src/model/*.c \
    src/train/*.c adapters/dropout.c adapters/experts*.c adapters/init.c adapters/moe.c \
    adapters/router.c tests/unit/small_model.c tests/unit/model_twin.c)
# The engine's tests are run in this order until one fails.
engine_tests="model_grad engine loop_sums loop engine_memory loop_state optim_forms layers"
wrap="-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=aligned_alloc"
wrap="$wrap -Wl,--wrap=posix_memalign"
wrap_io="-Wl,--wrap=pread -Wl,--wrap=pread64 -Wl,--wrap=pwrite -Wl,--wrap=pwrite64"
object()
{
    echo "$1" | tr / _ | sed 's/$/.o/'
}
for f in $sources; do
    $cc -c "$f" -o "$(object "$f")" && ar rc all.a "$(object "$f")" || exit 1
done
$cc -c tests/unit/plain_gemm.c -o plain_gemm.o || exit 1
for t in kernels attention attention_bf16 moe moe_bf16 gemm_own activations $engine_tests; do
    $cc -c "tests/unit/test_$t.c" -o "test_$t.o" || exit 1
done

# what includes the headers that are broken here
users()
{
    for f in src/tensor/swiglu.c src/tensor/attention_bf16_tile.c; do
        $cc -c "$f" -o "$(object "$f")" && ar r all.a "$(object "$f")" || return 1
    done
    $cc -c "tests/unit/test_$1.c" -o "test_$1.o"
}

# link and run one test program; its exit status
run()
{
    case $1 in
    kernels | attention | attention_bf16 | moe | moe_bf16) with="plain_gemm.o all.a $libs" ;;
    engine_memory) with="all.a $wrap $libs" ;;
    layers) with="all.a $wrap_io $libs" ;;
    *) with="all.a $libs" ;;
    esac
    # shellcheck disable=SC2086 # lists
    $cc -o "test_$1" "test_$1.o" $with 2>"$1.ld" &&
        timeout 120 "./test_$1" >"$1.tap" 2>&1
}
# the tests of a group: its name, or for "all" the engine's
run_group()
{
    ran=$1
    [ "$1" = all ] || { run "$1"; return; }
    for ran in $engine_tests; do
        run "$ran" || return 1
    done
}
wanted="kernels attention attention_bf16 moe moe_bf16 gemm_own activations all"
case ${1:-} in 'all '* | 'optim_forms '* | 'loop_state '* | 'layers '* | \
    'gemm_own '* | 'activations '*) wanted=${1%% *} ;; esac
for t in $wanted; do
    run_group "$t" || { echo "test_$ran fails before any mutation"; exit 1; }
done

killed=0 survived=0 stale=0
# TEST FILE SED-EXPRESSION, one mutation a line; TEST all: every test of the engine
while read -r t file change; do
    case $t in '' | '#'*) continue ;; esac
    case "$t $file $change" in *"${1:-}"*) ;; *) continue ;; esac
    cp "$top/$file" "$file"
    sed -i "$change" "$file"
    if cmp -s "$top/$file" "$file"; then
        echo "STALE     $file  $change"
        stale=$((stale + 1))
        continue
    fi
    object=$(object "$file")
    case $file in
    *.h) users "$t" ;;
    *) $cc -c "$file" -o "$object" && ar r all.a "$object" ;;
    esac || { echo "DOES NOT COMPILE  $file  $change"; stale=$((stale + 1)); }
    if run_group "$t"; then
        echo "SURVIVED  $file  $change"
        survived=$((survived + 1))
    else
        echo "killed    $file  $change  ($ran: $(grep -c '^not ok' "$ran.tap") failures)"
        killed=$((killed + 1))
    fi
    cp "$top/$file" "$file"
    case $file in
    *.h) users "$t" ;;
    *) $cc -c "$file" -o "$object" && ar r all.a "$object" ;;
    esac || exit 1
done <<'EOF'
kernels src/tensor/vecmath.h s/4.999999263e-1f/5.000099263e-1f/
kernels src/tensor/vecmath.h s/n - h)/n - h + 1)/
kernels src/tensor/vecmath.h s/1.128379310e-1f/1.128479310e-1f/
kernels src/tensor/vecmath.h s/0.398942280f/0.398842280f/
kernels src/tensor/vecmath.h s/i < n; i++)/i < n - 1; i++)/
kernels src/tensor/norm.c s/(double)D + eps/(double)D/
kernels src/tensor/norm.c s/inv \* w\[d\]/inv/
kernels src/tensor/norm.c s/dot \* r \* r \* r/dot * r * r/
kernels src/tensor/norm.c s/- c \* x\[d\]/+ c * x[d]/
kernels src/tensor/norm.c s/dx\[d\] += r/dx[d] = r/
kernels src/tensor/norm.c s/dw\[d\] += (float)/dw[d] = (float)/
kernels src/tensor/norm.c s/dy\[t \* D + d\] \* r\[t\]/dy[t * D + d]/
kernels src/tensor/norm.c s/d += COLS/d += COLS+1/
kernels src/tensor/rope.c s/v \* w;/v * w * 1.0001f;/
kernels src/tensor/rope.c s/sign < 0 ? -1.0f/sign < 0 ? 1.0f/
kernels src/tensor/rope.c s/double angle = (double)position\[t\]/float angle = (float)position[t]/
kernels src/tensor/swiglu.c s/gi \* s \* (1.0f - s)/gi * s/
kernels src/tensor/swiglu.c s/du\[i\] = di \* gi \* s/du[i] = di * gi/
kernels src/tensor/swiglu.c s/i += CHUNK)/i += CHUNK + 1)/
kernels src/tensor/loss.c s/l\[y\] -= scale/l[y] -= 1/
kernels src/tensor/loss.c s/(float)(scale \/ sum)/(float)(1 \/ sum)/
kernels src/tensor/loss.c s/if (scale == 0)/if (0)/
kernels src/tensor/loss.c s/y >= 0 \&\& y < V/1/
kernels src/tensor/rows.c s/i += CHUNK)/i += CHUNK + 1)/
kernels src/tensor/rows.c s/while (size \* PARTS < n)/while (0)/
kernels src/tensor/rows.c s/part\[p\] += part/part[p] = part/
kernels src/tensor/rows.c s/dtable + ids\[t\] \* D + d/dtable + ids[0] * D + d/
attention src/tensor/attention_tile.c s/at - window + 1/at - window/
attention src/tensor/attention_tile.c s/at + 1 :/at :/
attention src/tensor/attention_tile.c s/c4 += a\[4/c4 += a[3/
attention src/tensor/attention_tile.c s/if (add)/if (0)/
attention src/tensor/attention_tile.c s/memset(dst + n/(void)(dst + n/
attention src/tensor/attention_tile.c s/(f0 + r) % rep \* C/0/
attention src/tensor/attention_tile.c s/factor ? factor\[r\] : scale/scale/
attention src/tensor/attention_tile.c s/r = n; r < TILE_KEYS/r = n; 0/
attention src/tensor/attention.c s/w->sum\[r\] \*= shrink/w->sum[r] *= 1/
attention src/tensor/attention.c s/acc\[c\] \*= shrink/acc[c] *= 1/
attention src/tensor/attention.c s/x->nk - x->nq/0/
attention src/tensor/attention.c s/first - d->window + 1/first - d->window + 50/
attention src/tensor/attention.c s/k0 <= last/k0 < last/
attention src/tensor/attention.c s/+ logf(/- logf(/
attention src/tensor/attention.c s/ck\[s\] \* G + g/ck[s] * G/
attention src/tensor/attention.c s/LOWEST = -1e30f/LOWEST = -10/
attention src/tensor/attention_bwd.c s/(ds\[j\] - delta)/ds[j]/
attention src/tensor/attention_bwd.c s/vm_exp(p\[j\] - lse)/vm_exp(p[j])/
attention src/tensor/attention_bwd.c s/NULL, d->scale/NULL, 1/
attention src/tensor/attention_bwd.c s/rows, C, d->scale)/rows, C, 1.0f)/
attention src/tensor/attention_bwd.c s/w.out2, ld, w.p, 1/w.out2, ld, w.ds, 1/
attention src/tensor/attention_bwd.c s/w.ds, 1, TILE_KEYS, w.q/w.p, 1, TILE_KEYS, w.q/
attention src/tensor/attention_bwd.c s/k0 + nk - 1 + d->window : x->n/k0 + nk - 2 + d->window : x->n/
attention src/tensor/attention_bwd.c s/f = k0 \* x->rep/f = (k0 + nk - 1) * x->rep/
attention src/tensor/attention_bwd.c s/first - d->window + 1/first - d->window + 50/
attention src/tensor/attention_bwd.c s/k0 <= last/k0 < last/
attention_bf16 src/tensor/turn16.h s/0x88);$/0xdd);/
attention_bf16 src/tensor/attention_bf16_tile.c s/if (m < rows)/if (1)/
attention_bf16 src/tensor/attention_bf16_tile.c s/= add \&\& m < rows/= 0/
attention_bf16 src/tensor/attention_bf16_tile.c s/2 \* p + i < n ?/2 * p + i <= n ?/
attention_bf16 src/tensor/attention_bf16_tile.c s/r + 1 < n ? src/r < n ? src/
attention_bf16 src/tensor/attention_bf16_tile.c s/at\[r0 + i\] \* C + c, m/at[r0 + i] * C + c, 0xffff/
attention_bf16 src/tensor/attention_bf16_tile.c s/++h == rep/++h == rep + 1/
attention_bf16 src/tensor/attention_bf16_tile.c s/left >= 2 \* LANES ? 0xffffffffu/left >= 2 * LANES ? 0xffffu/
attention_bf16 src/tensor/attention_bf16_bwd.c s/f = lo \* x->rep/f = lo * x->rep + BF16_ROWS/
attention_bf16 src/tensor/attention_bf16.h s/fmadd_ps(p, r, _mm512_set1_ps(2.40/fmadd_ps(p, r, _mm512_set1_ps(1.001f * 2.40/
attention_bf16 src/tensor/attention_bf16.h s/cmple_epi32_mask(key, pos)/cmplt_epi32_mask(key, pos)/
attention_bf16 src/tensor/attention_bf16.h s/cmpge_epi32_mask(key, oldest)/cmpgt_epi32_mask(key, oldest)/
attention_bf16 src/tensor/attention_bf16.h s/2 \* first \* G/first * G/
attention_bf16 src/tensor/attention_bf16.h s/first - window + 1/first - window + 70/
attention_bf16 src/tensor/attention_bf16.c s/k0 + even - 1 > w.pos/k0 + even - 1 > 64 + w.pos/
attention_bf16 src/tensor/attention_bf16.c s/|| k0 < w.oldest/|| 0 \&\& k0 < w.oldest/
attention_bf16 src/tensor/attention_bf16.c s/sum = _mm512_mul_ps(sum, shrink)/(void)shrink/
attention_bf16 src/tensor/attention_bf16.c s/_mm512_load_ps(o), shrink/_mm512_load_ps(o), _mm512_set1_ps(1)/
attention_bf16 src/tensor/attention_bf16.c s/end <= begin \&\& i/0 \&\& i/
attention_bf16 src/tensor/attention_bf16.c s/x->nk - x->nq/0/
attention_bf16 src/tensor/attention_bf16.c s/w.max\[r\] \* d->scale +/w.max[r] +/
attention_bf16 src/tensor/attention_bf16_bwd.c s/_mm512_load_ps(w->dp + to), delta/_mm512_load_ps(w->dp + to), _mm512_setzero_ps()/
attention_bf16 src/tensor/attention_bf16_bwd.c s/ds\[i\] = _mm512_maskz_mov_ps(m, ds\[i\])/(void)m/
attention_bf16 src/tensor/attention_bf16_bwd.c s/p = _mm512_maskz_mov_ps(m, p)/(void)m/
attention_bf16 src/tensor/attention_bf16_bwd.c s/k0 + even - 1 > w.pos/k0 + even - 1 > 64 + w.pos/
attention_bf16 src/tensor/attention_bf16_bwd.c s/|| k0 < w.oldest/|| 0 \&\& k0 < w.oldest/
attention_bf16 src/tensor/attention_bf16_bwd.c s/w->scale\[r\] = d->scale/w->scale[r] = 1/
attention_bf16 src/tensor/attention_bf16_bwd.c s/scale_row(x->dk + j \* x->k_stride, d->scale/scale_row(x->dk + j * x->k_stride, 1/
attention_bf16 src/tensor/attention_bf16_bwd.c s/even \/ 2, k0 > begin/even \/ 2, k0 > lo/
attention_bf16 src/tensor/attention_bf16_bwd.c s/hi - 1 + d->window : x->n/hi - 65 + d->window : x->n/
attention_bf16 src/tensor/attention_bf16_bwd.c s/0xffffu >> (Cp - C)/0xffffu/
moe_bf16 adapters/experts_bf16.c s/(s->offset\[e\] + e + 1) \/ 2/s->offset[e] \/ 2/
moe_bf16 adapters/experts_bf16.c s/x\[i\] == 0 ? y\[i\] : //
moe_bf16 adapters/experts_bf16.c s/if (r % 2 || r + 1 == n)/if (r % 2)/
moe_bf16 adapters/experts_bf16.c s/scale(gr, by, A)/scale(gr, 1, A)/
moe_bf16 src/tensor/tile_bf16.c s/_mm512_cvtne2ps_pbh(b, a)/_mm512_cvtne2ps_pbh(a, b)/
moe adapters/router.c s/l\[e\] > l\[best\]/l[e] >= l[best]/
moe adapters/router.c s/best < 0 ||/0 ||/
moe adapters/router.c s/l\[e\] \/= sum/l[e] \/= sum * 1.001f/
moe adapters/router.c s/share \/ (double)c->top_k/share/
moe adapters/router.c s/(balance_load(s, c, e, T) - mean)/balance_load(s, c, e, T)/
moe adapters/router.c s/(g\[k\] - mean)/g[k]/
moe adapters/router.c s/(double)E \/ (double)T \* p\[e\]/(double)E * p[e]/
moe adapters/router.c s/c->balance == BALANCE_MIXTRAL)/0)/
moe adapters/router.c s/rank += chosen/rank -= chosen/
moe adapters/router.c s/next\[0\] = 0/next[0] = 1/
moe adapters/router.c s/group\[t\]/group[0]/
moe adapters/router.c s/share \/ (double)K \* log/share * log/
moe adapters/experts.c s/cdf + pre\[i\] \* density/cdf/
moe adapters/experts.c s/act\[i\] = pre\[i\] \* cdf/act[i] = pre[i] * cdf * 0.999f/
moe adapters/experts.c s/sum\[i\] == 0 ? z\[d + i\] : //
moe adapters/experts.c s/by = w ? scaling/by = w ? 1/
moe adapters/dropout.c s/1.0 \/ (1.0 - c->dropout)/1.0/
moe adapters/dropout.c s/skip = (long)(at % 4)/skip = 0/
moe adapters/dropout.c s/key.b += (uint32_t)expert/key.b += 0/
moe adapters/experts.c s/k = 0; p->drop.on \&\& k < K/k = 0; 0/
moe adapters/experts.c s/(float)(c->scaling \* moe_dot/(float)(moe_dot/
moe adapters/experts.c s/(float)c->scaling \* s->w\[slot\]/s->w[slot]/
moe adapters/experts.c s/dW->Up + e \* D \* A, 1/dW->Up + e * D * A, 0/
moe adapters/experts.c s/dW->Dn + e \* A \* D, 1/dW->Dn + e * A * D, 0/
moe adapters/router.c s/dW\[i \* D + j\] += a\[i\]\[j\]/dW[i * D + j] = a[i][j]/
moe adapters/router.c s/dx\[d\] += dl\[e\]/dx[d] = dl[e]/
moe adapters/experts.c s/W->Up + e \* D \* A, n, A, D/W->Up, n, A, D/
moe adapters/experts.c s/W->Dn + e \* A \* D, n, D, A/W->Dn, n, D, A/
moe adapters/init.c s/key.b = (uint32_t)(DRAW_DN + e)/key.b = DRAW_DN/
moe adapters/init.c s/(uint32_t)layer/0/
moe adapters/init.c s/sqrt((double)D)/(double)D/
all src/model/attention.c s/1 \/ sqrt((double)c->head_dim)/1 \/ (double)c->head_dim/
all src/model/attention.c s/rope_apply(s->dk, pass->cos, pass->sin, -1/rope_apply(s->dk, pass->cos, pass->sin, 1/
all src/model/attention.c s/w->vec\[LT_O_BIAS\]/NULL/
all src/model/attention.c s/rmsnorm_fwd(s->k, s->rk, s->k0, w->vec\[LT_K_NORM\]/rmsnorm_fwd(s->k, s->rk, s->k0, w->vec[LT_Q_NORM]/
all src/model/attention.c s/p->grads.g\[LT_K_NORM\], s->dk/NULL, s->dk/
all src/model/attention.c s/grad_linear(p, pass, LT_V, LT_V_BIAS, s->dv/grad_linear(p, pass, LT_V, LT_V_BIAS, dk/
all src/model/attention.c s/s->dxn, 1, s->dv/s->dxn, 0, s->dv/
all src/model/attention.c s/s->dxn, 1, dk/s->dxn, 1, dq/
all src/model/attention.c s/kv->k\[p->layer\] + kv->length \* row/kv->k[p->layer]/
all src/model/attention.c s/ck\[2\] = {0, kv->length + T}/ck[2] = {0, T}/
all src/model/attention.c s/c->window\[p->layer\]/c->window[0]/
all src/model/attention.c s/memset(s->k, 0/memset(s->q, 0/
all src/model/ffn.c s/g\[LT_NORM_FFN\], s->dxn/g[LT_NORM_ATTN], s->dxn/
all src/model/ffn.c s/w->vec\[LT_UP_BIAS\]/w->vec[LT_GATE_BIAS]/
all src/model/ffn.c s/.W = \&w->mat\[LT_UP\], .beta = 1/.W = \&w->mat[LT_UP], .beta = 0/
all src/model/ffn.c s/.beta = dxn_beta/.beta = 0/
all src/model/ffn.c s/LT_UP_BIAS, s->u, s->xn/LT_UP_BIAS, s->g, s->xn/
all src/model/ffn.c s/LT_DOWN_BIAS, dz, s->act/LT_DOWN_BIAS, dz, s->dact/
all src/model/ffn_pesc.c s/r.layer = (uint32_t)p->layer/r.layer = 0/
all src/model/ffn_pesc.c s/dx, s->ffn.xn, &p->W/dx, s->z, \&p->W/
all src/model/ffn_pesc.c s/out, s->z, s->ffn.xn/out, s->z, in/
all src/model/ffn_pesc.c s/s->dz, 1, 1)/s->dz, 0, 1)/
all src/model/ffn_pesc.c s/&s->ffn, s->dz, 1/\&s->ffn, dx, 1/
all src/model/ffn_pesc.c s/pass->balance_scale/0/
all src/model/ffn_pesc.c s/add_to(out, in, T \* D)/(void)in/
all src/model/engine.c s/p.rng.training = 1/p.rng.training = 0/
all src/model/engine.c s/.step = s->number/.step = 0/
all src/model/engine.c s/if (scale == 0)/if (!want_grad)/
all src/model/engine.c s/e->position\[from + i\] = i/e->position[from + i] = 0/
all src/model/engine.c s/rope_inv_freq(&m->c, n, e->inv_freq)/rope_inv_freq(\&m->c, b->T, e->inv_freq)/
all src/model/engine.c s/t = b->cu\[s\]; t + 1 < b->cu\[s + 1\]/t = 0; t + 1 < b->cu[s + 1]/
all src/model/engine.c s/e->target\[n++\] = b->labels\[t + 1\]/e->target[n++] = b->labels[t]/
all src/model/engine.c s/m->grad_norm, e->dx/NULL, e->dx/
all src/model/engine.c s/int below = l > e->lowest/int below = l > e->lowest + 1/
all src/model/engine.c s/memset(e->dx, 0/(void)(e->dx/
all src/model/engine.c s/embed_bwd(m->grad_embed, dx/embed_bwd(m->grad_embed, e->dx/
all src/model/engine.c s/p.recompute = 1/p.recompute = 0/
all src/model/engine.c s/s->argmax\[e->rows\[from + i\]\]/s->argmax[from + i]/
all src/model/engine.c s/s->losses\[e->rows\[from + i\]\]/s->losses[from + i]/
all src/model/engine.c s/e->target + from, scale/e->target, scale/
all src/model/engine.c s/memcpy(e->dx + e->rows\[from + i\]/memcpy(e->dx + e->rows[i]/
all src/model/engine_memory.c s/== DT_BF16 ? (n > head ? n : head) : 0/== DT_BF16 ? 0 : 0/
all src/model/engine_memory.c s/+ 2 \* rounded(&e)/+ rounded(\&e)/
all src/model/engine_memory.c s/if (model_is_adapted(m, l) \&\& e->train)/if (0)/
all src/model/rope.c s/-2.0 \* (double)i \/ C/-2.0 * (double)(i + 1) \/ C/
all src/model/rope.c s/C \/ (C - 2)/1/
all src/model/rope.c s/length > c->max_positions/length > 0/
all src/model/rope.c s/(1 - smooth) \* f/smooth * f/
all src/model/rope.c s/return f \/ c->rope_factor/return f/
all src/model/rope.c s/wavelength < old \/ c->rope_high_freq/wavelength < old/
all src/model/decode.c s/rope_inv_freq(&d->m->c, length/rope_inv_freq(\&d->m->c, d->kv.length + n/
all src/model/decode.c s/d->kv.length + i;/i;/
all src/model/decode.c s/d->kv.length += n/d->kv.length += 1/
all src/model/decode.c s/(last - 1) \* D/0 * D/
all src/model/decode.c s/n > d->kv.capacity - d->kv.length/n > d->kv.capacity/
all src/model/weights.c s/ + o.rest_bytes;/;/
all src/model/model.c s/m->grad_head = m->c.tied ? m->grad_embed : /m->grad_head = /
all src/train/loop.c s/1.0 \/ (double)sum->scored/1.0 \/ (double)batch_scored(\&b)/
all src/train/loop.c s/(double)part.T \/ (double)total_tokens/1/
all src/train/loop.c s/balance_coef(u) \/ adapted(m)/balance_coef(u)/
all src/train/loop.c s/.number = (uint32_t)i/.number = 0/
all src/train/loop.c s/first = (step - 1) \* o->accumulation/first = step - 1/
all src/train/loop.c s/u->adamw.updates = (long)json/long unused = (long)json/
all src/train/loop.c s/u->r->tokens = (long)json/long unused2 = (long)json/
all src/train/loop.c s/isfinite(loss) && isfinite(norm)/1/
all src/train/loop.c s/u->bad_in_a_row = 0/(void)0/
all src/train/loop.c s/BAD_STEPS = 3/BAD_STEPS = 2/
all src/train/loop.c s/clip_coefficient(norm, o->max_grad_norm)/1/
all src/train/loop.c s/^        weights_refresh/        (void)/
all src/train/loop.c s/^    weights_refresh/    (void)/
all src/train/loop.c s/memset(m->params.grad, 0/(void)(m->params.grad/
all src/train/loop.c s/u->routing.step_balance = 0/(void)0/
all src/train/loop.c s/&& !u->bad_in_a_row//
all src/train/loop.c s/u->r->stopped = 1/(void)0/
all src/train/loop.c s/step % o->eval_steps == 0/step == 1/
all src/train/loop.c s/o->eval \&\& (from == 0/o->eval \&\& (1/
all src/train/loop.c s/balance_coef(u) \* sum.balance/sum.balance/
optim_forms src/train/moments8.c s/whole\[i\] == 0 && x\[i\] > 0/0/
optim_forms src/train/moments8.c s/unit_of(chance\[i\] & 0xffff)/0.5F/
optim_forms src/train/moments8.c s/unit_of(chance\[i\] >> 16)/0.5F/
optim_forms src/train/moments8.c s/return most < FLT_MAX ? most : FLT_MAX/return most/
optim_forms src/train/moments8.c s/s = s > 0 ? s : 0;//
optim_forms src/train/moments8.c s/(s \* unit - 0.1F)/(s * unit - 0.09F)/
optim_forms src/train/moments8.c s/x\[i\] < 0 ? 0x80 : 0/0/
optim_forms src/train/optim.c s/j->s->block + block/block/
optim_forms src/train/optim.c s/to = to < p->n ? to : p->n;/to = p->n;/
optim_forms src/train/optim.c s/(uint32_t)a->updates, (uint32_t)block/0, (uint32_t)block/
optim_forms src/train/optim.c s/own.v8 += at/own.v8 += 0/
optim_forms src/train/optim.c s/x.file += rounded(bytes, PAGE)/x.file += rounded(bytes, PAGE) \/ 4/
optim_forms src/train/optim.c s/own.m8 += at/own.m8 += at + 1/
optim_forms src/train/optim.c s/        memset(a->layer, 0, bytes);$/        (void)bytes;/
optim_forms src/train/optim.c s/sum += a->squares\[s\]/sum += a->squares[0]/
optim_forms src/train/optim.c s/bytes - grads, s->at + grads/bytes - grads, s->at/
optim_forms src/core/tfile.c s/data, n, at, f->dir/data, n, 0, f->dir/
loop_state src/train/loop.c s/isfinite(loss) && isfinite(norm)/isfinite(loss)/
loop_state src/model/engine.c s/model_adapter_grads(m, grad, 0/model_adapter_grads(m, grad, l/
loop_state src/train/checkpoint.c s/c->adamw, part - 1, param, dst/c->adamw, 0, param, dst/
loop_state src/train/checkpoint.c s/other_form(f, c, p))/0)/
optim_forms src/train/optim.c s/(on_disk ? x->largest : all) + 1/all + 1/
gemm_own src/tensor/gemm_own.c s/int add = p->add || k > 0/int add = p->add/
gemm_own src/tensor/gemm_own.c s/int add = p->add || k > 0/int add = k > 0/
gemm_own src/tensor/gemm_own.c s/p->a_row \/ 2) + k;/p->a_row \/ 2);/
gemm_own src/tensor/gemm_own.c s/long at = all \* i \/ n/long at = all * i \/ n + (i > 1)/
gemm_own src/tensor/gemm_own.c s/room + (size_t)i \* b->room/room/
gemm_own src/tensor/gemm_own.c s/left \* p->size);/left * p->size + 4);/
gemm_own src/tensor/gemm_own.c s/        load(tile, C/        (void)(tile, C/
gemm_own src/tensor/gemm_own.c s/        if (!rows\[0\])$/        if (!rows[0] \&\& 0)/
gemm_own src/tensor/gemm_own.c s/p->w_row + n) \* p->size;/p->w_row) * p->size;/
gemm_own src/tensor/gemm_own.c s/i = 3; i >= 0/i = 2; i >= 0/
gemm_own src/tensor/gemm_own.c s/(summed || p->K \* p->size <= DEPTH)/1/
gemm_own src/tensor/gemm_own.c s/p->K % 2 == 0 \&\& p->a_row % 2 == 0/1/
gemm_own src/tensor/gemm_int8.c s/? scale_rows_add : scale_rows/? scale_rows : scale_rows/
gemm_own src/tensor/gemm_int8.c s/p->shift + n + c/p->shift + c/
gemm_own src/tensor/gemm_int8.c s/p->row_scale + r/p->row_scale/
gemm_own src/tensor/tile_int8.c s/A\[m \* a_row + k\]/A[k]/
gemm_own src/tensor/tile_int8.c s/k \* INT8_LD + 16 \* v/k * INT8_LD/
gemm_own src/tensor/gemm_f32.c s/int add = p->add || k > 0/int add = p->add/
gemm_own src/tensor/gemm_f32.c s/int add = p->add || k > 0/int add = k > 0/
gemm_own src/tensor/gemm_f32.c s/m < rows \&\& add/m < 0/
gemm_own src/tensor/gemm_f32.c s/k \* p->w_row + n + c/k * p->w_row + c/
gemm_own src/tensor/gemm_f32.c s/(n + c) \* p->w_row + k/(n + c) * p->w_row/
gemm_own src/tensor/gemm_f32.c s/p->A + r \* p->a_row + k/p->A + r * p->a_row + 0 * k/
gemm_own src/tensor/tile_f32.c s/: sum\[m\]\[v\]);/: sum[0][v]);/
gemm_own src/tensor/tile_f32.c s/n < eights ? whole : 0/whole/
gemm_own src/tensor/tile_f32.c s/0xee/0x44/
gemm_own src/tensor/tile_f32.c s/0x31/0x20/
attention src/tensor/attention_tile.c s/ldc, A, a_row, a_col, B + n, ldb, M, K, add/ldc, A, a_row, a_col, B + n, ldb, M, K, 0/
attention src/tensor/attention_tile.c s/tile_f32_mm(C + n, ldc, A/tile_f32_mm(C + n, ldc, A + (n > 0)/
activations src/model/engine_insides.c s/(l - s->first) % s->buffers/(l - s->first + 1) % s->buffers * (l % 3 > 0)/
activations src/model/engine_insides.c s/buffer_of(s, l)\] != l)/buffer_of(s, l)] != l \&\& 0)/
activations src/model/engine_insides.c s/if (rc != 0 \&\& !s->error.code)/if (0)/
activations src/model/engine_insides.c s/    TRY(settle(s, l, err));$/    (void)0;/
activations src/model/engine_insides.c s/TFILE_BLOCK - 1) \/ TFILE_BLOCK \* TFILE_BLOCK : n/TFILE_BLOCK \/ 2) \/ TFILE_BLOCK * TFILE_BLOCK : n/
activations src/model/engine_memory.c s/(e->direct ? 2 : 1)/1/
activations src/model/engine_insides.c s/    (void)settle(s, l, NULL);/    (void)0;/
activations src/core/tfile.c s/p \/ files \* PIECE + from - begin/p \/ files * PIECE/
activations src/core/tfile.c s/f->fd\[p % files\]/f->fd[0]/
activations src/core/tfile.c s/failed = rc != 0 \&\& p < failed ? p : failed/failed = end/
layers adapters/init.c s/c->first + n, D/n, D/
layers adapters/init.c s/c->layers = all ? 0/c->layers = 0 ? 0/
layers src/model/model.c s/long n = l - m->moe.first/long n = l/
layers src/model/engine.c s/l-- > e->lowest/l-- > 0/
layers src/model/engine.c s/engine_run_some(e, \&p, e->lowest/engine_run_some(e, \&p, 0/
layers src/model/engine_prefix.c s/has_prefix(e) ? PREFIX_ROWS : 0/0/
layers src/model/engine_prefix.c s/engine_positions(e, b)/(void)0/
layers src/model/engine_prefix.c s/engine_positions(e, \&some)/(void)0/
layers src/model/engine_prefix.c s/b->cu\[e->some\[i\]\]/b->cu[i]/
layers src/model/prefix.c s/head\[0\] != sum_of(p->record, bytes)/0/
layers src/model/prefix.c s/at->at |= LOST/(void)0/
layers src/model/prefix.c s/p->end + bytes > p->o.bytes/0/
layers src/model/prefix.c s/p->end += again ? 0 : bytes/p->end += bytes/
layers src/model/prefix.c s/p->counts.damaged++ == 0/0/
all src/train/routing.c s/load\[e\] \/= n \* (double)r->moe->top_k/load[e] \/= n/
all src/train/routing.c s/r->top1\[layer\] += st.top1 \* (double)T/r->top1[layer] += st.top1/
all src/train/routing.c s/memset(r->by_domain, 0/(void)(r->by_domain/
all src/train/routing.c s/memset(r->prob, 0/(void)(r->prob/
all src/train/routing.c s/r->group\[t\] = b->domain\[s\]/r->group[t] = 0/
all src/train/routing.c s/h -= load\[i\]/h += load[i]/
all src/train/evaluate.c s/argmax\[t\] == b->labels\[t + 1\]/argmax[t] == b->labels[t]/
all src/train/evaluate.c s/own.loss += losses\[t\]/own.loss += losses[t + 1]/
all src/train/evaluate.c s/t + 1 < b->cu\[s + 1\]/t + 1 < b->T/
all src/train/evaluate.c s/memset(all, 0/(void)(all/
all src/train/evaluate.c s/sqrt(p \* (1 - p)/sqrt(p * p/
EOF
echo "$killed killed, $survived survived, $stale stale"
[ "$survived" = 0 ] && [ "$stale" = 0 ]
