/* Text within XML and HTML. */
#ifndef PESC_CLI_MARKUP_H
#define PESC_CLI_MARKUP_H

#include <stdio.h>

/* Any text, as content or within a quoted attribute: what a parser would obey becomes entities,
 * what a terminal would obey and what is not UTF-8 is shown escaped (\x1b). */
void markup_text(FILE *f, const char *text);

#endif
