/* pesc data encode and decode: JSON lines of text to JSON lines of token ids, and back. */
#ifndef PESC_CLI_DATA_TOKENS_H
#define PESC_CLI_DATA_TOKENS_H

#include "cli/cmd.h"

extern const struct cmd data_encode, data_decode;

#endif
