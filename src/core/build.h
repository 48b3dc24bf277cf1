/* How this program was built; --version prints it and every run records it. */
#ifndef PESC_CORE_BUILD_H
#define PESC_CORE_BUILD_H

const char *build_compiler(void);  /* command and version */
const char *build_flags(void);     /* of the compiler, as configured */
const char *build_libraries(void); /* "oneDNN 2.6, jansson 2.14, ...": versions compiled with */

#endif
