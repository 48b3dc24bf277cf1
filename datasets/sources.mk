# records to batches
libpesc_a_SOURCES += \
  datasets/batcher.c datasets/batcher.h \
  datasets/dataset.c datasets/dataset.h \
  datasets/formats.c datasets/formats.h datasets/formats_chat.c datasets/formats_pairs.c \
  datasets/formats_tokens.c \
  datasets/keep.c \
  datasets/normal.c datasets/normal.h \
  datasets/order.c datasets/order.h \
  datasets/packing.c datasets/packing.h \
  datasets/reading.c datasets/reading.h \
  datasets/naming.c datasets/naming.h \
  datasets/records.c datasets/records.h datasets/records_internal.h \
  datasets/records_csv.c datasets/records_text.c \
  datasets/repeats.c \
  datasets/samples.c \
  datasets/source.c datasets/source.h datasets/source_archive.c datasets/source_internal.h \
  datasets/spool.c datasets/spool.h \
  datasets/stored.c datasets/stored.h \
  datasets/store.c datasets/store.h \
  datasets/tasks.c datasets/tasks.h datasets/tasks_internal.h datasets/tasks_read.c \
  datasets/template.c datasets/template.h datasets/template_file.c datasets/template_form.h \
  datasets/template_known.c datasets/template_render.c datasets/template_smollm3.c \
  datasets/template_table.c datasets/template_tools.c
libpesc_a_SOURCES += datasets/tokenizer.h datasets/tok_internal.h datasets/tokenizer.c \
  datasets/tok_added.c datasets/tok_bpe.c datasets/tok_mixed.c datasets/tok_decode.c datasets/tok_json.c \
  datasets/tok_load.c datasets/tok_normalize.c datasets/tok_parts.c datasets/tok_pretokenize.c \
  datasets/tok_vocab.c datasets/regex.h datasets/regex.c datasets/unicode.h datasets/unicode.c
