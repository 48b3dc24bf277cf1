#!/usr/bin/env python3
"""Development check, not part of `make check`: every part of tokenizer.json against the `tokenizers` package.

    python3 tests/dev/fuzz_tokenizers.py build/pesc [--seed N] [--variants N] [--texts N] [--only WORD] [--keep DIR]

Small tokenizers are made of every normalizer, pre-tokenizer, post-processor, decoder and flag, alone and
in random combination, with merges that cross every boundary that a pre-tokenizer may set. `pesc data
encode` and `decode` must give the package's ids and texts for nasty texts, or refuse the file with exit
status 7, which is listed. Prints what differs; the exit status is 0 when nothing does.
"""
import argparse
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata

os.environ.update(TOKENIZERS_PARALLELISM="false", RUST_BACKTRACE="0")
from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

SCRIPTS = [(0x20, 0x7F), (0x20, 0x7F), (0x61, 0x7B), (0x30, 0x3A), (0x80, 0x250), (0x250, 0x370),
           (0x370, 0x600), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070),
           (0x2070, 0x2700), (0x3000, 0x3400), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xFB00, 0xFB50),
           (0xFE00, 0xFF00), (0xFF00, 0xFFE0), (0x1F000, 0x1FB00), (0x1D400, 0x1D800), (1, 0x20)]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u0085", "\u2028", "\u200b", "\u200d",
          "\u180e", "\ufeff", "\u2003", "\x1c", "\x0b", "\u2581", "\u2581\u2581", " \u2581", "\u2581 "]
PIECES = ["the", "The", "THE", "and", "ing", "er", "hello", "Hello", "world", "I'm", "don't", "WE'LL", "it's", "x2",
          "123", "12345", "3.14", "1,000", "\u00b2\u00bd", "\u0663\u0664", "...", "--", "-", "(", ")", "$", "+", "~",
          "e\u0301", "\u00e9", "E\u0301", "\u1ea0\u0301", "a\u0328\u0301", "\u1100\u1161\u11a8", "\uac00\u11a8",
          "\u212b", "\ufb01", "\u0130", "\u03a3", "\u03a3\u03a3", "\u01c5", "\u0345", "\u20dd", "\u0f73", "\u0958",
          "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U0001f44d\U0001f3fd",
          "\u4e2d\u6587", "\u3042\u308a", "\ud55c\uad6d\uc5b4", "<0x0A>", "<0x41>", "<0x", "\x00", "\ufffd",
          "</w>", "##", "_", "__init__", "for (int i=0;i<n;i++)", "x://a.b/c?d=e", "\u2581the", "the\u2581"]
ADDED = ["<s>", "</s>", "<unk>", "<a>", "<A>", "<|x|>", "<|x|>y", "tok", "tok tok", "Caf\u00e9", "cafe\u0301", " lead",
         "trail ", "\u2581sp", "\u00c5", "A", "1", "\n", "  ", "<\u00fcml>", "\u4e2d", "[MASK]", "\U0001f468\u200d"]


def mixture(rng, added):
    out = ""
    for _ in range(rng.randint(0, 14)):
        r = rng.random()
        if r < 0.25:
            out += rng.choice(SPACES)
        elif r < 0.55:
            out += rng.choice(PIECES)
        elif r < 0.7:
            out += rng.choice(added or ["x"])
        elif r < 0.74:
            out += rng.choice(PIECES + SPACES) * rng.randint(2, 70)
        else:
            low, high = rng.choice(SCRIPTS)
            out += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 6)))
    # versions of Unicode differ: characters that any of them lacks are left out
    newer = {0x9FE, 0xD00, 0xC04, 0x32FF, 0x1F16C, *range(0xAFA, 0xB00), 0xC3C, 0xD3B, 0xD3C}
    return "".join(c for c in out if unicodedata.category(c) not in ("Cn", "Cs", "Co") and ord(c) not in newer)


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT4 = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
        r"|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
             r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_LLM = ["[\r\n]", r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u0370-\u0373\u0376\u0377\u1e00-\u1f15\uff21-\uff3a]+",
                r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
