#include "config.h"
#include "tensor/profile.h"

#include <stddef.h>
#include <time.h>

static const char *const names[] = {
#define PESC_X(id, name, what) name,
    STAGES(PESC_X)
#undef PESC_X
};

const char *stage_name(enum stage s)
{
    return (unsigned)s < STAGE_COUNT ? names[s] : "?";
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What has passed goes to the stage and phase at work. */
static void settle(struct profile *p)
{
    double t = now();
    p->seconds[p->stage][p->phase] += t - p->since;
    p->places[p->place][p->phase] += t - p->since;
    p->since = t;
}

void profile_begin(struct profile *p)
{
    if (!p)
        return;
    p->running = 1;
    p->stage = STAGE_OTHER;
    p->phase = PHASE_FORWARD;
    p->place = PLACE_OUTSIDE;
    p->since = now();
}

void profile_end(struct profile *p)
{
    if (!p || !p->running)
        return;
    settle(p);
    p->running = 0;
}

enum stage profile_to(struct profile *p, enum stage s)
{
    if (!p || !p->running)
        return STAGE_OTHER;
    enum stage was = p->stage;
    if (was != s)
        settle(p);
    p->stage = s;
    return was;
}

void profile_phase(struct profile *p, enum phase phase)
{
    if (!p || !p->running || p->phase == phase)
        return;
    settle(p);
    p->phase = phase;
}

void profile_layer(struct profile *p, long layer)
{
    if (!p || !p->running)
        return;
    settle(p);
    p->place = layer < 0 ? PLACE_OUTSIDE : layer == 0 ? PLACE_LOWEST_LAYER : PLACE_LAYER;
}

double profile_stage_seconds(const struct profile *p, enum stage s)
{
    double sum = 0;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        sum += p->seconds[s][phase];
    return sum;
}

double profile_seconds(const struct profile *p)
{
    double sum = 0;
    for (int s = 0; s < STAGE_COUNT; s++)
        sum += profile_stage_seconds(p, (enum stage)s);
    return sum;
}
