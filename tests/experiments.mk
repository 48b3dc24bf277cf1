check_PROGRAMS += tests/unit/test_history tests/unit/test_rundir
TESTS += tests/unit/test_history tests/unit/test_rundir
tests_unit_test_history_SOURCES = tests/unit/test_history.c
tests_unit_test_rundir_SOURCES = tests/unit/test_rundir.c
TESTS += tests/cli/base.sh
EXTRA_DIST += tests/cli/base.sh tests/dev/compare_base.py
