libpesc_a_SOURCES += \
  src/core/archive.c src/core/archive.h \
  src/core/arena.c src/core/arena.h \
  src/core/batch.h \
  src/core/build.c src/core/build.h \
  src/core/codes.h \
  src/core/error.c src/core/error.h \
  src/core/file.c src/core/file.h \
  src/core/gunzip.c src/core/gunzip.h \
  src/core/hash.c src/core/hash.h \
  src/core/hot.h src/core/isa.h \
  src/core/json.c src/core/json.h \
  src/core/machine.c src/core/machine.h \
  src/core/number.c src/core/number.h \
  src/core/rng.c src/core/rng.h \
  src/core/stream.h \
  src/core/tfile.c src/core/tfile.h \
  src/core/thread.c src/core/thread.h \
  src/core/xxh64.c src/core/xxh64.h
