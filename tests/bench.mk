# Measuring
TESTS += tests/cli/bench.sh
EXTRA_DIST += tests/cli/bench.sh tests/dev/check_shapes.py
