#include "config.h"
#include "cli/cmd.h"
