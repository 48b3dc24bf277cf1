/* pesc: parameter-efficient sparsity crafting on a CPU. The public interface.
 *
 * Functions return 0 on success and -1 on failure unless they say otherwise; a failure fills the
 * caller's struct pesc_error. Nothing here prints, exits, or keeps state between calls. */
#ifndef PESC_H
#define PESC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The first error of a call chain. code is 0 while there is none; exit_status is what the program
 * would exit with; name is the stable code, for example "E-ST-TRUNC". */
struct pesc_error {
    int code;
    int exit_status;
    const char *name;
    char text[1024];
};

/* The library's version, for example "0.1.0". */
const char *pesc_version(void);

#ifdef __cplusplus
}
#endif
#endif
