libpesc_a_SOURCES += \
  src/train/checkpoint.c src/train/checkpoint.h \
  src/train/events.h \
  src/train/moments8.c src/train/moments8.h \
  src/train/optim.c src/train/optim.h \
  src/train/schedule.c src/train/schedule.h

libpesc_a_SOURCES += \
  src/train/calibrate.c src/train/calibrate.h \
  src/train/evaluate.c src/train/evaluate.h \
  src/train/interval.c src/train/interval.h \
  src/train/loop.c src/train/loop.h \
  src/train/memory_plan.c src/train/memory_plan.h \
  src/train/passes.c src/train/passes.h \
  src/train/routing.c src/train/routing.h \
  src/train/routing_alarm.c src/train/routing_alarm.h
