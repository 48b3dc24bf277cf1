#!/usr/bin/env python3
"""Development check: NF4 against the Python package bitsandbytes, in both directions.

    python3 tests/dev/check_bnb.py build/pesc [FOLDER...]

Needs torch, transformers, accelerate and bitsandbytes; a processor is enough. For random llamas and
the folders given:
- codes, scales, maps and offsets that `pesc craft --base-dtype nf4 --nf4-scales absmax` writes are
  those of bitsandbytes.functional.quantize_4bit, and expand to the same values;
- a folder that transformers quantised and saved gives the same logits here as there;
- a folder written here gives the same logits there as here.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

LAYER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
bad = 0


def say(good, text):
    global bad
    bad += not good
    print("ok" if good else "NOT OK", "-", text)


def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}: {done.stderr}")


def tensors(folder):
    return {k: v for f in sorted(folder.glob("*.safetensors")) for k, v in load_file(f).items()}


def ours(pesc, model, rows, tmp):
    (tmp / "d.jsonl").write_text("".join(json.dumps({"input_ids": r}) + "\n" for r in rows))
    run(pesc, "eval", model, "--data", tmp / "d.jsonl", "--compute", "f32", "--dump-logits",
        tmp / "out.safetensors", "--db", tmp / "h.db")
    out = load_file(tmp / "out.safetensors")
    return [out[k] for k in sorted(out)]


def theirs(folder, rows):
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, bnb.nn.Linear4bit):
                # their own products take bf16 shortcuts on some processors
                state = child.weight.quant_state
                state.dtype = torch.float32
                plain = torch.nn.Linear(state.shape[1], state.shape[0], child.bias is not None)
                plain.weight.data = F.dequantize_4bit(child.weight.data, state).reshape(state.shape)
                if child.bias is not None:
                    plain.bias = child.bias
                setattr(module, name, plain)
    model = torch.nn.Module.float(model)
    with torch.no_grad():
        return [model(torch.tensor([r])).logits[0].float() for r in rows]


def compare(name, a, b, tol):
    worst = max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(a, b))
    say(worst < tol, f"{name}: logits differ by at most {worst:.2e} of the largest")


def check_values(name, base, crafted):
    """What was written against what bitsandbytes makes of the same matrices."""
    source, made = tensors(base), tensors(crafted)
    codes = scales = nested = offsets = values = count = 0
    for key, w in source.items():
        if not key.endswith(tuple(f"{x}.weight" for x in LAYER)):
            continue
        count += 1
        want, state = F.quantize_4bit(w, blocksize=64, compress_statistics=True, quant_type="nf4")
        packed = state.as_dict(packed=True)
        codes += not torch.equal(made[key].flatten(), want.flatten())
        scales += (made[key + ".absmax"] != packed["absmax"]).sum().item()
        nested += not torch.equal(made[key + ".nested_quant_map"], packed["nested_quant_map"])
        nested += not torch.equal(made[key + ".quant_map"], packed["quant_map"])
        own = F.QuantState.from_dict(
            {k[len(key) + 1:]: v for k, v in made.items() if k.startswith(key + ".")}, "cpu")
        offset = state.offset.item()
        offsets = max(offsets, abs(own.offset.item() - offset) / abs(offset))
        a, b = F.dequantize_4bit(want, state), F.dequantize_4bit(made[key], own)
        values = max(values, ((a.float() - b.float()).abs().max() / a.abs().max()).item())
        if own.shape != w.shape or own.dtype != w.dtype:
            say(False, f"{name} {key}: shape and type of its state")
    say(count > 0 and codes == 0, f"{name}: codes of {count} matrices, bit for bit")
    say(nested == 0, f"{name}: both tables, bit for bit")
    say(offsets < 3e-7, f"{name}: offsets within {offsets:.1e}")
    # Where a scale lies in the middle between two codes, the last place of the offset decides.
    say(values < 1e-2, f"{name}: {scales} nested codes are others; values within {values:.1e}")


def check(pesc, name, base, vocab, tmp):
    torch.manual_seed(1)
    rows = [torch.randint(0, vocab, (n,)).tolist() for n in (2, 7, 40)]
    for scales in ("absmax", "fitted"):
        made = tmp / scales
        run(pesc, "craft", base, "-o", made, "--base-dtype", "nf4", "--nf4-min", 0,
            "--nf4-scales", scales, "--experts", 2, "--top-k", 2, "--adapter-dim", 4)
        if scales == "absmax":
            check_values(name, base, made / "base")
        compare(f"{name}: ours read by them, scales {scales}", theirs(made / "base", rows),
                ours(pesc, made, rows, tmp), 1e-5)
    for double in (True, False):
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                    bnb_4bit_use_double_quant=double,
                                    bnb_4bit_compute_dtype=torch.float32)
        where = tmp / f"theirs-{double}"
        AutoModelForCausalLM.from_pretrained(base, quantization_config=config,
                                             torch_dtype=torch.float32).save_pretrained(where)
        compare(f"{name}: theirs read by us, double quantisation {double}",
                ours(pesc, where, rows, tmp), theirs(where, rows), 1e-5)


def main():
    pesc = pathlib.Path(sys.argv[1]).resolve()
    # Sizes are multiples of a block: else bitsandbytes 0.50's products on a processor are wrong.
    small = dict(vocab_size=96, hidden_size=192, intermediate_size=320, num_hidden_layers=2,
                 num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=64,
                 initializer_range=0.2)
    kinds = {"llama": (LlamaConfig, LlamaForCausalLM, {}, torch.float32),
             "llama-tied-bf16": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True},
                                 torch.bfloat16),
             "llama-f16": (LlamaConfig, LlamaForCausalLM, {}, torch.float16),
             "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}, torch.float32)}
    for name, (config, model, extra, dtype) in kinds.items():
        with tempfile.TemporaryDirectory() as tmp:
            tmp = pathlib.Path(tmp)
            torch.manual_seed(len(name))
            model(config(**{**small, **extra})).to(dtype).save_pretrained(tmp / "base")
            check(pesc, name, tmp / "base", 96, tmp)
    for folder in sys.argv[2:]:
        folder = pathlib.Path(folder)
        vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
        with tempfile.TemporaryDirectory() as tmp:
            check(pesc, folder.name, folder, vocab, pathlib.Path(tmp))
    sys.exit(bad > 0)


main()
