# kernels
check_PROGRAMS += tests/unit/test_kernels tests/unit/test_attention tests/unit/test_attention_bf16
TESTS += tests/unit/test_kernels tests/unit/test_attention tests/unit/test_attention_bf16
tests_unit_test_kernels_SOURCES = tests/unit/test_kernels.c tests/unit/twin.h
tests_unit_test_attention_SOURCES = tests/unit/test_attention.c tests/unit/twin.h
tests_unit_test_attention_bf16_SOURCES = tests/unit/test_attention_bf16.c tests/unit/twin.h
check_PROGRAMS += tests/unit/test_dtype tests/unit/test_safetensors
TESTS += tests/unit/test_dtype tests/unit/test_safetensors
tests_unit_test_dtype_SOURCES = tests/unit/test_dtype.c
tests_unit_test_safetensors_SOURCES = tests/unit/test_safetensors.c tests/unit/gen.h
EXTRA_DIST += tests/dev/mutate.sh
EXTRA_PROGRAMS = tests/dev/time_attention
tests_dev_time_attention_SOURCES = tests/dev/time_attention.c
# quantised matrices
check_PROGRAMS += tests/unit/test_quant
TESTS += tests/unit/test_quant
tests_unit_test_quant_SOURCES = tests/unit/test_quant.c
# few rows at a time: what generating is made of
check_PROGRAMS += tests/unit/test_few
TESTS += tests/unit/test_few
tests_unit_test_few_SOURCES = tests/unit/test_few.c tests/unit/twin.h
# rows of bf16 between products
check_PROGRAMS += tests/unit/test_rows16
TESTS += tests/unit/test_rows16
tests_unit_test_rows16_SOURCES = tests/unit/test_rows16.c tests/unit/twin.h
# products with packed weights
check_PROGRAMS += tests/unit/test_gemm_own
TESTS += tests/unit/test_gemm_own
tests_unit_test_gemm_own_SOURCES = tests/unit/test_gemm_own.c tests/unit/twin.h
