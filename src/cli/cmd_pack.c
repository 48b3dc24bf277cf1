#include "config.h"
#include "cli/cmd.h"

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    (void)cli, (void)opts, (void)argc, (void)argv;
    return FAIL(err, NOT_YET, "pack: not here yet");
}

const struct cmd cmd_pack = {.name = "pack", .usage = "", .summary = "", .run = run};
