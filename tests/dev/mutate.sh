#!/bin/sh
# Development check, not run by make check: break one line of a kernel at a time and demand that
# the unit tests notice. Run from the top of the tree:
#
#   sh tests/dev/mutate.sh [PATTERN]     only the mutations whose line contains PATTERN
#
# Prints one line per mutation; exit status 1 if a mutant survived or no longer applies.
set -u
top=$(pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cp -r src adapters tests "$tmp" && cd "$tmp" || exit 1
echo "#define PACKAGE_VERSION \"mutant\"" >config.h
cc="${CC:-cc} -std=gnu11 -O2 -fopenmp -fno-math-errno -ffp-contract=fast -w -I. -Isrc"
core="src/core/rng.c src/core/arena.c src/core/error.c"
kernels=$(ls src/tensor/attention*.c src/tensor/loss.c src/tensor/norm.c src/tensor/rope.c \
    src/tensor/rows.c src/tensor/swiglu.c)
moe="adapters/experts.c adapters/router.c adapters/init.c"
for f in $core $kernels $moe tests/unit/plain_gemm.c; do
    $cc -c "$f" -o "$(echo "$f" | tr / _).o" || exit 1
done
for t in kernels attention moe; do
    $cc -c "tests/unit/test_$t.c" -o "test_$t.o" || exit 1
done

# link and run one test program; its exit status
run()
{
    $cc -o "test_$1" "test_$1.o" ./*.c.o -lm 2>/dev/null && timeout 60 "./test_$1" >"$1.tap"
}
for t in kernels attention moe; do
    run $t || { echo "test_$t fails before any mutation"; exit 1; }
done

killed=0 survived=0 stale=0
# TEST FILE SED-EXPRESSION, one mutation a line
while read -r t file change; do
    case $t in '' | '#'*) continue ;; esac
    case "$file $change" in *"${1:-}"*) ;; *) continue ;; esac
    cp "$top/$file" "$file"
    sed -i "$change" "$file"
    if cmp -s "$top/$file" "$file"; then
        echo "STALE     $file  $change"
        stale=$((stale + 1))
        continue
    fi
    object=$(echo "$file" | tr / _).o
    case $file in
    *.h) $cc -c src/tensor/swiglu.c -o src_tensor_swiglu.c.o && $cc -c "tests/unit/test_$t.c" -o "test_$t.o" ;;
    *) $cc -c "$file" -o "$object" ;;
    esac || { echo "DOES NOT COMPILE  $file  $change"; stale=$((stale + 1)); }
    if run "$t"; then
        echo "SURVIVED  $file  $change"
        survived=$((survived + 1))
    else
        echo "killed    $file  $change  ($(grep -c '^not ok' "$t.tap") failures)"
        killed=$((killed + 1))
    fi
    cp "$top/$file" "$file"
    case $file in
    *.h) $cc -c src/tensor/swiglu.c -o src_tensor_swiglu.c.o && $cc -c "tests/unit/test_$t.c" -o "test_$t.o" ;;
    *) $cc -c "$file" -o "$object" ;;
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
moe adapters/router.c s/count\[group\[t\]/count[group[0]/
moe adapters/router.c s/share \/ (double)K \* log/share * log/
moe adapters/experts.c s/cdf + pre\[i\] \* density/cdf/
moe adapters/experts.c s/act\[i\] = pre\[i\] \* cdf/act[i] = pre[i] * cdf * 0.999f/
moe adapters/experts.c s/sum\[i\] == 0 ? z\[d + i\] : //
moe adapters/experts.c s/by = w ? scaling/by = w ? 1/
moe adapters/experts.c s/1.0 \/ (1.0 - c->dropout)/1.0/
moe adapters/experts.c s/skip = (long)(at % 4)/skip = 0/
moe adapters/experts.c s/key.b += (uint32_t)expert/key.b += 0/
moe adapters/experts.c s/k = 0; drop.on \&\& k < K/k = 0; 0/
moe adapters/experts.c s/(float)(c->scaling \* dot/(float)(dot/
moe adapters/experts.c s/(float)c->scaling \* s->w\[slot\]/s->w[slot]/
moe adapters/experts.c s/dW->Up + e \* D \* A, 1/dW->Up + e * D * A, 0/
moe adapters/experts.c s/dW->Dn + e \* A \* D, 1/dW->Dn + e * A * D, 0/
moe adapters/experts.c s/gemm_tn(g, dW->Wr, 1/gemm_tn(g, dW->Wr, 0/
moe adapters/experts.c s/gemm_nn(g, dx, 1/gemm_nn(g, dx, 0/
moe adapters/experts.c s/W->Up + e \* D \* A, n, A, D/W->Up, n, A, D/
moe adapters/experts.c s/W->Dn + e \* A \* D, n, D, A/W->Dn, n, D, A/
moe adapters/init.c s/key.b = (uint32_t)(DRAW_DN + e)/key.b = DRAW_DN/
moe adapters/init.c s/(uint32_t)layer/0/
moe adapters/init.c s/sqrt((double)D)/(double)D/
EOF
echo "$killed killed, $survived survived, $stale stale"
[ "$survived" = 0 ] && [ "$stale" = 0 ]
