check_PROGRAMS += tests/unit/test_history tests/unit/test_rundir
TESTS += tests/unit/test_history tests/unit/test_rundir
tests_unit_test_history_SOURCES = tests/unit/test_history.c tests/unit/old_history.h
tests_unit_test_rundir_SOURCES = tests/unit/test_rundir.c
check_PROGRAMS += tests/unit/test_history_stress
TESTS += tests/unit/test_history_stress
tests_unit_test_history_stress_SOURCES = tests/unit/test_history_stress.c
# The same at the size that is promised: about three minutes.
stress: tests/unit/test_history_stress
	@PESC_STRESS=full tests/unit/test_history_stress
.PHONY: stress
TESTS += tests/cli/base.sh
EXTRA_DIST += tests/cli/base.sh tests/dev/compare_base.py
check_PROGRAMS += tests/unit/test_routing_query
TESTS += tests/unit/test_routing_query
tests_unit_test_routing_query_SOURCES = tests/unit/test_routing_query.c
check_PROGRAMS += tests/cli/db_run
TESTS += tests/cli/keep.sh
EXTRA_DIST += tests/cli/keep.sh
tests_cli_db_run_SOURCES = tests/cli/db_run.c
check_PROGRAMS += tests/unit/test_log_lines
TESTS += tests/unit/test_log_lines
tests_unit_test_log_lines_SOURCES = tests/unit/test_log_lines.c
