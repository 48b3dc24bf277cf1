#include "config.h"
#include "datasets/template_form.h"

#include "core/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* The ways to write one template differ in quotes, white space and how texts are joined; this is
 * taken out before texts are compared. What stands between tags stays as Jinja would leave it with
 * trim_blocks and lstrip_blocks, which models' templates are rendered with. */
struct canon {
    struct buf out;
    const char *s;    /* what is left */
    int strip, block; /* the tag before: ended in a minus, was a block or a comment */
    int line;         /* nothing but blanks since the line began */
    struct pesc_error *err;
};

static int between(struct canon *c, size_t n, int minus, int block)
{
    const char *from = c->s, *to = c->s + n;
    if (c->strip) {
        while (from < to && isspace((unsigned char)*from))
            from++;
    } else if (c->block && from < to && *from == '\n') {
        from++;
        c->line = 1;
    }
    if (minus) {
        while (to > from && isspace((unsigned char)to[-1]))
            to--;
    } else if (block) {
        const char *at = to;
        while (at > from && (at[-1] == ' ' || at[-1] == '\t'))
            at--;
        if (at > from ? at[-1] == '\n' : c->line)
            to = at;
    }
    c->s += n;
    return buf_put(&c->out, from, (size_t)(to - from), c->err);
}

/* From behind the opening to behind the closing braces. */
static int inside(struct canon *c, char kind)
{
    char quote = 0, close = kind == '{' ? '}' : kind;
    for (; *c->s; c->s++) {
        char ch = *c->s;
        if (quote && ch == '\\' && c->s[1]) {
            ch = *++c->s;
            if (ch == 'n')
                ch = '\n';
            else if (ch != quote)
                TRY(buf_put(&c->out, "\\", 1, c->err));
        } else if (quote) {
            if (ch == quote) {
                quote = 0;
                ch = '\'';
            }
        } else if (ch == '\'' || ch == '"') {
            quote = ch;
            ch = '\'';
        } else if (isspace((unsigned char)ch)) {
            continue;
        } else {
            const char *end = ch == '-' ? c->s + 1 : c->s;
            if (*end == close && end[1] == '}') {
                c->strip = ch == '-';
                c->block = kind == '%';
                c->line = 0;
                c->s = end + 2;
                return buf_put(&c->out, end, 2, c->err);
            }
        }
        TRY(buf_put(&c->out, &ch, 1, c->err));
    }
    return 0;
}

static void take_out(struct buf *b, const char *what)
{
    size_t n = strlen(what), kept = 0;
    for (size_t i = 0; i < b->n;)
        if (b->n - i >= n && !memcmp(b->p + i, what, n))
            i += n;
        else
            b->p[kept++] = b->p[i++];
    b->n = kept;
}

/* message['role'] as message.role */
static void dotted(struct buf *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->n;) {
        size_t n = 0;
        if (b->n - i > 2 && b->p[i] == '[' && b->p[i + 1] == '\'')
            while (i + 2 + n < b->n &&
                   (isalnum((unsigned char)b->p[i + 2 + n]) || b->p[i + 2 + n] == '_'))
                n++;
        if (n && b->n - i - n >= 4 && b->p[i + 2 + n] == '\'' && b->p[i + 3 + n] == ']') {
            b->p[kept++] = '.';
            memmove(b->p + kept, b->p + i + 2, n);
            kept += n;
            i += n + 4;
        } else {
            b->p[kept++] = b->p[i++];
        }
    }
    b->n = kept;
}

