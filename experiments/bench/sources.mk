# What speed and memory are measured with.
noinst_PROGRAMS += experiments/bench/make-shape
experiments_bench_make_shape_SOURCES = experiments/bench/make-shape.c \
  experiments/bench/shape.c experiments/bench/shape.h experiments/bench/shape_tokenizer.c
