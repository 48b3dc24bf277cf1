/* A history as the first version of its schema had it. */
#ifndef TESTS_UNIT_OLD_HISTORY_H
#define TESTS_UNIT_OLD_HISTORY_H

/* Version 3 had no evaluations' routing, version 2 no plans, version 1 none of these columns. */
#define TO_VERSION_1                                                                               \
    "DROP VIEW v_router; DROP VIEW v_router_domain; DROP VIEW v_router_eval; DROP VIEW v_eval;"    \
    "DROP VIEW v_event; DROP TABLE router_domain_layer; DROP TABLE router_eval;"                   \
    "DROP TABLE router_eval_layer; ALTER TABLE router_layer DROP COLUMN top1;"                     \
    "ALTER TABLE router_layer DROP COLUMN tokens; ALTER TABLE router_expert DROP COLUMN first;"    \
    "ALTER TABLE router_domain DROP COLUMN prob; ALTER TABLE router_domain DROP COLUMN first;"     \
    "ALTER TABLE eval DROP COLUMN lo; ALTER TABLE eval DROP COLUMN hi;"                            \
    "CREATE VIEW v_router AS SELECT run_id FROM router_expert;"                                    \
    "DROP VIEW v_plan; DROP TABLE plan;"                                                           \
    "ALTER TABLE run_dataset DROP COLUMN records; ALTER TABLE run_dataset DROP COLUMN reasons;"    \
    "ALTER TABLE run_dataset DROP COLUMN truncated; ALTER TABLE run_dataset DROP COLUMN split;"    \
    "ALTER TABLE run_dataset DROP COLUMN pieces_dropped;"                                          \
    "ALTER TABLE run_dataset DROP COLUMN samples;"                                                 \
    "ALTER TABLE run_dataset DROP COLUMN trained_tokens; PRAGMA user_version = 1"

#endif
