/* Shared by the files of the pack command. */
#ifndef PESC_CLI_CMD_PACK_H
#define PESC_CLI_CMD_PACK_H

#include "adapters/pack.h"
#include "cli/cmd.h"

extern const struct cmd cmd_pack_export;

/* Tells the history of a pack, exported from the folder run or (NULL) imported. The history never
 * stops the work: what fails there is a note. */
void pack_record(struct cli *cli, const char *run, const char *digest, const char *path,
                 const char *manifest);

/* One short line of hostile text: escaped, and at most 200 bytes. Into buf; returns buf. */
enum { SHOWN_CAP = 201 };
const char *shown(char buf[SHOWN_CAP], const char *text);

#endif
