libpesc_a_SOURCES += \
  src/model/attention.c \
  src/model/decode.c src/model/decode.h \
  src/model/engine.c src/model/engine.h src/model/engine_internal.h \
  src/model/ffn.c src/model/ffn.h src/model/ffn_pesc.c \
  src/model/model.c src/model/model.h \
  src/model/names.c src/model/names.h \
  src/model/part.h \
  src/model/rope.c src/model/rope.h \
  src/model/weights.c src/model/weights.h