static int canonical(struct canon *c)
{
    for (c->line = 1; *c->s;) {
        const char *open = c->s;
        while ((open = strchr(open, '{')) && open[1] != '{' && open[1] != '%' && open[1] != '#')
            open++;
        if (!open)
            open = c->s + strlen(c->s);
        char kind = *open ? open[1] : 0;
        int minus = kind && open[2] == '-';
        TRY(between(c, (size_t)(open - c->s), minus, kind == '%' || kind == '#'));
        if (!kind)
            break;
        c->s += 2 + minus;
        if (kind == '#') {
            const char *end = strstr(c->s, "#}");
            c->strip = end && end > c->s && end[-1] == '-';
            c->block = 1;
            c->s = end ? end + 2 : c->s + strlen(c->s);
        } else {
            TRY(buf_put(&c->out, kind == '%' ? "{%" : "{{", 2, c->err));
            TRY(inside(c, kind));
        }
    }
    dotted(&c->out);
    take_out(&c->out, "'+'");
    take_out(&c->out, "+''");
    take_out(&c->out, "''+");
    take_out(&c->out, "{%ifnotadd_generation_promptisdefined%}{%setadd_generation_prompt=false%}"
                      "{%endif%}");
    while (c->out.n > 0 && isspace((unsigned char)c->out.p[c->out.n - 1]))
        c->out.n--;
    return buf_put(&c->out, "", 1, c->err);
}

#define TURNS                                                                                      \
    "{%if(message.role=='user')!=(loop.index0%2==0)%}{{raise_exception('Conversation roles "       \
    "must alternate user/assistant/user/assistant/...')}}{%endif%}"
#define CHATML_LOOP                                                                                \
    "{{'<|im_start|>'+message.role+'\n'+message.content+'<|im_end|>\n'}}{%endfor%}"                \
    "{%ifadd_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}"
#define CHATML_DEFAULT(text)                                                                       \
    "{%formessageinmessages%}{%ifloop.firstandmessages[0].role!='system'%}{{'<|im_start|>"         \
    "system\n" text "<|im_end|>\n'}}{%endif%}" CHATML_LOOP
#define LLAMA3_LOOP                                                                                \
    "{%setloop_messages=messages%}{%formessageinloop_messages%}{%setcontent='<|start_header_id|>'" \
    "+"                                                                                            \
    "message.role+'<|end_header_id|>\n\n'+message.content|trim+'<|eot_id|>'%}{%ifloop.index0==0%}" \
    "{%setcontent=bos_token+content%}{%endif%}{{content}}{%endfor%}"
#define LLAMA3_OPEN "{{'<|start_header_id|>assistant<|end_header_id|>\n\n'}}"
#define ZEPHYR(role, how)                                                                          \
    "{%" how "ifmessage.role=='" role "'%}{{'<|" role "|>\n'+message.content+"                     \
    "eos_token}}\n"
#define PHI35(test)                                                                                \
    "{%formessageinmessages%}{%ifmessage.role=='system'" test                                      \
    "%}{{'<|system|>\n'+message.content+"                                                          \
    "'<|end|>\n'}}{%elifmessage.role=='user'%}{{'<|user|>\n'+message.content+'<|end|>\n'}}"        \
    "{%elifmessage.role=='assistant'%}{{'<|assistant|>\n'+message.content+'<|end|>\n'}}{%endif%}"  \
    "{%endfor%}{%ifadd_generation_prompt%}{{'<|assistant|>\n'}}{%else%}{{eos_token}}{%endif%}"
#define MISTRAL(answer)                                                                            \
    "{{bos_token}}{%formessageinmessages%}" TURNS "{%ifmessage.role=='user'%}{{'[INST] '+message." \
    "content+' [/INST]'}}{%elifmessage.role=='assistant'%}{{message.content+eos_token" answer      \
    "}}{%else%}{{raise_exception('Only user and assistant roles are supported!')}}{%endif%}"       \
    "{%endfor%}"

