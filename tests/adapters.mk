# mixture of adapters
check_PROGRAMS += tests/unit/test_moe
TESTS += tests/unit/test_moe
tests_unit_test_moe_SOURCES = tests/unit/test_moe.c tests/unit/plain_gemm.c tests/unit/twin.h
