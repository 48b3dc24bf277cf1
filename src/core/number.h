/* Real numbers as text. */
#ifndef PESC_CORE_NUMBER_H
#define PESC_CORE_NUMBER_H

enum { NUMBER_CAP = 32 };
/* The shortest text that reads back as the same finite number, whatever the locale; files that must
 * not depend on how somebody formats reals hold numbers so. */
void number_text(double x, char out[NUMBER_CAP]);
/* The other way; -1 unless all of text is one finite number as JSON writes them. */
int number_parse(const char *text, double *x);

#endif
