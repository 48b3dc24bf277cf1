libpesc_a_SOURCES += \
  src/eval/answer.c src/eval/answer.h \
  src/eval/ask.c src/eval/ask.h \
  src/eval/run_task.c src/eval/run_task.h \
  src/eval/score.c src/eval/score.h
