#!/usr/bin/env python3
"""Development check, not part of `make check`: ids of our tokenizer against the `tokenizers` package.

    make tests/dev/tok_dump
    python3 tests/dev/compare_tokenizers.py tests/dev/tok_dump TEXTS... -- MODEL...

TEXTS are text, JSON or JSONL files (every string in them is a text), MODELs folders with a
tokenizer.json. Random mixtures of scripts, spaces, marks and special tokens, Chinese, emoji and repaired broken
UTF-8 are added. Prints the
number of differing texts (it should be 0) and the ratio of single-thread speeds.
"""
import json
import os
import random
import subprocess
import sys
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

SCRIPTS = [(0x20, 0x7F), (0x80, 0x250), (0x300, 0x370), (0x370, 0x600), (0x900, 0xE00),
           (0x1100, 0x1200), (0x2000, 0x2700), (0x3000, 0x3400), (0x4E00, 0x9FFF),
           (0xAC00, 0xD7A3), (0x1F000, 0x1FB00), (0x1D400, 0x1D800)]
PIECES = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|endoftext|>", "<0x0A>", "\u2581", " ", "  ",
          "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "'s", "'LL", "12345", "e\u0301"]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from strings(item)


def texts_of(path):
    data = open(path, "rb").read().decode("utf-8", "replace")
    try:
        return list(strings(json.loads(data)))
    except ValueError:
        pass
    try:
        return [s for line in data.split("\n") if line.strip() for s in strings(json.loads(line))]
    except ValueError:
        return [data]


def mixture(rng):
    out = ""
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.3:
            out += rng.choice(PIECES)
        else:
            low, high = rng.choice(SCRIPTS)
            out += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 6)))
    # versions of Unicode differ: unassigned characters, and marks newer than the package's
    # normalization tables (Unicode 9)
    newer = {0x9FE, *range(0xAFA, 0xB00), 0xC3C, 0xD3B, 0xD3C}
    return "".join(c for c in out
                   if unicodedata.category(c) not in ("Cn", "Cs") and ord(c) not in newer)


def broken(rng, texts):
    """Bytes of texts with some changed, so that they are no UTF-8, and then repaired."""
    for text in rng.sample(texts, min(len(texts), 3000)):
        data = bytearray(text.encode("utf-8", "replace")[:2000])
        for _ in range(len(data) // 50 + 1):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        yield data.decode("utf-8", "replace")


def chinese(rng):
    """Sentences of frequent characters, with punctuation, digits, Latin words and emoji among them."""
    common = [chr(0x4E00 + k * k % 7000) for k in range(1, 2500)]
    out = ""
    for _ in range(rng.randint(1, 12)):
        out += "".join(rng.choice(common) for _ in range(rng.randint(2, 25)))
        out += rng.choice(["\uff0c", "\u3002", "\uff01", "\u3001", " ", "\n", "2024", " GPU ", "\U0001f600",
                           "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f"])
    return out


def main():
    dump, rest = sys.argv[1], sys.argv[2:]
    files, models = rest[:rest.index("--")], rest[rest.index("--") + 1:]
    rng = random.Random(1)
    texts = [s for f in files for s in texts_of(f)] + [mixture(rng) for _ in range(20000)]
    texts += [*broken(rng, texts), *(chinese(rng) for _ in range(10000))]
    texts = [s.encode("utf-8", "replace").decode() for s in texts if "\0" not in s]
    rng.shuffle(texts)
    size = sum(len(s.encode()) for s in texts)
    lines = "".join(json.dumps(s) + "\n" for s in texts).encode()
    failed = 0
    print(f"{size / 1e6:.1f} MB in {len(texts)} texts", flush=True)
    for model in models:
        ref = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
        ref.no_truncation()
        ref.no_padding()
        for flags in (0, 1, 2):  # plain call, with special tokens added, text as data
            ref.encode_special_tokens = flags == 2
            ours = subprocess.run([dump, model, str(flags)], input=lines, capture_output=True,
                                  check=True)
            start = time.process_time()
            want = [e.ids for e in ref.encode_batch_fast(texts, add_special_tokens=flags == 1)]
            theirs = time.process_time() - start
            got = [json.loads(line) for line in ours.stdout.splitlines()]
            bad = [i for i in range(len(texts)) if got[i] != want[i]]
            seconds = float(ours.stderr.split()[1])
            print(f"{model} flags {flags}: {len(bad)} of {len(texts)} texts differ; "
                  f"{size / seconds / 1e6:.1f} MB/s against {size / theirs / 1e6:.1f} MB/s, "
                  f"ratio {theirs / seconds:.2f}", flush=True)
            for i in bad[:3]:
                print("   ", ascii(texts[i])[:300])
            failed += len(bad)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
