#include "config.h"
#include "cli/cmd.h"

static int run(struct cli *cli, void *opts, int argc, char **argv, struct pesc_error *err)
{
    (void)cli, (void)opts, (void)argc, (void)argv;
    return FAIL(err, NOT_YET, "generate: not here yet");
}

const struct cmd cmd_generate = {.name = "generate", .usage = "", .summary = "", .run = run};
