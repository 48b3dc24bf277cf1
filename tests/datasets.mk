# records to batches; the fake tokenizer comes before the library's
check_PROGRAMS += tests/unit/test_dataset tests/unit/test_records
TESTS += tests/unit/test_dataset tests/unit/test_records
tests_unit_test_dataset_SOURCES = tests/unit/test_dataset.c \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
tests_unit_test_records_SOURCES = tests/unit/test_records.c \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
# samples on disk, their order, batches, what is held out or cut
check_PROGRAMS += tests/unit/test_store tests/unit/test_keep
TESTS += tests/unit/test_store tests/unit/test_keep
tests_unit_test_keep_SOURCES = tests/unit/test_keep.c tests/unit/data_make.h \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/data_make.h \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
check_PROGRAMS += tests/unit/test_sources tests/unit/test_kinds
TESTS += tests/unit/test_sources tests/unit/test_kinds
tests_unit_test_sources_SOURCES = tests/unit/test_sources.c \
  tests/unit/packing.c tests/unit/packing.h tests/unit/sources.h \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
tests_unit_test_kinds_SOURCES = tests/unit/test_kinds.c tests/unit/sources.h \
  tests/unit/fake_tokenizer.c tests/unit/fake_tokenizer.h
TESTS += tests/cli/data.sh tests/cli/chat.sh tests/cli/sources.sh
EXTRA_DIST += tests/cli/data.sh tests/cli/chat.sh tests/cli/sources.sh
# chat templates
check_PROGRAMS += tests/golden/golden_chat tests/golden/golden_data tests/unit/test_template
TESTS += tests/golden/golden_chat tests/golden/golden_data tests/unit/test_template
tests_unit_test_template_SOURCES = tests/unit/test_template.c
tests_golden_golden_data_SOURCES = tests/golden/golden_data.c
tests_golden_golden_chat_SOURCES = tests/golden/golden_chat.c
# tokenizer
check_PROGRAMS += tests/golden/golden_tokenizer tests/unit/test_tokenizer \
  tests/unit/test_tokenizer_bad
TESTS += tests/golden/golden_tokenizer tests/unit/test_tokenizer tests/unit/test_tokenizer_bad
EXTRA_DIST += tests/unit/tok_make.h
tests_golden_golden_tokenizer_SOURCES = tests/golden/golden_tokenizer.c
tests_unit_test_tokenizer_SOURCES = tests/unit/test_tokenizer.c
tests_unit_test_tokenizer_bad_SOURCES = tests/unit/test_tokenizer_bad.c
EXTRA_PROGRAMS += tests/dev/tok_dump tests/dev/template_dump tests/dev/make_stream
EXTRA_DIST += tests/dev/compare_tokenizers.py tests/dev/check_templates.py tests/dev/stream_10g.sh
tests_dev_template_dump_SOURCES = tests/dev/template_dump.c
EXTRA_DIST += tests/dev/fuzz_tokenizers.py
TESTS += tests/cli/tokens.sh
EXTRA_DIST += tests/cli/tokens.sh
tests_dev_tok_dump_SOURCES = tests/dev/tok_dump.c
tests_dev_make_stream_SOURCES = tests/dev/make_stream.c \
  tests/unit/packing.c tests/unit/packing.h
# files of tasks
check_PROGRAMS += tests/unit/test_tasks
TESTS += tests/unit/test_tasks
tests_unit_test_tasks_SOURCES = tests/unit/test_tasks.c tests/unit/gen.h
