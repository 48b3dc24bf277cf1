# What speed and memory are measured with.
noinst_PROGRAMS += experiments/bench/make-shape
experiments_bench_make_shape_SOURCES = experiments/bench/make-shape.c \
  experiments/bench/shape.c experiments/bench/shape.h experiments/bench/shape_tokenizer.c
noinst_PROGRAMS += experiments/bench/bench
experiments_bench_bench_SOURCES = experiments/bench/bench.c \
  experiments/bench/bound.c experiments/bench/bound.h \
  experiments/bench/folder.c experiments/bench/folder.h \
  experiments/bench/options.c experiments/bench/options.h \
  experiments/bench/shape.c experiments/bench/shape.h experiments/bench/shape_tokenizer.c \
  src/cli/profile_report.c src/cli/profile_report.h
noinst_PROGRAMS += experiments/bench/decode
experiments_bench_decode_SOURCES = experiments/bench/decode.c \
  experiments/bench/folder.c experiments/bench/folder.h \
  experiments/bench/options.c experiments/bench/options.h \
  experiments/bench/shape.c experiments/bench/shape.h experiments/bench/shape_tokenizer.c
EXTRA_DIST += experiments/bench/run.sh experiments/bench/plan.sh experiments/bench/NOTES.md
EXTRA_DIST += experiments/bench/peer/run.sh experiments/bench/peer/pesc_step.py \
  experiments/bench/peer/data.py

# make bench SHAPES="tinyllama-1.1b" COMPUTES=bf16 CACHE=DIR BENCH_OPTIONS="--steps 3"
# make bench-plan runs its last part alone: plans against what comes of them.
.PHONY: bench bench-plan
bench: experiments/bench/bench pesc experiments/bench/make-shape
	@SHAPES='$(SHAPES)' COMPUTES='$(COMPUTES)' CACHE='$(CACHE)' \
	  BENCH_OPTIONS='$(BENCH_OPTIONS)' $(SHELL) $(srcdir)/experiments/bench/run.sh \
	  experiments/bench/bench bench.json
	@$(MAKE) --no-print-directory bench-plan
bench-plan: pesc experiments/bench/make-shape
	@CACHE='$(CACHE)' $(SHELL) $(srcdir)/experiments/bench/plan.sh ./pesc \
	  experiments/bench/make-shape
CLEANFILES += bench.json
