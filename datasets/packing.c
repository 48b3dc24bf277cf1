#include "config.h"
#include "datasets/packing.h"

#include <stdlib.h>
#include <string.h>

int packer_open(struct packer *p, enum packing kind, long capacity, long most,
                struct pesc_error *err)
{
    size_t n = (size_t)most + 1;
    *p = (struct packer){.capacity = capacity, .kind = kind, .most = most};
    p->member = malloc(n * sizeof *p->member);
    p->first = malloc(n * sizeof *p->first);
    p->pack = malloc(n * sizeof *p->pack);
    p->by = malloc(2 * n * sizeof *p->by);
    p->bin = malloc(2 * n * sizeof *p->bin);
    return p->member && p->first && p->pack && p->by && p->bin
               ? 0
               : FAIL(err, MEMORY, "no memory for packs of %ld samples", most);
}

void packer_close(struct packer *p)
{
    free(p->member);
    free(p->first);
    free(p->pack);
    free(p->by);
    free(p->bin);
}

/* In order, as many whole samples as fit. */
static long next_fit(const struct packer *p, const long *length, long n)
{
    long packs = 0, tokens = 0;
    for (long i = 0; i < n; i++) {
        if (i == 0 || length[i] > p->capacity - tokens) {
            packs++;
            tokens = 0;
        }
        tokens += length[i];
        p->pack[i] = packs - 1;
    }
    return packs;
}

/* Of pairs (number, place). */
static int longest_first(const void *a, const void *b)
{
    const long *x = a, *y = b;
    return x[0] != y[0] ? (x[0] > y[0] ? -1 : 1) : (x[1] > y[1]) - (x[1] < y[1]);
}

/* Where among the open packs, sorted by room and then number, (room, pack) would stand. */
static long find_room(const long *bin, long open, long room, long pack)
{
    long lo = 0, hi = open;
    while (lo < hi) {
        long mid = lo + (hi - lo) / 2;
        const long *m = bin + 2 * mid;
        if (m[0] < room || (m[0] == room && m[1] < pack))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest first, each into the fullest pack that still has room for it. */
static long best_fit(const struct packer *p, const long *length, long n)
{
    long packs = 0, open = 0, shortest;
    for (long i = 0; i < n; i++) {
        p->by[2 * i] = length[i];
        p->by[2 * i + 1] = i;
    }
    qsort(p->by, (size_t)n, 2 * sizeof *p->by, longest_first);
    shortest = n > 0 ? p->by[2 * (n - 1)] : 0;
    for (long k = 0; k < n; k++) {
        long len = p->by[2 * k], room, pack;
        long at = find_room(p->bin, open, len, 0);
        if (at < open) {
            room = p->bin[2 * at] - len;
            pack = p->bin[2 * at + 1];
            open--;
            memmove(p->bin + 2 * at, p->bin + 2 * (at + 1),
                    2 * (size_t)(open - at) * sizeof *p->bin);
        } else {
            room = p->capacity - len;
            pack = packs++;
        }
        p->pack[p->by[2 * k + 1]] = pack;
        if (room < shortest) /* nothing that is still to come fits */
            continue;
        at = find_room(p->bin, open, room, pack);
        memmove(p->bin + 2 * (at + 1), p->bin + 2 * at, 2 * (size_t)(open - at) * sizeof *p->bin);
        p->bin[2 * at] = room;
        p->bin[2 * at + 1] = pack;
        open++;
    }
    return packs;
}

long packer_cut(struct packer *p, const long *length, long n)
{
    long packs = p->kind == PACK_BEST_FIT ? best_fit(p, length, n) : next_fit(p, length, n);
    long *number = p->by, seen = 0;
    for (long i = 0; i < packs; i++) {
        number[i] = -1;
        p->first[i] = 0;
    }
    for (long i = 0; i < n; i++) {
        long *as = &number[p->pack[i]];
        if (*as < 0)
            *as = seen++;
        p->pack[i] = *as;
        p->first[*as]++;
    }
    for (long i = 0, sum = 0; i <= packs; i++) {
        long size = i < packs ? p->first[i] : 0;
        p->first[i] = number[i] = sum;
        sum += size;
    }
    for (long i = 0; i < n; i++)
        p->member[number[p->pack[i]]++] = i;
    return packs;
}
