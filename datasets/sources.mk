# records to batches
libpesc_a_SOURCES += \
  datasets/batcher.c \
  datasets/dataset.c datasets/dataset.h \
  datasets/formats.c datasets/formats.h \
  datasets/records.c datasets/records.h \
  datasets/source.c \
  datasets/store.c datasets/store.h \
  datasets/template.c datasets/template.h
