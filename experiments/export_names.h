/* Names as MLflow and a file system take them: letters, digits, "_.-: " and "/" between parts.
 * Any other byte is _xHH_ (hexadecimal), so is the start of what looks like one, the first dot of a
 * part, and each slash of a name below another name (a file cannot be a folder too); "" is _x_.
 * A name over 250 bytes is cut and ends in _h and 16 digits of its SHA-256. */
#ifndef EXPERIMENTS_EXPORT_NAMES_H
#define EXPERIMENTS_EXPORT_NAMES_H

#include "core/error.h"

#include <stddef.h>

enum { EXPORT_NAME_CAP = 256 };

/* sorted: the names [n] that name is one of, ascending by their bytes. Returns 1 when out is
 * another text than name, 2 when it was cut, else 0; -1 with err. */
int export_name(char out[EXPORT_NAME_CAP], const char *name, const char *const *sorted, long n,
                struct pesc_error *err) MUST_USE;

#endif
