#include "config.h"
#include "cli/profile_report.h"

static const char *const phase_name[PHASE_COUNT] = {
    [PHASE_FORWARD] = "forward", [PHASE_RECOMPUTE] = "recompute", [PHASE_BACKWARD] = "backward"};

static double stage_flops(const struct profile *p, int s)
{
    double sum = 0;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        sum += (double)p->flops[s][phase];
    return sum;
}

void profile_table(FILE *f, const struct profile *p)
{
    double all = profile_seconds(p), flops = 0;
    fprintf(f, "\n%-12s %9s %7s %9s %9s %9s %9s\n", "stage", "seconds", "share", "forward",
            "recompute", "backward", "GFLOP/s");
    for (int s = 0; s < STAGE_COUNT; s++) {
        double t = profile_stage_seconds(p, (enum stage)s), n = stage_flops(p, s);
        flops += n;
        if (t <= 0)
            continue;
        fprintf(f, "%-12s %9.3f %6.1f%%", stage_name((enum stage)s), t, 100 * t / all);
        for (int phase = 0; phase < PHASE_COUNT; phase++)
            fprintf(f, " %9.3f", p->seconds[s][phase]);
        if (n > 0)
            fprintf(f, " %9.1f", n / t * 1e-9);
        fputc('\n', f);
    }
    fprintf(f, "%-12s %9.3f %6.1f%% %29s %9.1f\n", "all", all, 100.0, "",
            all > 0 ? flops / all * 1e-9 : 0);
}

static json_t *stage_json(const struct profile *p, int s, double all)
{
    double t = profile_stage_seconds(p, (enum stage)s);
    json_t *o = json_pack("{s:f, s:f}", "seconds", t, "share", all > 0 ? t / all : 0);
    int bad = !o;
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        char key[64];
        snprintf(key, sizeof key, "%s_seconds", phase_name[phase]);
        bad |= json_object_set_new(o, key, json_real(p->seconds[s][phase]));
        snprintf(key, sizeof key, "%s_flops", phase_name[phase]);
        if (stage_flops(p, s) > 0)
            bad |= json_object_set_new(o, key, json_integer((json_int_t)p->flops[s][phase]));
    }
    if (!bad)
        return o;
    json_decref(o);
    return NULL;
}

json_t *profile_json(const struct profile *p)
{
    double all = profile_seconds(p);
    json_t *stages = json_object();
    int bad = !stages;
    for (int s = 0; !bad && s < STAGE_COUNT; s++)
        bad |= json_object_set_new(stages, stage_name((enum stage)s), stage_json(p, s, all));
    if (!bad)
        return json_pack("{s:f, s:o}", "seconds", all, "stages", stages);
    json_decref(stages);
    return NULL;
}
