#!/usr/bin/env python3
"""Instruction records as token ids with labels, loss on the answers only, for both sides of run.sh.
Development only (tokenizers, from PyPI).   data.py TOKENIZER.json RECORDS.json OUT.jsonl [LENGTH]"""
import json
import sys

from tokenizers import Tokenizer

tokenizer, records, out = sys.argv[1:4]
length = int(sys.argv[4]) if len(sys.argv) > 4 else 512
t = Tokenizer.from_file(tokenizer)
t.no_padding()
t.no_truncation()
text = open(records).read()
rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line]
kept = 0
with open(out, "w") as f:
    for r in rows:
        ids, labels = [], []
        if "messages" in r or "conversations" in r:
            turns = [(m.get("role", m.get("from")), m.get("content", m.get("value"))) for m in r.get("messages", r.get("conversations"))]
        elif "conversation" in r:
            turns = [("system", r["instruction"])] if r.get("instruction") else []
            turns += [x for p in r["conversation"] for x in (("user", p["input"]), ("assistant", p["output"]))]
        elif "input" in r and isinstance(r["input"], list):
            turns = [x for q, a in zip(r["input"], r["output"]) for x in (("user", q), ("assistant", a))]
        else:
            turns = [("user", r.get("instruction", r.get("prompt", "")) + "\n" + r.get("input", "")),
                     ("assistant", r.get("output", r.get("response", r.get("completion", ""))))]
        for role, content in turns:
            answer = role in ("assistant", "gpt")
            part = t.encode(f"<|im_start|>{role}\n").ids
            ids += part
            labels += [-100] * len(part)
            part = t.encode(content + "<|im_end|>\n").ids
            ids += part
            labels += part if answer else [-100] * len(part)
        ids, labels = ids[:length], labels[:length]
        if any(x != -100 for x in labels[1:]):
            f.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
            kept += 1
print(f"{kept} of {len(rows)} records")
