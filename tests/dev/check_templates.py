#!/usr/bin/env python3
"""Compares our chat templates with Jinja's rendering of the real ones.

usage: check_templates.py build/tests/dev/template_dump [MATERIAL [tokenizer_config.json ...]]
Needs jinja2 3.1 (settings as in transformers). The templates are those of the material that are
recognised, and short ones known from public models that stand here. Conversations are made at
random, with and without system texts, tools and function calls."""
import datetime
import json
import os
import random
import subprocess
import sys

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURNS = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('"
         "Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}")
CHATML = ("{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
DEFAULT = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
           "{{ '<|im_start|>system\nTEXT<|im_end|>\n' }}{% endif %}" + CHATML)
MISTRAL = ("{{ bos_token }}{% for message in messages %}" + TURNS +
           "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
           "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token SPACE}}"
           "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
           "{% endif %}{% endfor %}")
PUBLIC = {
    "chatml": "{% for message in messages %}" + CHATML,
    "qwen2": DEFAULT.replace("TEXT", "You are a helpful assistant."),
    "smollm2-named": DEFAULT.replace(
        "TEXT", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "llama2": r"{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
              r"{% set system_message = messages[0]['content'] %}{% else %}"
              r"{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
              r"{% for message in loop_messages %}" + TURNS +
              r"{% if loop.index0 == 0 and system_message != false %}{% set content = "
              r"'<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}"
              r"{% set content = message['content'] %}{% endif %}"
              r"{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + "
              r"' [/INST]' }}{% elif message['role'] == 'assistant' %}"
              r"{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}"
              "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
              "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
              "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
              "{% if add_generation_prompt %}"
              "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": MISTRAL.replace(" SPACE", ""),
    "mistral-v0.1": MISTRAL.replace("SPACE", "+ ' '"),
}


class Generation(Extension):
    """{% generation %} marks what is trained; for the text it is nothing."""
    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, "jinja2.ext.loopcontrols"])

    def fail(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = fail
    env.globals["strftime_now"] = lambda f: datetime.date(2024, 7, 26).strftime(f)
    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    return env


WORDS = ["blue", "two\nlines", " spaced  ", "café “q” & <b>", "谢谢 😀", "```\ncode\n```", "", "\n",
         "<|im_end|>", "[/INST]", "a\u00a0b", "{x}", "\t", "x\\n", "{bos}", "</s>"]


def text(rng, empty=True):
    while True:
        s = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(0, 5)))
        if empty or s.strip():
            return s


def value(rng, depth=0):
    kind = rng.randrange(8 if depth < 2 else 5)
    if kind == 0:
        return rng.choice([1, -7, 10**12, 0])
    if kind == 1:
        return rng.choice([1.5, 1e20, 1e-7, 0.1, 123456.789, 1e16, 0.0001, -2.0, 1234567890123456.0])
    if kind == 2:
        return rng.choice([True, False, None])
    if kind < 5:
        return text(rng)
    if kind == 5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice("abcxyz") + str(i): value(rng, depth + 1) for i in range(rng.randrange(3))}


def call(rng):
    return {"type": "function", "id": "abcdefghi",
            "function": {"name": rng.choice(["f", "get_weather"]),
                         "arguments": {"k%d" % i: value(rng) for i in range(rng.randrange(3))}}}


def tool(rng):
    return {"type": "function", "function": {
        "name": "get_weather", "description": text(rng),
        "parameters": {"type": "object", "properties": {"x": {"type": "string", "enum": ["a", "é"]},
                                                        "y": value(rng)}, "required": ["x"]}}}


def conversation(rng):
    with_tools = rng.random() < 0.3
    messages = []
    if rng.random() < 0.5:
        messages.append({"role": "system", "content": rng.choice(
            [text(rng), "Be kind.", "/no_think", "Be brief. /think ", "/system_override Hi"])})
    for _ in range(rng.randrange(1, 4)):
        messages.append({"role": "user", "content": text(rng)})
        if with_tools and rng.random() < 0.6:
            messages.append({"role": "assistant", "content": rng.choice(["", "Let me see."]),
                             "tool_calls": [call(rng) for _ in range(rng.choice([1, 1, 2]))]})
            for _ in range(rng.randrange(1, 3)):
                messages.append({"role": "tool", "content": text(rng)})
        thought = rng.choice(["", "", "<think>\nhm\n</think>\n\n", "<think>a</think>"])
        messages.append({"role": "assistant", "content": thought + text(rng)})
    if rng.random() < 0.1:
        messages[-1]["reasoning_content"] = "thinking\n"
    is_open = rng.random() < 0.4
    if is_open:
        messages.pop()
    return messages, [tool(rng) for _ in range(rng.randrange(1, 3))] if with_tools else None, is_open


def is_ours(name, line):
    """Where we put a system text for which the real template has no place: Mistral's."""
    messages = line["messages"]
    if messages[0]["role"] != "system":
        return False
    return name in ("mistral", "mistral-v0.1") or (
        name == "mistral-nemo" and messages[-1]["role"] != "user")


def templates(material):
    with open(os.path.join(material, "tok-golden-chat/chat_templates.json")) as f:
        found = json.load(f)
    for d in sorted(os.listdir(material)):
        path = os.path.join(material, d, "tokenizer_config.json")
        if os.path.exists(path):
            with open(path) as f:
                t = json.load(f).get("chat_template")
            if t:
                found[d] = t
    found.update(PUBLIC)
    for path in sys.argv[3:]:
        with open(path) as f:
            found[path] = json.load(f)["chat_template"]
    return found


def main():
    dump = sys.argv[1]
    material = sys.argv[2] if len(sys.argv) > 2 else "../shared/material"
    env, rng, bad = environment(), random.Random(1), 0
    for name, source in templates(material).items():
        compiled = env.from_string(source)
        lines, wants = [], []
        for _ in range(400):
            messages, tools, is_open = conversation(rng)
            bos, eos = "<s>", "</s>"
            lines.append({"text": source, "bos": bos, "eos": eos, "messages": messages,
                          "tools": tools, "add_generation_prompt": is_open})
            try:
                wants.append(compiled.render(messages=messages, tools=tools, bos_token=bos,
                                             eos_token=eos, add_generation_prompt=is_open,
                                             date_string="26 Jul 2024"))
            except (jinja2.exceptions.TemplateError, TypeError) as e:
                wants.append(e)
        out = subprocess.run([dump], input="".join(json.dumps(x) + "\n" for x in lines), text=True,
                             stdout=subprocess.PIPE, check=True).stdout.splitlines()
        got = [json.loads(x) for x in out]
        if "id" not in got[0]:
            print("%-45s not known" % name)
            continue
        equal = refused = 0
        differs = []
        for line, want, g in zip(lines, wants, got):
            if "error" in g or is_ours(g["id"], line):
                refused += 1
            elif not isinstance(want, str):
                differs.append((line, "error: %s" % want, g))
            elif want == g["text"]:
                equal += 1
            else:
                differs.append((line, want, g))
        print("%-45s %-14s %d equal, %d refused or ours, %d differ"
              % (name, got[0]["id"], equal, refused, len(differs)))
        bad += len(differs)
        for line, want, g in differs[:1]:
            print("   messages %r\n   want %r\n   got  %r" % (line["messages"], want, g["text"]))
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
