/* The history made again from run folders and packs, which are the truth. */
#ifndef EXPERIMENTS_REBUILD_H
#define EXPERIMENTS_REBUILD_H

#include "experiments/history.h"

struct rebuilt {
    char uuid[33];
    int elsewhere; /* the folder that the database knows still holds it: nothing was done */
    int known;     /* the database had it */
    int running;   /* its process is at work */
    long lines, passed_over; /* of metrics.jsonl; those that are no line of ours, whole or JSON */
};
/* Takes one run folder into h, which has started no run: what the database lacks of it is added,
 * what it has stays or becomes what the folder says. The same again changes nothing. In
 * transactions of a few thousand rows, so that trainers come by. A run that the database knows and
 * that is being trained is left to its process. Folders of before the start lines had "run" come as
 * far as run.json goes. E-IO-MISSING, E-CK-CORRUPT: no run there. */
int rebuild_run(struct history *h, const char *dir, struct rebuilt *out,
                struct pesc_error *err) MUST_USE;
/* When the run of a folder began, since 1970; 0: not known. */
long long rebuild_began(const char *dir);
/* The same for the folder of an imported pack: digest and manifest.json. */
int rebuild_pack(struct history *h, const char *dir, struct pesc_error *err) MUST_USE;

#endif