DEEPSEEK3_CJK = "[一-龥぀-ゟ゠-ヿ]+"
REGEXES = [GPT2, GPT4, LLAMA3, QWEN, O200K, DEEPSEEK3, DEEPSEEK3_CJK, *DEEPSEEK_LLM,
           r"\p{N}", r"\p{N}{1,3}", r"\d{1,3}(?=(?:\d{3})*\b)", r"\s+|\S+", r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\w+|[^\w\s]+",
           r"[\s\S]", r"\n+", r"(?=[A-Z])", r"(?<=\d)(?=\D)", r"\p{Han}+", r"[\p{P}\p{S}]", r"x*", r"^.", r".$", r"\A\s+", r"\s+\z",
           r"[[:alpha:]]+", r"[[:punct:]]", r"\R", r"\X", r"(a)\1", r"[\u4e00-\u9fff]+", r"\p{Alphabetic}+", r"\p{L}\p{M}*+",
           r"(?i)the|and", r"\h+", r"[\w-]+", r"[^\S\n]+", r"[a-z&&[^e]]+", r"(?>a+)b", r"\p{IsL}+", r"\p{Letter}+", r"\p{Greek}+",
           r"\p{Any}", r"\p{Emoji}", r"[^\p{L}]+", r"\PL+", r"\P{L}+", r"\p{^L}+", r"(?s:.)+", r"(?m:.)+", r"(?x: a b )", r"\p{Lu}?\p{Ll}+",
           r"[\r\n]+", r"\x{41}", r"\x41", r"\t", r"\e", r"a{,2}", r"a{2,}?", r"a{2}+", r"(?:ab)??", r"\Z", r"\b", r"\B", r"\G", r"\K", r"\Q", r"\N", r"\O", r"\H",
           r"[\d\-x]", r"[a-\d]", r"[]a]", r"[-a]", r"[a-]", r"[^-a]", r"\u0041", r"[\x{1F300}-\x{1F64F}]", r"\p{So}", r"\p{Sc}", r"\p{Zs}+", r"\p{Cc}",
           r"\p{Script=Han}+", r"\p{Hiragana}|\p{Katakana}", r"\p{L&}+", r"\p{LC}+", r"\p{C}", r"\p{Cf}", r"(?i:É)+", r"(?i:ß)", r"(?i:ss)", r"(?i:k)", r"(?i:[k-s])+", r"(?i:σ)", r"(?i:ǆ)", r"(?i)ﬁ", r"(?i)fi"]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def split(pattern, behavior, invert):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def byte_level(prefix=False, regex=True, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}


def sequence(kind, parts):
    return {"type": "Sequence", kind: parts}


