pesc_SOURCES += \
  src/cli/cmd.h src/cli/main.c src/cli/opts.c src/cli/help.c src/cli/config.c src/cli/talk.c \
  src/cli/cmd_craft.c src/cli/cmd_train.c src/cli/cmd_eval.c src/cli/cmd_generate.c \
  src/cli/cmd_data.c src/cli/cmd_runs.c src/cli/cmd_pack.c src/cli/cmd_doctor.c

# what commands share
pesc_SOURCES += \
  src/cli/data_arg.c src/cli/data_arg.h \
  src/cli/data_facts.c src/cli/data_facts.h \
  src/cli/db_arg.c src/cli/db_arg.h \
  src/cli/model_arg.c src/cli/model_arg.h \
  src/cli/progress.c src/cli/progress.h \
  src/cli/table.c src/cli/table.h

# data
pesc_SOURCES += \
  src/cli/data_lengths.c src/cli/data_packing.c src/cli/data_report.c src/cli/data_report.h \
  src/cli/data_tokens.c src/cli/data_tokens.h src/cli/lines.c src/cli/lines.h

# eval
pesc_SOURCES += \
  src/cli/eval_experts.c src/cli/eval_experts.h \
  src/cli/eval_model.c src/cli/eval_record.c \
  src/cli/eval_routing.c src/cli/eval_routing.h \
  src/cli/eval_table.c src/cli/eval_tasks.c src/cli/eval_tasks.h

# pack
pesc_SOURCES += src/cli/cmd_pack.h src/cli/cmd_pack_export.c src/cli/pack_record.c

# runs
pesc_SOURCES += \
  src/cli/chart.h src/cli/chart_pen.h src/cli/chart_plot.c src/cli/chart_png.c \
  src/cli/chart_scale.c src/cli/chart_svg.c src/cli/chart_text.c \
  src/cli/markup.c src/cli/markup.h src/cli/page.c src/cli/page.h \
  src/cli/report.h src/cli/report_curves.c src/cli/report_heat.c src/cli/report_heat.h \
  src/cli/report_page.c src/cli/report_pivot.c src/cli/report_routing.c src/cli/report_tables.c src/cli/runs_report.c \
  src/cli/curves.c src/cli/curves.h src/cli/panels.c src/cli/panels.h src/cli/runs_plot.c \
  src/cli/runs.h src/cli/runs_list.c src/cli/runs_routing.c src/cli/runs_show.c \
  src/cli/runs_compare.c src/cli/runs_filter.c src/cli/runs_filter.h src/cli/runs_query.c src/cli/runs_sql.c src/cli/runs_tail.c
pesc_SOURCES += src/cli/heat.c src/cli/heat.h src/cli/routing_view.c src/cli/routing_view.h

# runs: keeping them
pesc_SOURCES += src/cli/runs_label.c src/cli/runs_rebuild.c src/cli/runs_store.c

# runs export
pesc_SOURCES += src/cli/runs_export.c

# train
pesc_SOURCES += \
  src/cli/profile_report.c src/cli/profile_report.h \
  src/cli/recorder.c src/cli/recorder.h src/cli/stop.c src/cli/sweep.c src/cli/sweep.h src/cli/sweep_board.c src/cli/sweep_run.c src/cli/stop.h \
  src/cli/cmd_plan.c \
  src/cli/train_history.c src/cli/train_history.h src/cli/train_facts.c src/cli/train_facts.h \
  src/cli/train_run.c src/cli/train_run.h \
  src/cli/train_session.c src/cli/train_session.h
