#include "config.h"
#include "core/build.h"

const char *build_compiler(void)
{
    return PESC_BUILD_COMPILER;
}

const char *build_flags(void)
{
    return PESC_BUILD_FLAGS;
}

const char *build_libraries(void)
{
    return PESC_BUILD_LIBRARIES;
}
