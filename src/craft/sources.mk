libpesc_a_SOURCES += \
  src/craft/crafted.c src/craft/crafted.h
