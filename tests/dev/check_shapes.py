#!/usr/bin/env python3
"""Development check: the folders of make-shape against transformers and tokenizers.

    python3 tests/dev/check_shapes.py build/experiments/bench/make-shape [NAME...]

For each shape: the full configuration as transformers reads it, with the number of parameters of the
model that it builds (without memory); then a folder of one layer: names and shapes of all tensors, how
the weights are distributed, and the tokenizer.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

# As published with the models.
PARAMETERS = {"smollm2-135m": 134515008, "smollm2-360m": 361821120, "qwen2.5-0.5b": 494032768,
              "tinyllama-1.1b": 1100048384, "llama2-7b": 6738415616}
TEXT = "The quick brown fox, 3 times: jumps\n\tover naïve 犬 and again again. "


def build(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def check(make, name, tmp):
    subprocess.run([make, name, tmp, "--layers", "1", "--file-mb", "300"], check=True)
    config = AutoConfig.from_pretrained(tmp)
    one = build(config)
    want = {k: tuple(v.shape) for k, v in one.state_dict().items()
            if not (config.tie_word_embeddings and k == "lm_head.weight")}
    got, spread = {}, []
    for f in pathlib.Path(tmp).glob("*.safetensors"):
        with safe_open(f, "pt") as st:
            for k in st.keys():
                t = st.get_tensor(k)
                assert t.dtype == torch.bfloat16, k
                got[k] = tuple(t.shape)
                if t.ndim == 2:
                    spread.append((t.float().std().item(), t.float().mean().item()))
                else:
                    assert (t == (0 if k.endswith(".bias") else 1)).all(), k
    assert got == want, set(got.items()) ^ set(want.items())
    assert all(abs(s - 0.02) < 3e-4 and abs(m) < 3e-4 for s, m in spread), spread
    index = pathlib.Path(tmp) / "model.safetensors.index.json"
    if index.exists():
        assert set(json.loads(index.read_text())["weight_map"]) == set(want)
    layers = {s.split()[0]: int(s.split()[3]) for s in
              subprocess.run([make, "--list"], capture_output=True, text=True).stdout.splitlines()[1:]}
    config.num_hidden_layers = layers[name]
    config.layer_types = None if not hasattr(config, "layer_types") else ["full_attention"] * layers[name]
    n = sum(p.numel() for p in build(config).parameters())
    assert n == PARAMETERS[name], (n, PARAMETERS[name])
    tok = AutoTokenizer.from_pretrained(tmp)
    assert len(tok) == config.vocab_size, len(tok)
    ids = tok(TEXT, add_special_tokens=False)["input_ids"]
    assert tok.decode(ids) == TEXT, tok.decode(ids)
    assert tok.bos_token_id == config.bos_token_id and tok.eos_token_id == config.eos_token_id
    print(f"{name:16} {n:>11} parameters, {len(want)} tensors of one layer agree, "
          f"{len(TEXT)} characters are {len(ids)} tokens")


def main():
    for name in sys.argv[2:] or PARAMETERS:
        with tempfile.TemporaryDirectory() as tmp:
            check(sys.argv[1], name, tmp)


main()
