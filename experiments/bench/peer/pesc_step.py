#!/usr/bin/env python3
"""A training step of adapters on a frozen Llama, as one would write it in PyTorch today: the peer that
pesc is measured against. Development only (torch, safetensors, and for --method lora transformers and
peft, all from PyPI); nothing of pesc needs it.

  pesc_step.py SHAPE-FOLDER [--method pesc|lora] [--dtype bf16|f32] [--mode eager|compile|checkpoint]
               [--tokens 2048] [--sample 512] [--steps 3] [--data FILE.jsonl --rows 4 [--group]]

One JSON object on stdout: seconds of each step after the first two, tokens and trained tokens a second
by the median, peak memory. With --data (records of input_ids and labels, -100 is masked) a step is
--rows records padded to the longest of them; --group takes them in the order of their lengths."""
import argparse
import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n), requires_grad=False)
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def linear(n_in, n_out):
    layer = nn.Linear(n_in, n_out, bias=False)
    layer.weight.requires_grad_(False)
    return layer


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.H, self.G, self.C = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        D = c["hidden_size"]
        self.q, self.k, self.v = linear(D, self.H * self.C), linear(D, self.G * self.C), linear(D, self.G * self.C)
        self.o = linear(self.H * self.C, D)

    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        q = self.q(x).view(B, T, self.H, self.C).transpose(1, 2)
        k = self.k(x).view(B, T, self.G, self.C).transpose(1, 2)
        v = self.v(x).view(B, T, self.G, self.C).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        n = self.H // self.G
        k, v = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        # Padding is at the right end, so causal attention alone keeps it out of what is trained.
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(B, T, -1))


class Mixture(nn.Module):
    """y = z + sum of w_e Up_e gelu(Dn_e z), tokens gathered by expert."""

    def __init__(self, D, E, K, A):
        super().__init__()
        self.K = K
        self.router = nn.Linear(D, E, bias=False)
        self.down = nn.ParameterList(nn.Parameter(torch.randn(A, D) / math.sqrt(D)) for _ in range(E))
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(D, A)) for _ in range(E))

    def forward(self, z, x):
        shape, D = z.shape, z.shape[-1]
        z, x = z.reshape(-1, D), x.reshape(-1, D)
        logits = F.linear(x.float(), self.router.weight.float())
        top, chosen = logits.topk(self.K, dim=-1)
        w = top.softmax(-1).to(z.dtype)
        load = F.one_hot(chosen, logits.shape[-1]).float().mean((0, 1))
        balance = logits.shape[-1] * (load * logits.softmax(-1).mean(0)).sum()
        y = z.clone()
        for e, (down, up) in enumerate(zip(self.down, self.up)):
            t, k = torch.where(chosen == e)
            out = F.linear(F.gelu(F.linear(z[t], down.to(z.dtype))), up.to(z.dtype))
            y = y.index_add(0, t, out * w[t, k, None])
        return y.view(shape), balance


class Block(nn.Module):
    def __init__(self, c, a):
        super().__init__()
        D, F_ = c["hidden_size"], c["intermediate_size"]
        self.n1, self.n2 = Norm(D, c["rms_norm_eps"]), Norm(D, c["rms_norm_eps"])
        self.attention = Attention(c)
        self.gate, self.up, self.down = linear(D, F_), linear(D, F_), linear(F_, D)
        self.mixture = Mixture(D, a.experts, a.top_k, a.dim)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.n1(x), cos, sin)
        n = self.n2(x)
        y, balance = self.mixture(self.down(F.silu(self.gate(n)) * self.up(n)), n)
        return x + y, balance


class Model(nn.Module):
    def __init__(self, c, a):
        super().__init__()
        self.a, self.c = a, c
        self.embed = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.embed.weight.requires_grad_(False)
        self.blocks = nn.ModuleList(Block(c, a) for _ in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c["rms_norm_eps"])
        self.head = linear(c["hidden_size"], c["vocab_size"])
        if c.get("tie_word_embeddings"):
            self.head.weight = self.embed.weight

    def forward(self, ids, labels):
        T, C = ids.shape[1], self.c["head_dim"]
        freq = self.c.get("rope_theta", 10000.0) ** (-torch.arange(0, C, 2).float() / C)
        angle = torch.arange(T).float()[:, None] * freq
        x = self.embed(ids)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        balance = 0
        for b in self.blocks:
            if self.a.mode == "checkpoint":
                x, more = checkpoint(b, x, cos, sin, use_reentrant=False)
            else:
                x, more = b(x, cos, sin)
            balance = balance + more
        logits = self.head(self.norm(x))[:, :-1].float()
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))
        return loss + 0.01 * balance / len(self.blocks)


