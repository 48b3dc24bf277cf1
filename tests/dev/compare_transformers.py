#!/usr/bin/env python3
"""Development check: logits of random small models of every supported kind against transformers.

    python3 tests/dev/compare_transformers.py build/pesc

Needs torch and transformers. Makes folders with and without the options that change the result,
dumps logits with `pesc eval --dump-logits --compute f32`, and compares in float64.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

SMALL = dict(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
             num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=64,
             initializer_range=0.2)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "llama-bias": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": (LlamaConfig, LlamaForCausalLM, {"head_dim": 16}),
    "llama-linear": (LlamaConfig, LlamaForCausalLM,
                     {"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
    "llama-dynamic": (LlamaConfig, LlamaForCausalLM,
                      {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
                       "max_position_embeddings": 16}),
    "llama-llama3": (LlamaConfig, LlamaForCausalLM, {"rope_scaling": LLAMA3, "rope_theta": 5e5}),
    "mistral-window": (MistralConfig, MistralForCausalLM, {"sliding_window": 9}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen2-window": (Qwen2Config, Qwen2ForCausalLM,
                     {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16}),
    "qwen3-tied-bias": (Qwen3Config, Qwen3ForCausalLM,
                        {"head_dim": 24, "attention_bias": True, "tie_word_embeddings": True}),
}


def check(pesc, name, kind):
    config_class, model_class, extra = kind
    torch.manual_seed(len(name))
    model = model_class(config_class(**{**SMALL, **extra})).eval()
    for p_name, p in model.named_parameters():
        if "norm" in p_name or "bias" in p_name:
            p.data += 0.3 * torch.randn_like(p)
    rows = [torch.randint(0, 96, (n,)).tolist() for n in (1, 2, 17, 40, 61)]
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        model.save_pretrained(tmp / "m")
        (tmp / "d.jsonl").write_text("".join(json.dumps({"input_ids": r}) + "\n" for r in rows))
        done = subprocess.run([pesc, "eval", tmp / "m", "--data", tmp / "d.jsonl", "--compute", "f32",
                               "--dump-logits", tmp / "out.safetensors", "--db", tmp / "h.db"],
                              capture_output=True, text=True)
        if done.returncode:
            print(f"{name:18} FAILED {done.stderr.strip()}")
            return False
        got = load_file(tmp / "out.safetensors")
    worst = 0.0
    for i, ids in enumerate(rows):
        if f"record_{i}" not in got:
            continue  # one token predicts nothing
        with torch.no_grad():
            want = model(torch.tensor([ids])).logits[0].double()
        worst = max(worst, (got[f"record_{i}"].double() - want).abs().max().item())
    print(f"{name:18} largest difference {worst:.2g}")
    return worst < 1e-4


def main():
    results = [check(sys.argv[1], name, kind) for name, kind in KINDS.items()]
    sys.exit(not all(results))


main()
