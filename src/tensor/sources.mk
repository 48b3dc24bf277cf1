# kernels
libpesc_a_SOURCES += \
  src/tensor/attention.c src/tensor/attention_bwd.c \
  src/tensor/attention_bf16.c src/tensor/attention_bf16_bwd.c \
  src/tensor/attention_bf16_tile.c src/tensor/attention_bf16.h \
  src/tensor/attention_tile.c src/tensor/attention_tile.h \
  src/tensor/attention_few.c \
  src/tensor/kernels.h \
  src/tensor/loss.c \
  src/tensor/norm.c \
  src/tensor/rope.c \
  src/tensor/rows.c \
  src/tensor/swiglu.c \
  src/tensor/tile_bf16.c src/tensor/tile_bf16.h \
  src/tensor/tile_f32.c src/tensor/tile_f32.h \
  src/tensor/tile_int8.c src/tensor/tile_int8.h src/tensor/turn16.h \
  src/tensor/vecmath.h

libpesc_a_SOURCES += src/tensor/params.c src/tensor/params.h
libpesc_a_SOURCES += src/tensor/profile.c src/tensor/profile.h
libpesc_a_SOURCES += \
  src/tensor/gemm.c src/tensor/gemm.h src/tensor/gemm_state.h \
  src/tensor/gemm_f32.c src/tensor/gemm_int8.c src/tensor/gemm_isa.c src/tensor/gemm_linear.c \
  src/tensor/gemm_own.c src/tensor/gemm_own.h src/tensor/gemm_plan.c src/tensor/gemm_plan.h \
  src/tensor/gemm_probe.c src/tensor/gemm_probe.h \
  src/tensor/gemm_rows.c \
  src/tensor/gemv.c src/tensor/gemv.h src/tensor/gemv_avx2.c src/tensor/gemv_avx512.c
libpesc_a_SOURCES += \
  src/tensor/dtype.c src/tensor/dtype.h \
  src/tensor/safetensors.c src/tensor/safetensors.h \
  src/tensor/safetensors_write.c \
  src/tensor/st_header.c src/tensor/st_header.h
libpesc_a_SOURCES += src/tensor/quant.c src/tensor/quant.h src/tensor/quantise.c
