#!/usr/bin/env python3
"""Development check: the demonstration's base in Python's transformers, with equal ids and logits.

    python3 tests/dev/compare_base.py build/pesc build/experiments/base/make-base experiments/base/model

Needs torch and transformers. Every held-out record is put into the template here, tokenized by
tokenizers, run in float32, and compared with `pesc eval --dump-logits`.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

pesc, make_base, folder = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(folder)
worst = 0.0
with tempfile.TemporaryDirectory() as tmp:
    tmp = pathlib.Path(tmp)
    subprocess.run([make_base, tmp / "data"], check=True)
    data = tmp / "data/heldout.json"
    subprocess.run([pesc, "eval", folder, "--data", data, "--compute", "f32", "--quiet",
                    "--dump-logits", tmp / "logits.safetensors"], check=True)
    logits = load_file(tmp / "logits.safetensors")
    for i, record in enumerate(json.loads(data.read_text())):
        turn = record["conversation"][0]
        prompt = tokenizer(f"### Human:\n{turn['input']}\n### Assistant:\n")["input_ids"]
        answer = tokenizer(turn["output"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer + [tokenizer.eos_token_id]])
        with torch.no_grad():
            mine, theirs = logits[f"record_{i}"], model(ids).logits[0]
        assert mine.shape == theirs.shape, f"record {i}: {mine.shape} and {theirs.shape}"
        worst = max(worst, (mine - theirs).abs().max().item())
print(f"{len(logits)} records, largest difference of a logit {worst:.2e}")
sys.exit(worst > 1e-3)
