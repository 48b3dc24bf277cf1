# Each area lists its tests in a fragment of its own: a C test needs check_PROGRAMS and TESTS, a
# shell test TESTS and EXTRA_DIST. All speak TAP.
AM_TESTS_ENVIRONMENT = \
  PESC='$(abs_top_builddir)/pesc'; export PESC; \
  PESC_SRC='$(abs_top_srcdir)'; export PESC_SRC; \
  PESC_MATERIAL="$${PESC_MATERIAL:-$(abs_top_srcdir)/../shared/material}"; export PESC_MATERIAL; \
  PESC_DB='$(abs_top_builddir)/tests/history.db'; export PESC_DB; \
  unset NO_COLOR;
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .sh
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(SHELL)
EXTRA_DIST += tests/tap.h tests/wrapped.h tests/run.sh

include tests/core.mk
include tests/tensor.mk
include tests/model.mk
include tests/adapters.mk
include tests/datasets.mk
include tests/experiments.mk
include tests/cli.mk
include tests/bench.mk
