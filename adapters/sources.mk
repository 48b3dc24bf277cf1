# mixture of adapters
libpesc_a_SOURCES += \
  adapters/dropout.c adapters/dropout.h \
  adapters/experts.c adapters/experts.h adapters/experts_bf16.c \
  adapters/init.c \
  adapters/moe.c adapters/moe.h \
  adapters/route.h \
  adapters/router.c
# pack
libpesc_a_SOURCES += \
  adapters/pack.h adapters/pack_internal.h \
  adapters/pack_card.c adapters/pack_manifest.c adapters/pack_names.c adapters/pack_read.c \
  adapters/pack_stream.c adapters/pack_weights.c adapters/pack_write.c
