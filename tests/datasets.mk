# records to batches; the fake tokenizer comes before the library's
check_PROGRAMS += tests/unit/test_dataset tests/unit/test_records
TESTS += tests/unit/test_dataset tests/unit/test_records
tests_unit_test_dataset_SOURCES = tests/unit/test_dataset.c \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
tests_unit_test_records_SOURCES = tests/unit/test_records.c \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
TESTS += tests/cli/data.sh
EXTRA_DIST += tests/cli/data.sh
# tokenizer
check_PROGRAMS += tests/golden/golden_tokenizer tests/unit/test_tokenizer \
  tests/unit/test_tokenizer_bad
TESTS += tests/golden/golden_tokenizer tests/unit/test_tokenizer tests/unit/test_tokenizer_bad
EXTRA_DIST += tests/unit/tok_make.h
tests_golden_golden_tokenizer_SOURCES = tests/golden/golden_tokenizer.c
tests_unit_test_tokenizer_SOURCES = tests/unit/test_tokenizer.c
tests_unit_test_tokenizer_bad_SOURCES = tests/unit/test_tokenizer_bad.c
EXTRA_PROGRAMS = tests/dev/tok_dump
EXTRA_DIST += tests/dev/compare_tokenizers.py tests/dev/fuzz_tokenizers.py
TESTS += tests/cli/tokens.sh
EXTRA_DIST += tests/cli/tokens.sh
tests_dev_tok_dump_SOURCES = tests/dev/tok_dump.c
