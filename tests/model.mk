# Optimiser, schedules and checkpoints.
check_PROGRAMS += tests/unit/test_train tests/unit/test_checkpoint
TESTS += tests/unit/test_train tests/unit/test_checkpoint
tests_unit_test_train_SOURCES = tests/unit/test_train.c
tests_unit_test_checkpoint_SOURCES = tests/unit/test_checkpoint.c
