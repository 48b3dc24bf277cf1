# mixture of adapters
check_PROGRAMS += tests/unit/test_moe
TESTS += tests/unit/test_moe
tests_unit_test_moe_SOURCES = tests/unit/test_moe.c tests/unit/plain_gemm.c tests/unit/twin.h
# pack
check_PROGRAMS += tests/unit/test_archive tests/unit/test_pack tests/unit/test_pack_refused
TESTS += tests/unit/test_archive tests/unit/test_pack tests/unit/test_pack_refused
pack_fixture = tests/unit/pack_fixture.h tests/unit/pack_forge.c tests/unit/pack_forge.h
tests_unit_test_archive_SOURCES = tests/unit/test_archive.c
tests_unit_test_pack_SOURCES = tests/unit/test_pack.c $(pack_fixture)
tests_unit_test_pack_refused_SOURCES = tests/unit/test_pack_refused.c $(pack_fixture)
