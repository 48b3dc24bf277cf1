/* Simple text and simple skills, drawn from a seed: what the demonstration's base model reads, and
 * what its adapters are tuned on.
 *
 * Every skill is about rules that have names: secret codes, languages, machines for digits,
 * calendars, orders of fruit, markets. What a name stands for depends on which set of rules holds.
 * The base grows up with set 0, so it knows the words, the forms of question and answer, and how
 * such rules are followed; tuning teaches it another set, under the same names.
 *
 * Every question is either for learning or held out, decided by a keyed hash of its content, in all
 * sets of rules alike: the base never sees a held-out question either. */
#ifndef EXPERIMENTS_BASE_SKILLS_H
#define EXPERIMENTS_BASE_SKILLS_H

#include "core/rng.h"

enum { SKILL_COUNT = 6, RULES_MAX = 8, ITEMS_MAX = 26, TEXT_CAP = 1024, ASK_CAP = 256 };

/* A stream of draws: the same seed and number give the same draws. */
struct draws {
    struct rng_key key;
    uint64_t at;
};
struct draws draws_start(uint64_t seed, uint32_t what, uint32_t number);

const char *skill_name(int skill);

/* to[skill][name][item]: what becomes of an item (its place, for orders) under the rule so named.
 */
struct rules {
    uint32_t set;
    unsigned char to[SKILL_COUNT][RULES_MAX][ITEMS_MAX];
    unsigned char month_first[RULES_MAX]; /* of calendars */
};
void rules_draw(struct rules *r, uint64_t seed, uint32_t set);

struct exercise {
    char input[ASK_CAP], output[ASK_CAP];
};
/* An exercise of a skill from the wanted side of the split. */
void skill_draw(struct exercise *e, const struct rules *r, int skill, int held_out,
                struct draws *d);

/* A paragraph with the words of the skills, which says nothing about any rule. */
void skill_prose(char out[TEXT_CAP], struct draws *d);

#endif
