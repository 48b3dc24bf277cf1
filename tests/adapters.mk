# mixture of adapters
check_PROGRAMS += tests/unit/test_moe tests/unit/test_moe_bf16
TESTS += tests/unit/test_moe tests/unit/test_moe_bf16
moe_twin = tests/unit/plain_gemm.c tests/unit/moe_twin.h tests/unit/twin.h
tests_unit_test_moe_SOURCES = tests/unit/test_moe.c $(moe_twin)
tests_unit_test_moe_bf16_SOURCES = tests/unit/test_moe_bf16.c $(moe_twin)
# pack
check_PROGRAMS += tests/unit/test_archive tests/unit/test_pack tests/unit/test_pack_refused
TESTS += tests/unit/test_archive tests/unit/test_pack tests/unit/test_pack_refused
pack_fixture = tests/unit/pack_fixture.h tests/unit/pack_forge.c tests/unit/pack_forge.h
tests_unit_test_archive_SOURCES = tests/unit/test_archive.c
tests_unit_test_pack_SOURCES = tests/unit/test_pack.c $(pack_fixture)
tests_unit_test_pack_refused_SOURCES = tests/unit/test_pack_refused.c $(pack_fixture)
