# mixture of adapters
libpesc_a_SOURCES += \
  adapters/experts.c \
  adapters/init.c \
  adapters/moe.h \
  adapters/route.h \
  adapters/router.c
