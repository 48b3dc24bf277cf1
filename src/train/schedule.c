#include "config.h"
#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {"constant", "cosine", "linear", "list"};

int schedule_from_name(const char *name)
{
    for (int k = SCHEDULE_CONSTANT; k <= SCHEDULE_LINEAR; k++)
        if (!strcmp(name, names[k]))
            return k;
    return -1;
}

const char *schedule_name(enum schedule_kind k)
{
    return names[k];
}

long schedule_warmup(double ratio, long total)
{
    double w = floor(ratio * (double)total + 0.5);
    return w <= 0 ? 0 : w >= (double)total ? total : (long)w;
}

double schedule_lr(const struct schedule *s, long step)
{
    if (s->kind == SCHEDULE_LIST)
        return s->list[step < 1 ? 0 : step <= s->n_list ? step - 1 : s->n_list - 1];
    if (step > s->total)
        step = s->total;
    if (step < 1)
        step = 1;
    if (step <= s->warmup)
        return s->peak * (double)step / (double)s->warmup;
    if (s->warmup >= s->total)
        return s->peak;
    double done = (double)(step - s->warmup) / (double)(s->total - s->warmup);
    switch (s->kind) {
    case SCHEDULE_COSINE:
        return s->peak * 0.5 * (1 + cos(3.14159265358979323846 * done));
    case SCHEDULE_LINEAR:
        return s->peak * (1 - done);
    default:
        return s->peak;
    }
}
