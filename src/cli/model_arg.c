#include "config.h"
#include "cli/model_arg.h"

#include "cli/progress.h"
#include "core/machine.h"
#include "train/memory_plan.h"

#include <malloc.h>
#include <omp.h>
#include <stdlib.h>

static int memory_check(const struct model *m, uint64_t budget, uint64_t others,
                        struct pesc_error *err)
{
    uint64_t peak = machine_peak_rss(), limit = memory_budget(budget, peak, machine_memory_limit());
    uint64_t need = peak + model_bytes(m) + others + memory_margin(m, omp_get_max_threads());
    char shown[32], have[32];
    if (need <= limit)
        return 0;
    progress_bytes(shown, sizeof shown, need);
    progress_bytes(have, sizeof have, limit);
    return FAIL(err, MEMORY_BUDGET,
                "%s (%llu bytes) are needed at least and %s is %s; smaller batches need less",
                shown, (unsigned long long)need,
                budget ? "--memory" : "what this process has with three quarters of what is free",
                have);
}

int place_fitting(const struct place_options *o, uint64_t budget, uint64_t others, struct model *m,
                  struct pesc_error *err)
{
    long L = m->c.num_layers;
    place_weights(o, m);
    if (memory_check(m, budget, others, NULL) == 0 || o->resident_layers >= 0)
        return memory_check(m, budget, others, err);
    for (int embed = o->embed_on_disk; embed <= !m->c.tied; embed++)
        for (long n = 3; n <= L; n++) { /* two layers' buffers stay */
            m->plan.streamed_layers = n;
            m->plan.embed_on_disk = embed;
            if (memory_check(m, budget, others, NULL) == 0)
                return 0;
        }
    return memory_check(m, budget, others, err);
}

int threads_arg(long threads, long *out, struct pesc_error *err)
{
    /* Where a thread cannot be made libgomp ends the program: stacks, and what begins beside them
     */
    enum { STACK = 10 << 20, BEGIN = 24 << 20 };
    if (threads <= 0 && !getenv("OMP_NUM_THREADS"))
        threads = machine_cores();
    if (threads > 0)
        omp_set_num_threads((int)threads);
    omp_set_dynamic(0);
    *out = omp_get_max_threads();
    if (machine_address_room() != UINT64_MAX)
        mallopt(M_ARENA_MAX, 1); /* or each thread takes 64 MiB of it */
    if (machine_address_room() < BEGIN + (uint64_t)(*out - 1) * STACK)
        return FAIL(err, MEMORY, "the address space that is allowed has no room for %ld thread%s",
                    *out, *out > 1 ? "s" : "");
    return 0;
}

void place_defaults(struct place_options *o)
{
    *o = (struct place_options){.resident_layers = -1, .keep_layers = -1, .disk_layers = -1};
}

void place_weights(const struct place_options *o, struct model *m)
{
    long L = m->c.num_layers, resident = o->resident_layers;
    m->plan.streamed_layers = resident < 0 || resident > L ? 0 : L - resident;
    m->plan.embed_on_disk = o->embed_on_disk;
}