NORMALIZERS = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")] + [
    {"type": "Strip", "strip_left": a, "strip_right": b} for a in (True, False) for b in (True, False)] + [
    {"type": "Prepend", "prepend": "\u2581"}, {"type": "Prepend", "prepend": "xy"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    {"type": "Replace", "pattern": {"String": "aa"}, "content": "a"},
    {"type": "Replace", "pattern": {"String": "e"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": r"\s"}, "content": "$1"},
    {"type": "Replace", "pattern": {"Regex": r"[\p{Mn}]"}, "content": ""},
    {"type": "Replace", "pattern": {"String": "``"}, "content": "\""},
    {"type": "ByteLevel"}]
# alone only: behind an insertion at the very start the package's other parts go astray
ODD_NORMALIZERS = [
    {"type": "Prepend", "prepend": ""}, {"type": "Replace", "pattern": {"String": ""}, "content": "-"},
    {"type": "Replace", "pattern": {"Regex": r"x*"}, "content": "-"},
    {"type": "Nmt"}, {"type": "Precompiled", "precompiled_charsmap": ""},
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
     "lowercase": True}]
PLAIN_NORMALIZERS = [n for n in NORMALIZERS if n["type"] != "Strip"]  # on which the package panics at times
PRE = [byte_level(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)] + [
    {"type": "Digits", "individual_digits": a} for a in (True, False)] + [
    {"type": "Punctuation", "behavior": b} for b in BEHAVIORS] + [
    {"type": "Punctuation"}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
    {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "CharDelimiterSplit", "delimiter": " "},
    {"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 5}] + [
    {"type": "Metaspace", "replacement": r, "prepend_scheme": p, "split": s}
    for r in ("\u2581", "_") for p in ("always", "first", "never") for s in (True, False)] + [
    {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}] + [
    {"type": "Metaspace", "replacement": "\u2581", "str_rep": "\u2581", "add_prefix_space": True,
     "prepend_scheme": "first"},
    {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": False, "prepend_scheme": "never"}] + [
    split({"String": s}, b, i) for s in ("-", "the", " ", "\u2581", "--") for b in BEHAVIORS for i in (True, False)] + [
    split({"Regex": r}, "Isolated", False) for r in REGEXES] + [
    split({"Regex": r}, b, i) for r in (r"\s+", LLAMA3, r"x*", r"\d", r"[A-Z]|-", r"(?=[A-Z])") for b in BEHAVIORS
    for i in (True, False)] + [split({"String": ""}, b, False) for b in BEHAVIORS]
MORE_PRE = [
    sequence("pretokenizers", [split({"Regex": LLAMA3}, "Isolated", False), byte_level(False, False)]),
    sequence("pretokenizers", [split({"Regex": GPT4}, "Removed", True), byte_level(False, False)]),
    sequence("pretokenizers", [{"type": "Digits", "individual_digits": True}, byte_level()]),
    sequence("pretokenizers", [split({"Regex": r"\p{N}{1,3}"}, "Isolated", False),
                               split({"Regex": DEEPSEEK3_CJK}, "Isolated", False),
                               split({"Regex": DEEPSEEK3}, "Isolated", False), byte_level(False, False)]),
    sequence("pretokenizers", [split({"Regex": r}, "Isolated", False) for r in DEEPSEEK_LLM]
             + [{"type": "Digits", "individual_digits": True}, byte_level(False, False)]),
    sequence("pretokenizers", [{"type": "Whitespace"}, {"type": "Punctuation"}, {"type": "Digits",
                                                                                    "individual_digits": False}]),
    sequence("pretokenizers", [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581",
                                                             "prepend_scheme": "always", "split": True}]),
    sequence("pretokenizers", [split({"String": " "}, "MergedWithPrevious", False), byte_level(True, False)]),
    sequence("pretokenizers", [byte_level(), {"type": "Digits", "individual_digits": True}]),
    sequence("pretokenizers", []), sequence("pretokenizers", [byte_level(), byte_level()])]
DECODERS = [None, byte_level(), {"type": "Fuse"}, {"type": "ByteFallback"}] + [
    {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": p, "split": s}
    for p in ("always", "first", "never") for s in (True, False)] + [
    {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}] + [
    {"type": "Strip", "content": " ", "start": a, "stop": b} for a in (0, 1, 3) for b in (0, 1, 2)] + [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": r"[\u2581 ]+"}, "content": " "},
    {"type": "BPEDecoder", "suffix": "</w>"}, {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": False},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}] + [
    sequence("decoders", d) for d in (
        [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
         {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
        [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
         {"type": "Fuse"}],
        [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always",
                                    "split": True}],
        [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
         {"type": "Strip", "content": " ", "start": 1, "stop": 1}],
        [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "the"}, "content": "THE"}],
        [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 2}],
        [byte_level(), {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
        [byte_level(), {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}],
        [{"type": "Fuse"}, byte_level()], [{"type": "Fuse"}, {"type": "ByteFallback"}],
        [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}, {"type": "Fuse"}],
        [{"type": "Strip", "content": "\u2581", "start": 1, "stop": 0}, {"type": "ByteFallback"},
         {"type": "Strip", "content": "e", "start": 1, "stop": 1}],
        [])]


def trained(texts, size):
    tok = Tokenizer(models.BPE())
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, limit_alphabet=size // 3, show_progress=False))
    model = json.loads(tok.to_str())["model"]
    return list(model["vocab"]), [tuple(m) for m in model["merges"]]


def model_of(rng, base, byte):
    tokens, merges = base
    names = ["<unk>", "<s>", "</s>"]
    fallback = rng.random() < (0.05 if byte else 0.5)
    if fallback:
        names += [f"<0x{b:02X}>" for b in range(256)]
    names += [t for t in tokens if t not in names]
    pairs = merges
    if rng.random() < 0.3:  # tokens no merge spells
        extra = [t + u for t, u in zip(rng.sample(tokens, 80), rng.sample(tokens, 80))]
        names += [t for t in dict.fromkeys(extra) if t not in set(names)]
    model = {"type": "BPE", "dropout": rng.choice([None, None, None, 0.0]),
             "unk_token": "<unk>" if fallback or rng.random() < 0.6 else None,
             "continuing_subword_prefix": rng.choice([None, None, ""]),
             "end_of_word_suffix": rng.choice([None, None, ""]), "fuse_unk": rng.random() < 0.5,
             "byte_fallback": fallback, "ignore_merges": rng.random() < 0.3,
             "vocab": {t: i for i, t in enumerate(names)},
             "merges": [list(p) for p in pairs] if rng.random() < 0.5 else [" ".join(p) for p in pairs]}
    if any(" " in a + b for a, b in pairs):
        model["merges"] = [list(p) for p in pairs]
    return model


def added_of(rng, model):
    out, taken = [], {}
    top = len(model["vocab"])
    for content in rng.sample(ADDED, rng.randint(0, 9)):
        at = model["vocab"].get(content)
        if at is None:
            at, top = top, top + 1
        taken[at] = content
        flag = {f: rng.random() < 0.3 for f in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        out.append({"id": at, "content": content, **flag})
    return sorted(out, key=lambda a: a["id"])


def template(rng):
    def ids(*names):
        return {n: {"id": n, "ids": [{"<unk>": 0, "<s>": 1, "</s>": 2}[n]], "tokens": [n]} for n in names}
    bos, eos, a = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}, {
        "Sequence": {"id": "A", "type_id": 0}}
    pair = [a, {"Sequence": {"id": "B", "type_id": 1}}]
    one = {"type": "TemplateProcessing", "pair": pair}
    return rng.choice([
        {**one, "single": [bos, a], "special_tokens": ids("<s>")},
        {**one, "single": [a, eos], "special_tokens": ids("</s>")},
        {**one, "single": [bos, bos, a, eos], "special_tokens": ids("<s>", "</s>")},
        {**one, "single": [a], "special_tokens": {}},
        sequence("processors", [byte_level(), {**one, "single": [bos, a], "special_tokens": ids("<s>")}]),
        sequence("processors", [{**one, "single": [bos, a], "special_tokens": ids("<s>")},
                                {**one, "single": [a, eos], "special_tokens": ids("</s>")}]),
        byte_level(), byte_level(True, True, False), None,
        {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
        {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
         "add_prefix_space": True}])


def variants(rng, count):
    def pick(options, share):
        return rng.choice(options) if rng.random() < share else None
    fixed = [("norm", n, None, None) for n in NORMALIZERS + ODD_NORMALIZERS] + [("pre", None, p, None) for p in PRE + MORE_PRE] + [
        ("dec", None, None, d) for d in DECODERS] + [("dec", None, byte_level(False, rng.random() < 0.5), d)
                                                    for d in DECODERS]
    for what, n, p, d in fixed:
        yield what, n, p, d
    for _ in range(count):
        n = pick(PLAIN_NORMALIZERS, 0.5)
        if rng.random() < 0.3:
            n = sequence("normalizers", rng.sample(PLAIN_NORMALIZERS, rng.randint(0, 3)))
        p = rng.choice([None, rng.choice(PRE), rng.choice(MORE_PRE),
                        sequence("pretokenizers", rng.sample(PRE, rng.randint(1, 3)))])
        yield "mix", n, p, rng.choice(DECODERS)


def uses_bytes(part):
    return part is not None and '"ByteLevel"' in json.dumps(part)


def first_difference(a, b):
    return next(i for i in range(len(a)) if a[i] != b[i])


def both_ids(ref, text):
    try:
        return {"ids": ref.encode(text).ids, "plain": ref.encode(text, add_special_tokens=False).ids}
    except BaseException:  # a panic
        return None


def text_of(ref, ids, skip):
    try:
        return ref.decode(ids, skip_special_tokens=skip)
    except BaseException:
        return None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("pesc")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--variants", type=int, default=300)
    ap.add_argument("--texts", type=int, default=300)
    ap.add_argument("--only", default="")
    ap.add_argument("--keep")
    args = ap.parse_args()
    rng = random.Random(args.seed)
    corpus = [mixture(rng, ADDED).replace("\0", "") for _ in range(3000)]  # a token with a zero byte is refused
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bases = {False: trained([t for s in corpus for t in (s, s.replace(" ", "\u2581"), s.lower())], 1500),
             True: trained(["".join(p for p, _ in as_bytes.pre_tokenize_str(s)) for s in corpus], 1500)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bases[True] = (list(dict.fromkeys(alphabet + bases[True][0])), bases[True][1])
    tmp = args.keep or tempfile.mkdtemp()
    done, failed, refused, bad = 0, 0, collections.Counter(), 0
    for number, (what, norm, pre, dec) in enumerate(variants(rng, args.variants)):
        byte = uses_bytes(pre) or uses_bytes(norm)
        model = model_of(rng, bases[byte], byte)
        added = added_of(rng, model)
        post = template(rng)
        root = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": norm,
                "pre_tokenizer": pre, "post_processor": post, "decoder": dec, "model": model}
        texts = [mixture(rng, [a["content"] for a in added]) for _ in range(args.texts)]
        top = len(model["vocab"]) + len(added)
        if args.only and args.only not in json.dumps([what, norm, pre, dec]):
            continue
        label = json.dumps({"variant": number, "norm": norm, "pre": pre, "dec": dec,
                            "model": {k: v for k, v in model.items() if v and k not in ("vocab", "merges", "type")},
                            "added": [[a["content"], a["id"], *(k for k in a if a[k] is True)] for a in added],
                            "post": post})
        where = os.path.join(tmp, str(number))
        os.makedirs(where, exist_ok=True)
        with open(os.path.join(where, "tokenizer.json"), "w") as f:
            json.dump(root, f)

        def pesc(command, lines, *options):
            run = subprocess.run([args.pesc, "data", command, where, *options], capture_output=True,
                                 input="".join(json.dumps(x) + "\n" for x in lines).encode())
            return run.returncode, [json.loads(x) for x in run.stdout.splitlines()], run.stderr.decode()
        status, got, why = pesc("encode", texts)
        try:
            ref = Tokenizer.from_str(json.dumps(root))
        except BaseException as e:  # the package refuses it too, or should not have
            if status == 0 and not isinstance(e, Exception):
                failed += 1
            elif status == 0:
                bad += 1
                print(f"ONLY THEY REFUSE: {e}\n   {label}"[:900])
            else:
                refused[f"both: {why.strip().split('tokenizer.json: ')[-1]} ({e})"[:150]] += 1
            continue
        if status == 7:
            refused[why.strip().split("tokenizer.json: ")[-1][:150]] += 1
            continue
        done += 1
        want = []
        for t in texts:
            # what has panicked once is not to be trusted any more
            want.append(None if None in want else both_ids(ref, t))
        failed += None in want
        if not status:
            want = [g if w is None else w for w, g in zip(want, got)]  # where the package panics
        if status or got != want:
            bad += 1
            print(f"ENCODING DIFFERS: status {status} {why}\n   {label}"[:900])
            if not status:
                shown = sorted((i for i in range(len(want)) if got[i] != want[i]), key=lambda i: len(texts[i]))[:3]
                total = sum(got[i] != want[i] for i in range(len(want)))
                for i in shown:
                    ours, theirs = got[i]["ids"], want[i]["ids"]
                    at = next((k for k in range(len(ours)) if ours[:k + 1] != theirs[:k + 1]), len(ours))
                    print(f"   {total}: {ascii(texts[i])[:300]}")
                    for who, ids in ("ours  ", ours), ("theirs", theirs):
                        print(f"      {who} {at}: {[ref.id_to_token(x) for x in ids[max(at - 2, 0):at + 6]]}")
            if status:
                continue
        # a normalized added token is decoded as its content, as the package did before version 0.23
        other = {a["id"] for a in added if ref.id_to_token(a["id"]) != a["content"]}
        known = [i for i in range(top) if ref.id_to_token(i) is not None and i not in other]
        lists = [[i for i in w["ids"] if i not in other] for w in want] + [[rng.choice(known) for _ in range(rng.randint(0, 12))] for _ in texts]
        for options in ([], ["--skip-special"]):
            status, got, why = pesc("decode", lists, *options)
            got = [g["text"] for g in got]
            want_text = [text_of(ref, x, bool(options)) for x in lists]
            failed += sum(w is None for w in want_text)
            want_text = [g if w is None else w for w, g in zip(want_text, got)]
            if status or got != want_text:
                bad += 1
                print(f"DECODING DIFFERS {options}: status {status} {why}\n   {label}"[:900])
                if not status:
                    i = first_difference(got, want_text)
                    print(f"   {[ref.id_to_token(x) for x in lists[i]]}\n      ours   {ascii(got[i])}\n"
                          f"      theirs {ascii(want_text[i])}"[:900])
        if not args.keep:
            shutil.rmtree(where)
    if not args.keep:
        shutil.rmtree(tmp)
    for text, n in sorted(refused.items()):
        print(f"refused {n}: {text}")
    print(f"{done} tokenizers compared, {bad} differences; the package panicked {failed} times")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
