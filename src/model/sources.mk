libpesc_a_SOURCES += \
  src/model/base.c src/model/base.h \
  src/model/convert.c src/model/convert.h \
  src/model/hf_config.c src/model/hf_config.h \
  src/model/hf_config_read.c src/model/hf_config_read.h \
  src/model/hf_config_quant.c \
  src/model/hf_config_rope.c \
  src/model/fingerprint.c \
  src/model/names.c src/model/names.h \
  src/model/quantised.c src/model/quantised.h \
  src/model/save.c src/model/save.h \
  src/model/shards.c src/model/shards.h \
  src/model/tensors.c src/model/tensors.h

libpesc_a_SOURCES += \
  src/model/attention.c \
  src/model/decode.c src/model/decode.h \
  src/model/engine.c src/model/engine.h src/model/engine_internal.h \
  src/model/engine_insides.c src/model/engine_memory.c src/model/engine_prefix.c \
  src/model/ffn.c src/model/ffn.h src/model/ffn_pesc.c \
  src/model/model.c src/model/model.h \
  src/model/part.h \
  src/model/prefix.c src/model/prefix.h \
  src/model/rope.c src/model/rope.h \
  src/model/stream.c src/model/stream.h \
  src/model/weights.c src/model/weights.h \
  src/model/weights_layout.c src/model/weights_layout.h
