#include "config.h"
#include "cli/model_arg.h"

#include "cli/progress.h"
#include "core/machine.h"

#include <omp.h>
#include <stdlib.h>

int memory_check(uint64_t budget, uint64_t wanted, uint64_t *total, struct pesc_error *err)
{
    enum { MARGIN = 48 << 20 }; /* oneDNN's code and packing buffers, the threads' stacks */
    uint64_t need = machine_peak_rss() + wanted + MARGIN;
    uint64_t limit = budget ? budget : machine_memory_limit();
    char shown[32], have[32];
    if (total)
        *total = need;
    if (!limit || need <= limit)
        return 0;
    progress_bytes(shown, sizeof shown, need);
    progress_bytes(have, sizeof have, limit);
    return FAIL(err, MEMORY_BUDGET,
                "%s (%llu bytes) are needed and %s is %s; smaller batches need less", shown,
                (unsigned long long)need, budget ? "--memory" : "what this machine can give", have);
}

long threads_arg(long threads)
{
    if (threads <= 0 && !getenv("OMP_NUM_THREADS"))
        threads = machine_cores();
    if (threads > 0)
        omp_set_num_threads((int)threads);
    omp_set_dynamic(0);
    return omp_get_max_threads();
}

void place_defaults(struct place_options *o)
{
    *o = (struct place_options){.resident_layers = -1};
}

void place_weights(const struct place_options *o, struct model *m)
{
    long L = m->c.num_layers, resident = o->resident_layers;
    m->plan.streamed_layers = resident < 0 || resident > L ? 0 : L - resident;
    m->plan.embed_on_disk = o->embed_on_disk;
}

struct engine_choices place_activations(const struct place_options *o)
{
    return (struct engine_choices){.keep_layers = o->keep_layers, .spill_dir = o->spill};
}
