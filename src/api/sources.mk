libpesc_a_SOURCES += \
  src/api/pesc.c \
  src/api/resolve.c src/api/resolve.h
