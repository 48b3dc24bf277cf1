libpesc_a_SOURCES += \
  src/train/checkpoint.c src/train/checkpoint.h \
  src/train/events.h \
  src/train/optim.c src/train/optim.h \
  src/train/schedule.c src/train/schedule.h
