EXTRA_DIST += experiments/deps.sh
libpesc_a_SOURCES += \
  experiments/backup.c \
  experiments/db.c experiments/db.h experiments/db_upgrade.c \
  experiments/export.c experiments/export.h experiments/export_impl.h \
  experiments/export_mlflow.c experiments/export_names.c experiments/export_names.h \
  experiments/export_out.c experiments/export_rows.c experiments/export_tables.c \
  experiments/export_tensorboard.c experiments/export_text.c \
  experiments/tfevents.c experiments/tfevents.h \
  experiments/history.c experiments/history.h \
  experiments/history_impl.h \
  experiments/history_queue.c experiments/history_queue.h \
  experiments/history_run.c experiments/history_writer.c \
  experiments/identity.c \
  experiments/keep.c experiments/keep.h \
  experiments/labels.c experiments/labels.h \
  experiments/log_lines.c experiments/log_lines.h \
  experiments/named_query.c experiments/named_query.h \
  experiments/prune.c \
  experiments/query.c experiments/query.h experiments/query_find.c \
  experiments/rebuild.c experiments/rebuild.h \
  experiments/rebuild_lines.c experiments/rebuild_lines.h \
  experiments/registration.c experiments/registration.h \
  experiments/router_lines.c experiments/router_lines.h \
  experiments/rundir.c experiments/rundir.h \
  experiments/runlist.c experiments/runlist.h \
  experiments/salvage.c experiments/schema.h \
  experiments/routing_query.c experiments/routing_query.h \
  experiments/scores.c experiments/scores.h \
  experiments/spool.c experiments/spool.h

# The schema is written as SQL and embedded as one C string.
nodist_libpesc_a_SOURCES = experiments/schema_sql.c
EXTRA_DIST += experiments/schema.sql
CLEANFILES += experiments/schema_sql.c
experiments/schema_sql.c: experiments/schema.sql experiments/sources.mk
	$(AM_V_GEN)$(MKDIR_P) experiments && \
	{ echo '#include "experiments/schema.h"'; echo 'const char schema_sql[] ='; \
	  sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/    "&\\n"/' \
	    $(top_srcdir)/experiments/schema.sql && echo '    ;'; } >$@.tmp && mv $@.tmp $@
# The demonstration's base model and data.
noinst_PROGRAMS += experiments/base/make-base
experiments_base_make_base_SOURCES = experiments/base/make-base.c \
  experiments/base/bpe.c experiments/base/bpe.h \
  experiments/base/skills.c experiments/base/skills.h
EXTRA_DIST += experiments/demo.sh experiments/base/make.sh \
  experiments/base/model/config.json experiments/base/model/model.safetensors \
  experiments/base/model/tokenizer.json experiments/base/model/tokenizer_config.json
# The recipes of the experiments.
EXTRA_DIST += experiments/pesc/RESULTS.md experiments/pesc/all.sh experiments/pesc/lib.sh \
  experiments/pesc/d5.sh experiments/pesc/d6.sh experiments/pesc/d8.sh experiments/pesc/d9.sh \
  experiments/pesc/d10.sh experiments/pesc/flat.awk experiments/pesc/shuffle.awk \
  experiments/pesc/table.awk