def load(model, folder, c):
    """The weights of the folder, so that products see the numbers that ours see."""
    from safetensors.torch import load_file
    t = {}
    for f in sorted(Path(folder).glob("*.safetensors")):
        t.update(load_file(f))
    with torch.no_grad():
        model.embed.weight.copy_(t["model.embed_tokens.weight"])
        if not c.get("tie_word_embeddings"):
            model.head.weight.copy_(t["lm_head.weight"])
        model.norm.weight.copy_(t["model.norm.weight"])
        for i, b in enumerate(model.blocks):
            at = f"model.layers.{i}."
            for name, to in (("input_layernorm", b.n1), ("post_attention_layernorm", b.n2),
                             ("self_attn.q_proj", b.attention.q), ("self_attn.k_proj", b.attention.k),
                             ("self_attn.v_proj", b.attention.v), ("self_attn.o_proj", b.attention.o),
                             ("mlp.gate_proj", b.gate), ("mlp.up_proj", b.up), ("mlp.down_proj", b.down)):
                to.weight.copy_(t[at + name + ".weight"])


def pesc_model(a, c, dtype):
    torch.set_default_dtype(dtype)
    model = Model(c, a)
    torch.set_default_dtype(torch.float32)
    load(model, a.folder, c)
    for name, p in model.named_parameters():
        if "mixture" in name and a.masters == "f32":
            p.data = p.data.float()
    return model


class Lora(nn.Module):
    def __init__(self, a, dtype):
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM
        m = AutoModelForCausalLM.from_pretrained(a.folder, dtype=dtype)
        if a.mode == "checkpoint":
            m.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            m.enable_input_require_grads()
        self.m = get_peft_model(m, LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))

    def forward(self, ids, labels):
        return self.m(input_ids=ids, labels=labels).loss


def random_batches(a, c):
    g = torch.Generator().manual_seed(7)
    rows = (a.tokens + a.sample - 1) // a.sample
    while True:
        ids = torch.randint(0, c["vocab_size"], (rows, a.sample), generator=g)
        yield ids, ids


def data_batches(a):
    records = [json.loads(line) for line in open(a.data)]
    if a.group:
        records.sort(key=lambda r: len(r["input_ids"]))
        chunks = [records[i:i + a.rows] for i in range(0, len(records) - a.rows + 1, a.rows)]
        step = 7919  # lengths of all kinds in a few steps, each batch of one kind
        chunks = [chunks[i * step % len(chunks)] for i in range(len(chunks))]
    else:
        chunks = [records[i:i + a.rows] for i in range(0, len(records) - a.rows + 1, a.rows)]
    while True:
        for part in chunks:
            n = max(len(r["input_ids"]) for r in part)
            ids = torch.zeros(len(part), n, dtype=torch.long)
            labels = torch.full((len(part), n), -100)
            for i, r in enumerate(part):
                ids[i, :len(r["input_ids"])] = torch.tensor(r["input_ids"])
                labels[i, :len(r["labels"])] = torch.tensor(r["labels"])
            yield ids, labels


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("--method", choices=["pesc", "lora"], default="pesc")
    p.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    p.add_argument("--masters", choices=["f32", "same"], default="same", help="type of the adapters")
    p.add_argument("--mode", choices=["eager", "compile", "checkpoint"], default="eager")
    p.add_argument("--data")
    p.add_argument("--group", action="store_true")
    for name, value in (("tokens", 2048), ("sample", 512), ("steps", 3), ("rows", 4), ("experts", 8), ("top-k", 2),
                        ("dim", 64), ("threads", 0)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(42)
    c = json.loads((Path(a.folder) / "config.json").read_text())
    c.setdefault("num_key_value_heads", c["num_attention_heads"])
    c["head_dim"] = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    dtype = torch.bfloat16 if a.dtype == "bf16" else torch.float32
    model = pesc_model(a, c, dtype) if a.method == "pesc" else Lora(a, dtype)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, foreach=True)
    run = torch.compile(model, dynamic=True) if a.mode == "compile" else model
    model.train()
    batches = data_batches(a) if a.data else random_batches(a, c)
    seconds, tokens, answers, loss = [], 0, 0, None
    for step in range(a.steps + 2):
        ids, labels = next(batches)
        start = time.perf_counter()
        loss = run(ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.3)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step >= 2:
            seconds.append(time.perf_counter() - start)
            tokens += ids.numel()
            answers += int((labels[:, 1:] != -100).sum())
    total = sum(seconds)
    step_s = statistics.median(seconds)
    json.dump({"peer": "torch " + torch.__version__, "method": a.method, "dtype": a.dtype, "masters": a.masters,
               "mode": a.mode, "grouped": a.group, "threads": torch.get_num_threads(), "steps": seconds,
               "step_seconds": step_s, "tokens_per_s": tokens / total if a.data else tokens / len(seconds) / step_s,
               "trained_tokens_per_s": answers / total, "trained": sum(p.numel() for p in trained),
               "loss": float(loss), "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024},
              sys.stdout)
    print()


if __name__ == "__main__":
    main()