/* Short templates are known as a whole. */
static const struct {
    const char *id, *text;
} whole[] = {
    {"chatml", "{%formessageinmessages%}" CHATML_LOOP},
    {"qwen2", CHATML_DEFAULT("You are a helpful assistant.")},
    {"smollm2", CHATML_DEFAULT("You are a helpful AI assistant")},
    {"smollm2-named",
     CHATML_DEFAULT("You are a helpful AI assistant named SmolLM, trained by Hugging Face")},
    {"llama2",
     "{%ifmessages[0].role=='system'%}{%setloop_messages=messages[1:]%}{%setsystem_message="
     "messages[0].content%}{%else%}{%setloop_messages=messages%}{%setsystem_message=false%}"
     "{%endif%}{%formessageinloop_messages%}" TURNS
     "{%ifloop.index0==0andsystem_message!=false%}{%setcontent='<<SYS>>\n'+system_message+'\n"
     "<</SYS>>\n\n'+message.content%}{%else%}{%setcontent=message.content%}{%endif%}"
     "{%ifmessage.role=='user'%}{{bos_token+'[INST] '+content.strip()+' [/INST]'}}"
     "{%elifmessage.role=='assistant'%}{{' '+content.strip()+' '+eos_token}}{%endif%}{%endfor%}"},
    {"llama3", LLAMA3_LOOP "{%ifadd_generation_prompt%}" LLAMA3_OPEN "{%endif%}"},
    {"llama3", LLAMA3_LOOP LLAMA3_OPEN},
    {"mistral", MISTRAL("")},
    {"mistral-v0.1", MISTRAL("+' '")},
    {"zephyr", "{%formessageinmessages%}" ZEPHYR("user", "") ZEPHYR("system", "el")
                   ZEPHYR("assistant", "el") "{%endif%}{%ifloop.lastandadd_generation_prompt%}"
                                             "{{'<|assistant|>'}}\n{%endif%}{%endfor%}"},
    {"phi3",
     "{{bos_token}}{%formessageinmessages%}{%if(message.role=='user')%}{{'<|user|>\n'+message."
     "content+'<|end|>\n<|assistant|>\n'}}{%elif(message.role=='assistant')%}{{message.content+"
     "'<|end|>\n'}}{%endif%}{%endfor%}"},
    {"phi3.5", PHI35("andmessage.content")},
    {"phi3.5", PHI35("")},
    {"gemma",
     "{{bos_token}}{%ifmessages[0].role=='system'%}{{raise_exception('System role not supported')"
     "}}{%endif%}{%formessageinmessages%}" TURNS
     "{%if(message.role=='assistant')%}{%setrole='model'%}{%else%}{%setrole=message.role%}"
     "{%endif%}{{'<start_of_turn>'+role+'\n'+message.content|trim+'<end_of_turn>\n'}}{%endfor%}"
     "{%ifadd_generation_prompt%}{{'<start_of_turn>model\n'}}{%endif%}"},
};

/* Long ones by what sets them apart, and by their length. */
enum { NEEDLES = 6 };
static const struct {
    const char *id;
    size_t from, to;
    const char *needles[NEEDLES];
} parts[] = {
    {"qwen2.5",
     1750,
     1850,
     {"{{'<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
      "<|im_end|>\n'}}",
      "(message.role=='assistant'andnotmessage.tool_calls)", "{{tool_call.arguments|tojson}}",
      "{{'\n<tool_response>\n'}}"}},
    {"qwen3",
     2700,
     3100,
     {"{{messages[0].content+'\n\n'}}", "{%ifloop.index0>ns.last_query_index%}",
      "{%ifloop.lastor(notloop.lastandreasoning_content)%}",
      "{%ifenable_thinkingisdefinedandenable_thinkingisfalse%}{{'<think>\n\n</think>\n\n'}}",
      "{{'\n<tool_response>\n'}}"}},
    {"minimind",
     2500,
     3100,
     {"{{messages[0].content+'\n\n'}}",
      "{{'<|im_start|>'+message.role+'\n<think>\n'+reasoning_content.strip('\n')+'\n</think>\n\n'+"
      "content.lstrip('\n')}}",
      "{%ifopen_thinkingisdefinedandopen_thinkingistrue%}{{'<think>\n'}}{%else%}"
      "{{'<think>\n\n</think>\n\n'}}",
      "{{'\n<tool_response>\n'}}"}},
    {"llama3.1",
     3050,
     3200,
     {"{%setdate_string='26 Jul 2024'%}", "{{'Cutting Knowledge Date: December 2023\n'}}",
      "builtin_tools", "{{'Given the following functions, please respond with a JSON",
      "{%ifmessage.contentismappingormessage.contentisiterable%}"}},
    {"llama3.2",
     2600,
     2800,
     {"{%setdate_string=strftime_now('%d %b %Y')%}{%else%}{%setdate_string='26 Jul 2024'%}",
      "{{'Cutting Knowledge Date: December 2023\n'}}",
      "{{'Given the following functions, please respond with a JSON",
      "{%ifmessage.contentismappingormessage.contentisiterable%}"}},
    {"smollm3",
     2650,
     2850,
     {"{{'Knowledge Cutoff Date: June 2025\n'}}{{'Reasoning Mode: '+reasoning_mode+'\n\n'}}",
      "{{'## Custom Instructions\n\n'}}", "<think>\n\n</think>\n'+content.lstrip('\n')"}},
    {"smollm3-dated",
     4000,
     4400,
     {"{{'Knowledge Cutoff Date: June 2025\n'}}{%settoday=strftime_now('%d %B %Y')%}",
      "{%if'/system_override'insystem_message%}", "<think>\n\n</think>\n'+content.lstrip('\n')",
      "{%ifxml_toolsorpython_toolsortools%}"}},
    {"mistral-nemo",
     2400,
     2520,
     {"{%ifloop.lastandsystem_messageisdefined%}{{'[INST]'+system_message+'\n\n'+message.content+"
      "'[/INST]'}}",
      "{{'[INST]'+message.content+'[/INST]'}}", "{{message.content+eos_token}}",
      "{{'[AVAILABLE_TOOLS]['}}"}},
};

