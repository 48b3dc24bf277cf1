# The house: options, configuration file, progress, machine, the rules of the tree
check_PROGRAMS += tests/unit/test_config_file
TESTS += tests/unit/test_config_file
tests_unit_test_config_file_SOURCES = tests/unit/test_config_file.c src/cli/config.c src/cli/opts.c

check_PROGRAMS += tests/unit/test_machine
TESTS += tests/unit/test_machine
tests_unit_test_machine_SOURCES = tests/unit/test_machine.c

check_PROGRAMS += tests/unit/test_progress
TESTS += tests/unit/test_progress
tests_unit_test_progress_SOURCES = tests/unit/test_progress.c src/cli/progress.c

TESTS += tests/rules.sh tests/cli/rules_broken.sh tests/cli/commands.sh
EXTRA_DIST += tests/rules.sh tests/cli/rules_broken.sh tests/cli/commands.sh
check_PROGRAMS += tests/cli/fill_history tests/cli/fill_large
tests_cli_fill_large_SOURCES = tests/cli/fill_large.c
TESTS += tests/cli/conditions.sh
EXTRA_DIST += tests/cli/conditions.sh
TESTS += tests/cli/ask.sh
EXTRA_DIST += tests/cli/ask.sh tests/dev/history_speed.sh
# Each question to a history of 50 runs and 3 million rows of metrics, in milliseconds.
bench-history: pesc tests/cli/fill_large
	@$(SHELL) $(srcdir)/tests/dev/history_speed.sh ./pesc tests/cli/fill_large 50 5000
.PHONY: bench-history
TESTS += tests/cli/lists.sh tests/cli/runs.sh tests/cli/spool.sh tests/cli/sweeps.sh
EXTRA_DIST += tests/cli/lists.sh tests/cli/runs.sh tests/cli/spool.sh tests/cli/sweeps.sh
tests_cli_fill_history_SOURCES = tests/cli/fill_history.c
check_PROGRAMS += tests/cli/fill_export tests/unit/test_export
TESTS += tests/cli/export.sh tests/unit/test_export
EXTRA_DIST += tests/cli/export.sh tests/dev/check_tensorboard.py tests/dev/check_mlflow.py
tests_cli_fill_export_SOURCES = tests/cli/fill_export.c
tests_unit_test_export_SOURCES = tests/unit/test_export.c
# pack
TESTS += tests/cli/pack.sh
EXTRA_DIST += tests/cli/pack.sh

check_PROGRAMS += tests/unit/test_opts
TESTS += tests/unit/test_opts
tests_unit_test_opts_SOURCES = tests/unit/test_opts.c src/cli/opts.c
# whole runs of the program
TESTS += tests/cli/train.sh tests/cli/memory.sh
EXTRA_DIST += tests/cli/lib.sh tests/cli/train.sh tests/cli/memory.sh
TESTS += tests/cli/plan.sh
EXTRA_DIST += tests/cli/plan.sh
TESTS += tests/cli/layers.sh
EXTRA_DIST += tests/cli/layers.sh
TESTS += tests/cli/resume.sh tests/cli/mix.sh tests/cli/faults.sh
EXTRA_DIST += tests/cli/resume.sh tests/cli/mix.sh tests/cli/faults.sh
check_PROGRAMS += tests/golden/golden_cli
TESTS += tests/golden/golden_cli
tests_golden_golden_cli_SOURCES = tests/golden/golden_cli.c tests/golden/golden.c \
  tests/golden/golden.h
TESTS += tests/cli/pesc_recipes.sh
EXTRA_DIST += tests/cli/pesc_recipes.sh
# quantised bases
TESTS += tests/cli/quant.sh tests/cli/quality.sh
EXTRA_DIST += tests/cli/quant.sh tests/cli/quality.sh tests/dev/check_bnb.py
# int8 products
TESTS += tests/cli/int8.sh
EXTRA_DIST += tests/cli/int8.sh
# memory that runs out
TESTS += tests/cli/sweep.sh tests/cli/limits.sh
EXTRA_DIST += tests/cli/sweep.sh tests/cli/limits.sh
check_PROGRAMS += tests/cli/pesc-failing tests/cli/db_check
tests_cli_db_check_SOURCES = tests/cli/db_check.c
tests_cli_pesc_failing_SOURCES = $(pesc_SOURCES) tests/cli/failing.c
tests_cli_pesc_failing_LDFLAGS = -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
  -Wl,--wrap=aligned_alloc -Wl,--wrap=posix_memalign -Wl,--wrap=strdup -Wl,--wrap=strndup \
  -Wl,--wrap=archive_entry_pathname_utf8 -Wl,--wrap=archive_entry_pathname \
  -Wl,--wrap=archive_write_add_filter_zstd -Wl,--wrap=json_load_callback
# curves and reports
check_PROGRAMS += tests/cli/fill_report tests/unit/test_chart
TESTS += tests/unit/test_chart tests/cli/report.sh
EXTRA_DIST += tests/cli/report.sh tests/dev/check_report.sh
check_PROGRAMS += tests/cli/well_formed
tests_cli_well_formed_SOURCES = tests/cli/well_formed.c
tests_cli_fill_report_SOURCES = tests/cli/fill_report.c tests/unit/old_history.h
tests_unit_test_chart_SOURCES = tests/unit/test_chart.c src/cli/chart_scale.c
# routers
check_PROGRAMS += tests/unit/test_heat
TESTS += tests/unit/test_heat tests/cli/routing.sh
EXTRA_DIST += tests/cli/routing.sh
tests_unit_test_heat_SOURCES = tests/unit/test_heat.c src/cli/heat.c
# tasks
TESTS += tests/cli/tasks.sh
EXTRA_DIST += tests/cli/tasks.sh
