# Parameter table, optimiser, schedules and checkpoints.
check_PROGRAMS += tests/unit/test_params tests/unit/test_train tests/unit/test_checkpoint
TESTS += tests/unit/test_params tests/unit/test_train tests/unit/test_checkpoint
tests_unit_test_params_SOURCES = tests/unit/test_params.c
tests_unit_test_train_SOURCES = tests/unit/test_train.c
check_PROGRAMS += tests/unit/test_optim_forms
TESTS += tests/unit/test_optim_forms
tests_unit_test_optim_forms_SOURCES = tests/unit/test_optim_forms.c tests/unit/gen.h
tests_unit_test_checkpoint_SOURCES = tests/unit/test_checkpoint.c

# Against float64 results of independent programs; skipped without the material.
check_PROGRAMS += tests/golden/golden_dense
TESTS += tests/golden/golden_dense
tests_golden_golden_dense_SOURCES = tests/golden/golden_dense.c tests/golden/golden.c \
  tests/golden/golden.h
check_PROGRAMS += tests/golden/golden_pesc
TESTS += tests/golden/golden_pesc
tests_golden_golden_pesc_SOURCES = tests/golden/golden_pesc.c tests/golden/golden.c \
  tests/golden/golden.h
check_PROGRAMS += tests/unit/test_config tests/unit/test_base tests/golden/golden_base
TESTS += tests/unit/test_config tests/unit/test_base tests/golden/golden_base
tests_unit_test_config_SOURCES = tests/unit/test_config.c tests/unit/gen.h
tests_unit_test_base_SOURCES = tests/unit/test_base.c tests/unit/gen.h
tests_golden_golden_base_SOURCES = tests/golden/golden_base.c
# The whole engine on tiny random models.
small_model = tests/unit/small_model.c tests/unit/small_model.h tests/unit/gen.h
check_PROGRAMS += tests/unit/test_model_grad
TESTS += tests/unit/test_model_grad
tests_unit_test_model_grad_SOURCES = tests/unit/test_model_grad.c tests/unit/model_twin.c \
  tests/unit/model_twin.h tests/unit/twin.h $(small_model)
check_PROGRAMS += tests/unit/test_engine
TESTS += tests/unit/test_engine
tests_unit_test_engine_SOURCES = tests/unit/test_engine.c $(small_model)
check_PROGRAMS += tests/unit/test_knock_out
TESTS += tests/unit/test_knock_out
tests_unit_test_knock_out_SOURCES = tests/unit/test_knock_out.c tests/unit/twin.h $(small_model)
check_PROGRAMS += tests/unit/test_loop tests/unit/test_loop_sums tests/unit/test_engine_memory
TESTS += tests/unit/test_loop tests/unit/test_loop_sums tests/unit/test_engine_memory
tests_unit_test_loop_SOURCES = tests/unit/test_loop.c $(small_model)
check_PROGRAMS += tests/unit/test_loop_state
TESTS += tests/unit/test_loop_state
tests_unit_test_loop_state_SOURCES = tests/unit/test_loop_state.c $(small_model)
tests_unit_test_loop_sums_SOURCES = tests/unit/test_loop_sums.c $(small_model)
tests_unit_test_engine_memory_SOURCES = tests/unit/test_engine_memory.c $(small_model)
tests_unit_test_engine_memory_LDFLAGS = -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
  -Wl,--wrap=aligned_alloc -Wl,--wrap=posix_memalign
# Data in packs, and what a model makes of them.
check_PROGRAMS += tests/unit/test_batches
TESTS += tests/unit/test_batches
tests_unit_test_batches_SOURCES = tests/unit/test_batches.c tests/unit/data_make.h $(small_model)
# The public interface.
check_PROGRAMS += tests/unit/test_api
TESTS += tests/unit/test_api
tests_unit_test_api_SOURCES = tests/unit/test_api.c
# Streamed weights; reads go through the test.
check_PROGRAMS += tests/unit/test_stream
TESTS += tests/unit/test_stream
tests_unit_test_stream_SOURCES = tests/unit/test_stream.c $(small_model)
tests_unit_test_stream_LDFLAGS = -Wl,--wrap=pread -Wl,--wrap=pread64
# Activations kept, recomputed, spilled.
check_PROGRAMS += tests/unit/test_activations
TESTS += tests/unit/test_activations
tests_unit_test_activations_SOURCES = tests/unit/test_activations.c $(small_model)
# Bases whose matrices are quantised.
check_PROGRAMS += tests/unit/test_quantised
TESTS += tests/unit/test_quantised
tests_unit_test_quantised_SOURCES = tests/unit/test_quantised.c $(small_model)
# Batches in several passes.
check_PROGRAMS += tests/unit/test_passes
TESTS += tests/unit/test_passes
tests_unit_test_passes_SOURCES = tests/unit/test_passes.c $(small_model)
# Where everything of a run is, by its budget.
check_PROGRAMS += tests/unit/test_memory_plan
TESTS += tests/unit/test_memory_plan
tests_unit_test_memory_plan_SOURCES = tests/unit/test_memory_plan.c $(small_model)
# Drawing tokens.
check_PROGRAMS += tests/unit/test_sampling
TESTS += tests/unit/test_sampling
tests_unit_test_sampling_SOURCES = tests/unit/test_sampling.c
# int8 products, and models in them
check_PROGRAMS += tests/unit/test_int8
TESTS += tests/unit/test_int8
tests_unit_test_int8_SOURCES = tests/unit/test_int8.c $(small_model)
# Adapters on some layers; outputs of those below. Reads and writes go through the test.
check_PROGRAMS += tests/unit/test_layers
TESTS += tests/unit/test_layers
tests_unit_test_layers_SOURCES = tests/unit/test_layers.c $(small_model)
tests_unit_test_layers_LDFLAGS = -Wl,--wrap=pread -Wl,--wrap=pread64 -Wl,--wrap=pwrite \
  -Wl,--wrap=pwrite64
# How sure figures are.
check_PROGRAMS += tests/unit/test_interval
TESTS += tests/unit/test_interval
tests_unit_test_interval_SOURCES = tests/unit/test_interval.c
# Warnings about routers.
check_PROGRAMS += tests/unit/test_routing_alarm
TESTS += tests/unit/test_routing_alarm
tests_unit_test_routing_alarm_SOURCES = tests/unit/test_routing_alarm.c
# Items of tasks through a model; the fake tokenizer comes before the library's.
check_PROGRAMS += tests/unit/test_eval
TESTS += tests/unit/test_eval
tests_unit_test_eval_SOURCES = tests/unit/test_eval.c tests/unit/fake_tokenizer.c \
  tests/unit/fake_tokenizer.h $(small_model)
