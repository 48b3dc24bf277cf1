#!/usr/bin/env python3
"""Compares `pesc runs export --all --format tensorboard -o LOGDIR` with the history, as TensorBoard's
own reader sees it: each curve of each run, steps, values (as 32-bit floats) and times.

  python3 -m venv V && V/bin/pip install tensorboard
  V/bin/python tests/dev/check_tensorboard.py HISTORY.db LOGDIR
"""
import pathlib
import re
import sqlite3
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.util import tensor_util


def f32(x):
    if x is None:
        return b"nan"
    try:
        y = struct.pack("<f", x)
    except OverflowError:
        y = struct.pack("<f", float("inf") if x > 0 else float("-inf"))
    return b"nan" if x != x else y


def plain(raw):
    """Bytes that are no UTF-8 are exported as \\xHH."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(b) if b < 0x80 else f"\\x{b:02x}" for b in raw)


def curves(db, run):
    """tag -> [(step, value, t_ms or None)] in order, from SQL alone."""
    out = {}

    def add(tag, step, value, t_ms):
        out.setdefault(tag, []).append((step, f32(value), t_ms))

    def rows(sql):
        return db.execute(sql, (run,)).fetchall()

    for name, step, value, t in rows(
        "SELECT k.name, step, value, t_ms FROM metric m JOIN metric_key k ON k.id = m.key_id"
        " WHERE run_id = ? ORDER BY step"
    ):
        add(name, step, value, t)
    for task, metric, step, value, lo, hi, t in rows(
        "SELECT task, metric, step, value, lo, hi, t_ms FROM eval WHERE run_id = ? ORDER BY step"
    ):
        add(f"eval/{task}/{metric}", step, value, t)
        if lo is not None:
            add(f"eval/{task}/{metric}/low", step, lo, t)
        if hi is not None:
            add(f"eval/{task}/{metric}/high", step, hi, t)
    for layer, step, entropy, aux, top1 in rows(
        "SELECT layer, step, entropy, aux_loss, top1 FROM router_layer WHERE run_id = ?"
        " ORDER BY step"
    ):
        add(f"router/layer_{layer:02d}/entropy", step, entropy, None)
        add(f"router/layer_{layer:02d}/balance", step, aux, None)
        if top1 is not None:
            add(f"router/layer_{layer:02d}/top1", step, top1, None)
    for layer, e, step, load, prob, first in rows(
        "SELECT layer, expert, step, load, prob, first FROM router_expert WHERE run_id = ?"
        " ORDER BY step"
    ):
        at = f"router/layer_{layer:02d}/expert_{e}"
        add(f"{at}/load", step, load, None)
        add(f"{at}/prob", step, prob, None)
        if first is not None:
            add(f"{at}/first", step, first, None)
    for layer, e, domain, step, load in rows(
        "SELECT layer, expert, domain, step, load FROM router_domain WHERE run_id = ?"
        " ORDER BY step"
    ):
        add(f"router/layer_{layer:02d}/domain/{domain}/expert_{e}", step, load, None)
    for layer, domain, step, entropy, top1 in rows(
        "SELECT layer, domain, step, entropy, top1 FROM router_domain_layer WHERE run_id = ?"
        " ORDER BY step"
    ):
        add(f"router/layer_{layer:02d}/domain/{domain}/entropy", step, entropy, None)
        if top1 is not None:
            add(f"router/layer_{layer:02d}/domain/{domain}/top1", step, top1, None)
    return out


def main():
    db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    db.text_factory = plain
    logdir = pathlib.Path(sys.argv[2])
    bad = points = texts = 0
    runs = db.execute("SELECT id, uuid, started_ms FROM run WHERE deleted_ms IS NULL").fetchall()
    folders = {}
    for path in sorted(logdir.glob("*/events.out.tfevents.*")):
        acc = event_accumulator.EventAccumulator(
            str(path), size_guidance={"scalars": 0, "tensors": 0}
        )
        acc.Reload()
        text = ""
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for v in event.summary.value:
                if v.tag == "run/text_summary":
                    assert v.metadata.plugin_data.plugin_name == "text"
                    text = tensor_util.make_ndarray(v.tensor)[0].decode()
        uuid = re.search(r"^\| run \| ([0-9a-f]{32}) \|$", text, re.M)
        assert uuid, f"{path}: no summary of the run"
        folders[uuid.group(1)] = acc
        texts += 1
    if sorted(folders) != sorted(r[1] for r in runs):
        print(f"not the same runs: {sorted(folders)}")
        bad += 1
    for run, uuid, started in runs:
        want, acc = curves(db, run), folders[uuid]
        have = set(acc.Tags()["scalars"])
        if have != set(want):
            print(f"{uuid}: tags differ: {sorted(have ^ set(want))[:5]}")
            bad += 1
        times = [t for p in want.values() for _, _, t in p if t] + [started]
        for tag in have & set(want):
            got = [(e.step, f32(e.value), e.wall_time) for e in acc.Scalars(tag)]
            points += len(got)
            same = len(got) == len(want[tag]) and all(
                g[:2] == w[:2]
                and (abs(g[2] * 1000 - w[2]) < 0.5 if w[2] else round(g[2] * 1000) in times)
                for g, w in zip(got, want[tag])
            )
            if not same:
                print(f"{uuid}: {tag}: {got[:3]} is not {want[tag][:3]}")
                bad += 1
    print(f"{len(runs)} runs, {texts} texts, {points} points, {bad} differences")
    return bad != 0 or points == 0


sys.exit(main())
