# Measuring
TESTS += tests/cli/bench.sh
EXTRA_DIST += tests/cli/bench.sh tests/dev/check_shapes.py
check_PROGRAMS += tests/unit/test_profile
TESTS += tests/unit/test_profile
tests_unit_test_profile_SOURCES = tests/unit/test_profile.c tests/unit/gen.h \
  experiments/bench/shape.c experiments/bench/shape.h experiments/bench/shape_tokenizer.c
