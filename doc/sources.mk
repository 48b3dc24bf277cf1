EXTRA_DIST += doc/export.md doc/history.md
dist_man_MANS += doc/pesc.1
completiondir = @completiondir@
dist_completion_DATA = doc/pesc.bash
