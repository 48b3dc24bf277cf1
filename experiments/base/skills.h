/* Simple text and simple skills, drawn from a seed: what the demonstration's base model reads, and
 * what its adapters are tuned on.
 *
 * Every question is either for tuning or held out, decided by a keyed hash of the question's
 * content, so the two sets never share one and the base's text never answers a held-out one. */
#ifndef EXPERIMENTS_BASE_SKILLS_H
#define EXPERIMENTS_BASE_SKILLS_H

#include "core/rng.h"

enum { SKILL_COUNT = 8, TEXT_CAP = 1024, ASK_CAP = 256 };

/* A stream of draws: the same seed and number give the same draws. */
struct draws {
    struct rng_key key;
    uint64_t at;
};
struct draws draws_start(uint64_t seed, uint32_t what, uint32_t number);

const char *skill_name(int skill);

struct exercise {
    char input[ASK_CAP], output[ASK_CAP];
};
/* An exercise of a skill from the wanted side of the split. */
void skill_draw(struct exercise *e, int skill, int held_out, struct draws *d);

/* A paragraph about words, letters, numbers and people: the same things in other words, without the
 * questions, and for some skills without the answers. */
void skill_prose(char out[TEXT_CAP], struct draws *d);

#endif
