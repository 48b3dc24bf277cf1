#!/usr/bin/env python3
"""Compares `pesc runs export --all --format mlflow -o STORE` with the history, as MLflow sees it: by
its file store, and, where it has `mlflow migrate-filestore` (3.10 and later), by the database that
this makes of STORE. Runs, parameters, every point of every metric, tags and data sets.

  python3 -m venv V && V/bin/pip install mlflow          # or: mlflow-skinny==2.22.0
  V/bin/python tests/dev/check_mlflow.py HISTORY.db STORE
"""
import hashlib
import json
import math
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

STATUS = {"created": "SCHEDULED", "running": "RUNNING", "finished": "FINISHED", "failed": "FAILED"}
bad = 0
counts = {}


def check(good, text):
    global bad
    if not good:
        bad += 1
        print(f"not so: {text}")


def plain(raw):
    """Bytes that are no UTF-8 are exported as \\xHH."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(b) if b < 0x80 else f"\\x{b:02x}" for b in raw)


def value(raw, cap):
    """A value as it is in MLflow: escaped where readers would change it, and cut."""
    out = "".join(f"\\x{ord(c):02x}" if c in "\0\r" else c for c in plain(raw))
    if len(out) <= cap:
        return out
    out, n = "", 0
    for c in plain(raw):  # an escape stays whole
        c = f"\\x{ord(c):02x}" if c in "\0\r" else c
        if n + len(c) > cap:
            break
        out, n = out + c, n + len(c)
    return out


def decode(name):
    if name == "_x_":
        return b""
    name = re.sub("_x([0-9a-f]{2})_", lambda m: chr(int(m.group(1), 16)), name)
    return name.encode("latin-1")


def by_name(have, wanted, what):
    """{MLflow's name: x} as {ours: x}; wanted: our names."""
    out = {}
    for name, x in have.items():
        ours = decode(name)
        if ours not in wanted and re.search("_h[0-9a-f]{16}$", name):
            cut = [w for w in wanted if hashlib.sha256(w).hexdigest().startswith(name[-16:])]
            ours = cut[0] if cut else ours
        check(ours not in out, f"{what}: {name} is there twice")
        out[ours] = x
    check(set(out) == set(wanted), f"{what}: names {set(out) ^ set(wanted)}")
    return out


def points(rows, migrated):
    def number(x):
        x = math.nan if x is None else x
        if migrated and math.isinf(x):  # MLflow's own way of keeping them in SQL
            x = math.copysign(sys.float_info.max, x)
        return "nan" if math.isnan(x) else x

    return sorted((step, number(v), t) for step, v, t in rows)


def check_run(db, client, run_id, uuid, migrated):
    run = client.get_run(uuid)
    name, status, start, end, note, parent = db.execute(
        "SELECT r.name, r.status, coalesce(r.started_ms, r.created_ms), r.ended_ms, r.note, p.uuid"
        " FROM run r LEFT JOIN run p ON p.id = r.parent_run_id WHERE r.id = ?", (run_id,)).fetchone()
    what = f"{uuid[:8]}{' migrated' if migrated else ''}"
    check(run.info.status == STATUS.get(plain(status), "KILLED"), f"{what}: status {run.info.status}")
    check(run.info.run_name == plain(name)[:250], f"{what}: name {run.info.run_name!r}")
    check((run.info.start_time, run.info.end_time) == (start, end), f"{what}: times")

    params = dict(db.execute("SELECT key, value FROM param WHERE run_id = ?", (run_id,)))
    got = by_name(run.data.params, params, f"{what}: params")
    for key in set(got) & set(params):
        check(got[key] == value(params[key], 6000), f"{what}: param {key}: {got[key]!r:.80}")

    tags = dict(db.execute("SELECT key, value FROM tag WHERE run_id = ?", (run_id,)))
    own = {k: v for k, v in run.data.tags.items() if k.startswith(("mlflow.", "pesc."))}
    got = by_name({k: v for k, v in run.data.tags.items() if k not in own or k.encode() in tags},
                  tags, f"{what}: tags")
    for key in set(got) & set(tags):
        check(got[key] == value(tags[key], 5000), f"{what}: tag {key}")
    check(own["mlflow.runName"] == value(name, 5000), f"{what}: mlflow.runName")
    check(own.get("mlflow.note.content", "") == value(note, 5000), f"{what}: note")
    check(own.get("mlflow.parentRunId") == (plain(parent) if parent else None), f"{what}: parent")

    want = {}
    for key, task, step, v, t in db.execute(
            "SELECT k.name, NULL, step, value, t_ms FROM metric m JOIN metric_key k ON k.id = key_id"
            " WHERE run_id = ?1 UNION ALL SELECT CAST('eval/' || task || '/' || metric AS BLOB),"
            " task, step, value, t_ms FROM eval WHERE run_id = ?1 ORDER BY 2, 3", (run_id,)):
        key = bytes(key)
        twin = task is not None and db.execute(
            "SELECT 1 FROM metric m JOIN metric_key k ON k.id = key_id WHERE run_id = ?"
            " AND CAST(k.name AS BLOB) = ?", (run_id, key)).fetchone()
        want.setdefault(key + b"#2" if twin else key, []).append((step, v, t))
    got = by_name({k: k for k in run.data.metrics}, want, f"{what}: metrics")
    for key in set(got) & set(want):
        have = points([(m.step, m.value, m.timestamp)
                       for m in client.get_metric_history(uuid, got[key])], migrated)
        check(have == points(want[key], migrated), f"{what}: metric {key}: {have[:3]}")
        counts["points"] = counts.get("points", 0) + len(have)

    data = {(plain(n)[:500], plain(s)[:36]): json.loads(p) for n, s, p in db.execute(
        "SELECT DISTINCT d.name, d.sha256, json_object('uri', d.path) FROM run_dataset x JOIN"
        " dataset d ON d.id = x.dataset_id WHERE x.run_id = ?", (run_id,))}
    have = {(i.dataset.name, i.dataset.digest): json.loads(i.dataset.source)
            for i in run.inputs.dataset_inputs}
    check(have == data, f"{what}: data sets {have}")
    counts["params"] = counts.get("params", 0) + len(params)
    counts["runs"] = counts.get("runs", 0) + 1


def check_artifacts(db, store, run_id, uuid):
    """Whole values are in history.jsonl, and so is all the rest."""
    path = next(store.glob(f"*/{uuid}/artifacts/history.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for table, ours in (("params", "param"), ("tags", "tag")):
        want = sorted((plain(k), plain(v)) for k, v in
                      db.execute(f"SELECT key, value FROM {ours} WHERE run_id = ?", (run_id,)))
        have = sorted((r["key"], r["value"]) for r in rows if r["table"] == table)
        check(have == want, f"{uuid[:8]}: {table} of history.jsonl")
    for table in ("router_layer", "router_expert", "router_domain", "router_domain_layer",
                  "router_eval", "router_eval_layer", "segment", "event", "artifact", "plan", "eval"):
        n = db.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", (run_id,)).fetchone()[0]
        names = {table, table + "s"}
        check(n == sum(r["table"] in names for r in rows), f"{uuid[:8]}: {table} of history.jsonl")


def check_all(db, uri, migrated):
    client = MlflowClient(tracking_uri=uri)
    runs = db.execute("SELECT r.id, r.uuid, e.name FROM run r JOIN experiment e"
                      " ON e.id = r.experiment_id WHERE r.deleted_ms IS NULL").fetchall()
    experiments = {e.name: e.experiment_id for e in client.search_experiments()}
    for name in {plain(r[2])[:256] for r in runs}:
        check(name in experiments, f"experiment {name!r}")
    found = client.search_runs(list(experiments.values()), run_view_type=ViewType.ALL,
                               max_results=10000)
    check(sorted(r.info.run_id for r in found) == sorted(plain(r[1]) for r in runs), "runs found")
    for run_id, uuid, _ in runs:
        check_run(db, client, run_id, plain(uuid), migrated)
    return runs


def main():
    db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    db.text_factory = bytes
    store = pathlib.Path(sys.argv[2]).resolve()
    runs = check_all(db, store.as_uri(), False)
    for run_id, uuid, _ in runs:
        check_artifacts(db, store, run_id, plain(uuid))
    ways = "file store"
    command = [str(pathlib.Path(sys.executable).parent / "mlflow"), "migrate-filestore"]
    if subprocess.run(command + ["--help"], capture_output=True).returncode == 0:
        with tempfile.TemporaryDirectory() as tmp:
            target = f"sqlite:///{tmp}/mlflow.db"
            done = subprocess.run(command + ["--source", str(store), "--target", target],
                                  capture_output=True, text=True)
            check(done.returncode == 0, done.stderr[-2000:])
            if done.returncode == 0:
                check_all(db, target, True)
                ways += " and migrate-filestore"
    print(f"mlflow {mlflow.__version__}, {ways}: {counts}, {bad} differences")
    return bad != 0 or not counts.get("points")


sys.exit(main())