static int matches(size_t i, const char *text, size_t n)
{
    if (n < parts[i].from || n > parts[i].to)
        return 0;
    for (int k = 0; k < NEEDLES && parts[i].needles[k]; k++)
        if (!strstr(text, parts[i].needles[k]))
            return 0;
    return 1;
}

const struct template *template_recognise(const char *text)
{
    struct pesc_error err = {0};
    struct canon c = {.s = text, .err = &err};
    const char *id = NULL;
    if (canonical(&c) == 0) {
        for (size_t i = 0; i < sizeof whole / sizeof *whole && !id; i++)
            if (!strcmp(whole[i].text, c.out.p))
                id = whole[i].id;
        for (size_t i = 0; i < sizeof parts / sizeof *parts && !id; i++)
            if (matches(i, c.out.p, c.out.n))
                id = parts[i].id;
    }
    buf_free(&c.out);
    return id ? template_find(id) : NULL;
}

enum { CONFIG_CAP = 64 << 20, JINJA_CAP = 1 << 20 };

/* The text, or of several named ones the default. */
static const char *text_of(const json_t *config)
{
    const json_t *v = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default"))
            return json_string_value(json_object_get(item, "template"));
    }
    return json_string_value(v);
}

int template_of_model(const struct tokenizer *t, const struct template **out,
                      struct pesc_error *err)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json",
                                        "chat_template.json"};
    char dir[PATH_CAP], path[PATH_CAP];
    *out = NULL;
    snprintf(dir, sizeof dir, "%s", t ? tokenizer_path(t) : "");
    char *slash = strrchr(dir, '/');
    if (!slash)
        return 0;
    *slash = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *config = NULL;
        char *jinja = NULL;
        size_t n;
        TRY(path_join(path, dir, names[i], err));
        if (!path_exists(path))
            continue;
        if (i == 0)
            TRY(file_read(path, JINJA_CAP, &jinja, &n, err));
        else if (!(config = json_file(path, CONFIG_CAP, PESC_E_TOK_JSON, err)))
            return -1;
        const char *text = jinja ? jinja : text_of(config);
        if (text)
            *out = template_recognise(text);
        int unknown = text && !*out;
        free(jinja);
        json_decref(config);
        if (unknown)
            return FAIL(err, TOK_TEMPLATE,
                        "%s: a chat template that is not known (it is not executed); choose with "
                        "--template one of %s, or a file",
                        path, template_ids());
        if (*out)
            return 0;
    }
    return 0;
}
