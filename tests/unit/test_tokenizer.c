/* The tokenizer's parts on small files: what each normalizer, pre-tokenizer, added-token flag and
 * decoder does. Expected values follow the reference library. */
#include "config.h"
#include "tests/unit/tok_make.h"

#include <time.h>

/* Pieces of text, parted by | in want: each is made a token and merges are ignored, so that a
 * piece cut elsewhere shows as other ids. Sections is normalizer and pre_tokenizer as JSON. */
static void pieces(struct maker *m, const char *sections, const char *text, const char *want)
{
    struct pesc_error err;
    json_t *root = small_model("", "", sections);
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    char expect[512] = "", *copy = strdup(want), *save = NULL;
    size_t at = 0;
    long id = 0;
    json_object_set_new(model, "ignore_merges", json_true());
    json_object_set_new(model, "unk_token", json_string("[unk]"));
    json_object_set_new(vocab, "[unk]", json_integer(id++));
    for (char *p = strtok_r(copy, "|", &save); p; p = strtok_r(NULL, "|", &save)) {
        if (!json_object_get(vocab, p))
            json_object_set_new(vocab, p, json_integer(id++));
        at += (size_t)snprintf(expect + at, sizeof expect - at, at ? " %d" : "%d",
                               (int)json_integer_value(json_object_get(vocab, p)));
    }
    free(copy);
    struct tokenizer *t = maker_open(m, root, &err);
    char shown[128];
    text_escape(shown, sizeof shown, text);
    if (!ok(encode_is(t, text, strlen(text), 0, expect), "pieces of %s", shown))
        diag("%s %s", sections, t ? "" : err.text);
    tokenizer_close(t);
}

#define PRE(x) "{'pre_tokenizer': " x "}"
#define SPLIT(pattern, behavior, invert)                                                           \
    PRE("{'type': 'Split', 'pattern': " pattern ", 'behavior': '" behavior "', 'invert': " invert  \
        "}")

static void test_pre_tokenizers(struct maker *m)
{
    static const char text[] = "the-final--countdown";
    static const char dash[] = "{'String': '-'}";
    static const struct {
        const char *behavior, *plain, *inverted;
    } split[] = {
        {"Removed", "the|final|countdown", "-|-|-"},
        {"Isolated", "the|-|final|-|-|countdown", "the|-|final|-|-|countdown"},
        {"MergedWithPrevious", "the-|final-|-|countdown", "the|-final|-|-countdown"},
        {"MergedWithNext", "the|-final|-|-countdown", "the-|final-|-|countdown"},
        {"Contiguous", "the|-|final|--|countdown", "the|-|final|--|countdown"},
    };
    for (size_t i = 0; i < sizeof split / sizeof *split; i++) {
        for (int inverted = 0; inverted < 2; inverted++) {
            char sections[512];
            snprintf(sections, sizeof sections, SPLIT("%s", "%s", "%s"),
                     i % 2 ? dash : "{'Regex': '[-]'}", split[i].behavior,
                     inverted ? "true" : "false");
            pieces(m, sections, text, inverted ? split[i].inverted : split[i].plain);
        }
    }
    pieces(m, PRE("{'type': 'Digits', 'individual_digits': true}"), "a12²b", "a|1|2|²|b");
    pieces(m, PRE("{'type': 'Digits', 'individual_digits': false}"), "a12²b", "a|12²|b");
    pieces(m, PRE("{'type': 'Punctuation'}"), "a,b$!。c", "a|,|b|$|!|。|c");
    pieces(m, PRE("{'type': 'Punctuation', 'behavior': 'Contiguous'}"), "a,b$!。c", "a|,|b|$!。|c");
    pieces(m, PRE("{'type': 'WhitespaceSplit'}"), " a,b \xc2\xa0 c\n", "a,b|c");
    pieces(m, PRE("{'type': 'Whitespace'}"),
           "a\xe2\x80\x8d"
           "b ⓐ x,! y",
           "a\xe2\x80\x8d"
           "b|ⓐ|x|,!|y");
    pieces(m, PRE("{'type': 'CharDelimiterSplit', 'delimiter': 'x'}"), "axbxxc", "a|b|c");
    pieces(m, PRE("{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always'}"),
           "a b  c", "▁a|▁b|▁|▁c");
    pieces(m, PRE("{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'never'}"), "a b",
           "a|▁b");
    pieces(m,
           PRE("{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always',"
               " 'split': false}"),
           "a b", "▁a▁b");
    pieces(m,
           PRE("{'type': 'Sequence', 'pretokenizers': [{'type': 'Punctuation'}, {'type':"
               " 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'first'}]}"),
           "a,b", "▁a|,|b");
    pieces(m, PRE("{'type': 'Metaspace', 'replacement': '▁', 'add_prefix_space': false}"), "a b",
           "a|▁b");
    pieces(m, PRE("{'type': 'ByteLevel', 'add_prefix_space': false}"), "I'll  see 12 é!\n\n x",
           "I|'ll|Ġ|Ġsee|Ġ12|ĠÃ©|!|ĊĊ|Ġx");
    pieces(m, PRE("{'type': 'ByteLevel', 'add_prefix_space': true, 'use_regex': false}"), "a b",
           "ĠaĠb");
    pieces(m,
           PRE("{'type': 'Sequence', 'pretokenizers': [{'type': 'ByteLevel',"
               " 'add_prefix_space': false}, {'type': 'Digits', 'individual_digits': true}]}"),
           "a 12", "a|Ġ|1|2");
}

/* Where Oniguruma and PCRE2 differ. */
static void test_regex_dialect(struct maker *m)
{
#define REGEX(r) SPLIT("{'Regex': '" r "'}", "Isolated", "false")
    pieces(m, REGEX("\\\\d{1,3}+"), "a1234567", "a|1234567");
    pieces(m, REGEX("\\\\d{1,3}"), "a1234567", "a|123|456|7");
    pieces(m, REGEX("\\\\s"),
           "a\xe1\xa0\x8e"
           "b c",
           "a\xe1\xa0\x8e"
           "b| |c");
    pieces(m, REGEX("\\\\w+"), "a‿é\xcc\x81 ²ⓐ", "a‿é\xcc\x81| |²ⓐ");
    pieces(m, REGEX("[\\\\w]+"), "a‿ ²ⓐ", "a‿| ²|ⓐ");
    pieces(m, REGEX("\\\\h+"), "xxab12", "xx|ab12");
    pieces(m, REGEX("^a"), "ba\na", "ba\n|a");
    pieces(m, REGEX("(?i:ab|C)"), "xABcx", "x|AB|c|x");
    pieces(m, REGEX("\\\\p{Han}+"), "a漢字、b", "a|漢字|、b");
    pieces(m, REGEX("\\\\u0041|\\\\x{42}"), "cABc", "c|A|B|c");
    pieces(m, REGEX("a*"), "bab", "b|a|b");
    pieces(m, REGEX("\\\\b"), "ab é\xcc\x81-", "ab| |é\xcc\x81|-");
    pieces(m, REGEX("\\\\Bb"), "abb b", "a|b|b| b");
    pieces(m, REGEX("[^\\\\S\\\\n]+"), "a \t\nb", "a| \t|\nb");
    pieces(m, REGEX("[\\\\s\\\\S]"), "a b", "a| |b");
    pieces(m, REGEX(" ?[^(\\\\s|[.,!])]+"), "ab, c(d", "ab|,| c|(|d");
#undef REGEX
}

#define NORM(x) "{'normalizer': " x "}"

static void test_normalizers(struct maker *m)
{
    pieces(m, NORM("{'type': 'NFC'}"), "e\xcc\x81", "é");
    pieces(m, NORM("{'type': 'NFD'}"), "é", "e\xcc\x81");
    pieces(m, NORM("{'type': 'NFKC'}"), "ﬁ①", "fi1");
    pieces(m, NORM("{'type': 'NFKD'}"), "é①",
           "e\xcc\x81"
           "1");
    pieces(m, NORM("{'type': 'NFC'}"), "\xe1\x84\x82\xe1\x85\xa9\xe1\x86\xa7x", "노\xe1\x86\xa7x");
    pieces(m, NORM("{'type': 'Lowercase'}"), "ÀΣİb",
           "àσi\xcc\x87"
           "b");
    pieces(m, NORM("{'type': 'StripAccents'}"), "e\xcc\x81x", "ex");
    pieces(m, NORM("{'type': 'Strip', 'strip_left': true, 'strip_right': false}"), " \n a ", "a ");
    pieces(m, NORM("{'type': 'Strip', 'strip_left': true, 'strip_right': true}"),
           "\xe3\x80\x80"
           "a ",
           "a");
    pieces(m, NORM("{'type': 'Prepend', 'prepend': '▁'}"), "a", "▁a");
    pieces(m, NORM("{'type': 'Prepend', 'prepend': '▁'}"), "", "");
    pieces(m, NORM("{'type': 'Replace', 'pattern': {'String': 'a.'}, 'content': '<$1>'}"), "a.ab",
           "<$1>ab");
    pieces(m, NORM("{'type': 'Replace', 'pattern': {'Regex': 'a.'}, 'content': ''}"), "a.abc", "c");
    pieces(m, NORM("{'type': 'Replace', 'pattern': {'String': ''}, 'content': '-'}"), "ab",
           "-a-b-");
#define FIRST                                                                                      \
    "'pre_tokenizer': {'type': 'Metaspace', 'replacement': '_', 'prepend_scheme': 'first'}"
    pieces(m, "{'normalizer': {'type': 'StripAccents'}, " FIRST "}", "\xcc\x81x", "x");
    pieces(m, "{'normalizer': {'type': 'StripAccents'}, " FIRST "}", "x\xcc\x81", "_x");
    pieces(m,
           "{'normalizer': {'type': 'Replace', 'pattern': {'Regex': 'aa?'}, 'content': 'b'}, " FIRST
           "}",
           "aax", "bx");
    pieces(m,
           NORM("{'type': 'Sequence', 'normalizers': [{'type': 'Lowercase'}, {'type': 'Prepend',"
                " 'prepend': 'x'}, {'type': 'ByteLevel'}]}"),
           "A B", "xaĠb");
}

/* Ids of one text with these added tokens (the model knows a to d as 0 to 3, space is 4). */
static void added(struct maker *m, const char *tokens, const char *text, int flags,
                  const char *want, const char *what)
{
    struct pesc_error err;
    char extra[2048];
    snprintf(extra, sizeof extra, "{'added_tokens': %s, 'model': {'vocab': {' ': 4}}}", tokens);
    struct tokenizer *t = maker_open(m, small_model("a b c d", "", extra), &err);
    if (!ok(encode_is(t, text, strlen(text), flags, want), "added tokens: %s", what))
        diag("%s", t ? "" : err.text);
    tokenizer_close(t);
}

static void test_added(struct maker *m)
{
#define FLAGS(w, l, r, n, s)                                                                       \
    "'single_word': " w ", 'lstrip': " l ", 'rstrip': " r ", 'normalized': " n ", 'special': " s
#define PLAIN_FLAGS FLAGS("false", "false", "false", "false", "false")
    added(m, "[{'id': 9, 'content': '<x>', " PLAIN_FLAGS "}]", "a<x>b<x", 0, "0 9 1", "found");
    added(m,
          "[{'id': 9, 'content': 'ab', " PLAIN_FLAGS "}, {'id': 8, 'content': 'abc', " PLAIN_FLAGS
          "}]",
          "abcab", 0, "8 9", "longest first");
    added(m,
          "[{'id': 9, 'content': 'ab', " PLAIN_FLAGS "}, {'id': 8, 'content': 'bcd', " PLAIN_FLAGS
          "}]",
          "abcd", 0, "9 2 3", "leftmost first");
    added(m, "[{'id': 9, 'content': 'bb', " FLAGS("true", "false", "false", "false", "false") "}]",
          "abb bb bb", 0, "0 1 1 4 9 4 9", "single word");
    added(m, "[{'id': 9, 'content': '<x>', " FLAGS("false", "true", "false", "false", "false") "}]",
          "a  <x> b", 0, "0 9 4 1", "lstrip");
    added(m, "[{'id': 9, 'content': '<x>', " FLAGS("false", "false", "true", "false", "false") "}]",
          "a <x>  b", 0, "0 4 9 1", "rstrip");
    added(m, "[{'id': 9, 'content': '<x>', " FLAGS("false", "true", "true", "false", "true") "}]",
          "a <x>  <x>\n b", 0, "0 9 9 1", "both");
    /* white space that one token took and that is another */
#define SPACES(l, r, l2)                                                                           \
    "[{'id': 9, 'content': '<x>', " FLAGS(                                                         \
        "false", l, r, "false", "false") "}, {'id': 8, 'content': '  ', " FLAGS("false", l2,       \
                                                                                "false", "false",  \
                                                                                "false") "}]"
    added(m, SPACES("false", "true", "true"), "a<x>  b", 0, "0 9 1", "taken by the one before");
    added(m, SPACES("false", "true", "false"), "a<x>  b", 0, "0 9 8 1", "and found all the same");
    added(m, SPACES("true", "false", "false"), "a  <x>b", 0, "0 8 9 1", "not taken from it");
#define SPECIAL "[{'id': 9, 'content': '<s>', " FLAGS("false", "false", "false", "false", "true")
    added(m, SPECIAL "}, {'id': 8, 'content': '<t>', " PLAIN_FLAGS "}]", "<s>a<t>", 0, "9 0 8",
          "special and not");
    added(m, SPECIAL "}, {'id': 8, 'content': '<t>', " PLAIN_FLAGS "}]", "<s>a<t>b", TOK_PLAIN,
          "0 8 1", "D14 special ones stay text, others do not");
    struct pesc_error err;
    struct tokenizer *t =
        maker_open(m,
                   small_model("a b", "",
                               "{'normalizer': {'type': 'Lowercase'}, 'added_tokens': ["
                               "{'id': 8, 'content': 'X', " FLAGS(
                                   "false", "false", "false", "true",
                                   "false") "}, {'id': 9, 'content': 'Y', " PLAIN_FLAGS "}]}"),
                   &err);
    ok(encode_is(t, "aXxYyb", 6, 0, "0 8 8 9 1"), "added tokens: normalized or not");
    tokenizer_close(t);
}

/* D14: text of special tokens that the model itself could also spell by merging. */
static void test_plain(struct maker *m)
{
    struct pesc_error err;
    struct tokenizer *t =
        maker_open(m,
                   small_model("< s > <s <s>", "< s,<s >",
                               "{'added_tokens': [{'id': 4, 'content': '<s>', 'special': true}]}"),
                   &err);
    ok(encode_is(t, "<s>", 3, 0, "4"), "a special token in text");
    ok(encode_is(t, "s<s>s", 5, TOK_PLAIN, "1 3 2 1"), "D14 no special id by merging");
    tokenizer_close(t);
    t = maker_open(m,
                   byte_model("{'added_tokens': [{'id': 300, 'content': '<|eot_id|>', 'special':"
                              " true}]}"),
                   &err);
    static const char text[] = "x<|eot_id|>y";
    struct ids ids = {0};
    size_t len = 0;
    ok(t && tokenizer_encode(t, text, strlen(text), TOK_PLAIN, &ids, &err) == 0, "encodes");
    ok(ids.n == strlen(text), "D14 <|eot_id|> as data is its letters");
    char *back = t ? tokenizer_decode(t, ids.v, ids.n, 1, &len, &err) : NULL;
    is_str(back, text, "and comes back");
    free(back);
    free(ids.v);
    tokenizer_close(t);
}

static void test_model(struct maker *m)
{
    struct pesc_error err;
    static const char tokens[] = "a b c ab bc abc";
    struct tokenizer *t = maker_open(m, small_model(tokens, "b c,a b,ab c", NULL), &err);
    ok(encode_is(t, "abcab", 5, 0, "0 4 3"), "the lowest rank merges first");
    tokenizer_close(t);
    t = maker_open(m,
                   small_model(tokens, "",
                               "{'model': {'merges': [['b','c'],['a','b'],"
                               "['ab','c']]}}"),
                   &err);
    ok(encode_is(t, "abcab", 5, 0, "0 4 3"), "K06 both notations of merges give equal ids");
    tokenizer_close(t);
    t = maker_open(m,
                   small_model("a", "",
                               "{'model': {'vocab': {' ': 1, 'a ': 2}, 'merges': "
                               "[['a',' ']]}}"),
                   &err);
    ok(encode_is(t, "a a", 3, 0, "2 0"), "K06 tokens with spaces");
    tokenizer_close(t);
    json_t *root = small_model("a", "", NULL);
    json_object_set_new(json_object_get(root, "model"), "merges", json_object());
    t = maker_open(m, root, &err);
    ok(encode_is(t, "aa", 2, 0, "0 0"), "an empty object is no merges");
    tokenizer_close(t);
    t = maker_open(m, small_model("? a", "", "{'model': {'unk_token': '?', 'fuse_unk': true}}"),
                   &err);
    ok(encode_is(t, "axya", 4, 0, "1 0 1"), "unknown characters, fused");
    tokenizer_close(t);
    t = maker_open(m, small_model("? a", "", "{'model': {'unk_token': '?'}}"), &err);
    ok(encode_is(t, "axya", 4, 0, "1 0 0 1"), "unknown characters, one by one");
    tokenizer_close(t);
    t = maker_open(m, small_model("a b ab xab", "a b", "{'model': {'ignore_merges': true}}"), &err);
    ok(encode_is(t, "xab", 3, 0, "3") && encode_is(t, "xxab", 4, 0, "2"), "ignore_merges");
    tokenizer_close(t);
    t = maker_open(m, small_model("a b ab xab", "a b", NULL), &err);
    ok(encode_is(t, "xab", 3, 0, "2"), "a token that no merge makes is not used");
    tokenizer_close(t);
    t = maker_open(m,
                   byte_model("{'model': {'byte_fallback': true, 'unk_token': '?', 'vocab': {"
                              "'<0xC4>': 256, '<0xA0>': 257}}}"),
                   &err);
    ok(encode_is(t, "a b", 3, 0, "97 32 98"), "byte level and byte fallback in one file");
    tokenizer_close(t);
    t = maker_open(m, byte_model(NULL), &err);
    ok(encode_is(t, "a\xff\xe2\x82z\xed\xa0\x80", 8, 0,
                 "97 239 191 189 239 191 189 122 239 191 189 239 191 189 239 191 189"),
       "K08 each malformed sequence is one U+FFFD");
    ok(encode_is(t, "\xe0\x80\xf4\x90\xc0", 5, 0,
                 "239 191 189 239 191 189 239 191 189 239 191 189 239 191 189"),
       "K08 overlong and too large forms");
    ok(encode_is(t, "\0x", 2, 0, "0 120"), "a zero byte is text");
    ok(encode_is(t, "", 0, TOK_SPECIAL, ""), "nothing");
    tokenizer_close(t);
}

static void test_post(struct maker *m)
{
    struct pesc_error err;
    static const char post[] =
        "{'added_tokens': [{'id': 5, 'content': '<s>', 'special': true}, {'id': 6, 'content':"
        " '</s>', 'special': true}], 'post_processor': {'type': 'Sequence', 'processors': ["
        "{'type': 'ByteLevel', 'trim_offsets': false}, {'type': 'TemplateProcessing', 'single': ["
        "{'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}},"
        " {'SpecialToken': {'id': '</s>', 'type_id': 0}}], 'pair': [], 'special_tokens': {"
        "'<s>': {'id': '<s>', 'ids': [5], 'tokens': ['<s>']},"
        "'</s>': {'id': '</s>', 'ids': [6], 'tokens': ['</s>']}}}]}}";
    static const char config[] = "{\"bos_token\": {\"content\": \"<s>\"}, \"added_tokens_decoder\":"
                                 " {\"5\": {\"content\": \"<s>\", \"special\": true},"
                                 " \"40\": {\"content\": \"<pad>\", \"special\": true}}}";
    static const char map[] = "{\"bos_token\": \"nope\", \"eos_token\": \"</s>\"}";
    struct tokenizer *t = maker_open(m, small_model("a", "", post), &err);
    ok(encode_is(t, "a", 1, TOK_SPECIAL, "5 0 6"), "template");
    ok(encode_is(t, "<s>a", 4, TOK_SPECIAL | TOK_PLAIN, "5 0 6"), "template around plain text");
    ok(encode_is(t, "a", 1, 0, "0"), "without special tokens");
    ok(t && tokenizer_bos(t) == -1 && !tokenizer_adds_bos(t), "no bos without a configuration");
    tokenizer_close(t);
    ok(maker_put(m, "tokenizer_config.json", config, strlen(config)) &&
           maker_put(m, "special_tokens_map.json", map, strlen(map)),
       "configuration written");
    t = maker_open(m, small_model("a", "", post), &err);
    ok(t && tokenizer_bos(t) == 5 && tokenizer_eos(t) == 6 && tokenizer_adds_bos(t),
       "bos of tokenizer_config.json, eos of special_tokens_map.json");
    ok(t && tokenizer_size(t) == 41 && tokenizer_id(t, "<pad>") == 40 &&
           tokenizer_is_special(t, 40) && !tokenizer_token(t, 39),
       "an added token of the configuration, a gap before it");
    ok(t && strlen(tokenizer_sha256(t)) == 64, "digest");
    tokenizer_close(t);
    unlink(strcat(strcpy((char[PATH_CAP]){0}, m->dir), "/tokenizer_config.json"));
    unlink(strcat(strcpy((char[PATH_CAP]){0}, m->dir), "/special_tokens_map.json"));
}

/* Decodes ids at once and one by one; what is streamed must be whole characters all along. */
static void decodes(struct maker *m, const char *tokens, const char *decoder, const int32_t *ids,
                    size_t n, const char *want)
{
    struct pesc_error err;
    struct token_stream *s = NULL;
    char extra[1024], all[256] = "";
    size_t len, got = 0;
    int whole = 1;
    snprintf(extra, sizeof extra, "{'decoder': %s}", decoder);
    struct tokenizer *t =
        maker_open(m, *tokens ? small_model(tokens, "", extra) : byte_model(extra), &err);
    if (!ok(t != NULL, "decoder %s: %s", decoder, t ? "" : err.text))
        return;
    char *text = tokenizer_decode(t, ids, n, 0, &len, &err);
    is_str(text, want, decoder);
    for (size_t i = 0; i <= n && whole; i++) {
        const char *part;
        whole = tokenizer_stream(t, &s, i < n ? ids[i] : -1, i == n, &part, &got, &err) == 0 &&
                strlen(part) == got && strlen(all) + got < sizeof all &&
                (!got || (part[0] & 0xc0) != 0x80);
        if (whole)
            strcat(all, part);
        whole = whole &&
                (strlen(all) == len || (strlen(all) < len && (text[strlen(all)] & 0xc0) != 0x80));
    }
    ok(whole && !strcmp(all, text ? text : ""), "streamed alike, never half a character");
    tokenizer_stream_free(s);
    free(text);
    tokenizer_close(t);
}

static void test_decoders(struct maker *m)
{
#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / 4
    static const char fallback[] = "▁a <0xF0> <0x9F> <0x98> <0x80> b <0xe9>";
    static const char llama[] =
        "{'type': 'Sequence', 'decoders': [{'type': 'Replace', 'pattern': {'String': '▁'},"
        " 'content': ' '}, {'type': 'ByteFallback'}, {'type': 'Fuse'}, {'type': 'Strip',"
        " 'content': ' ', 'start': 1, 'stop': 0}]}";
    decodes(m, "", "{'type': 'ByteLevel'}", IDS('x', 0xf0, 0x9f, 0x98, 0x80, 0xc3, 0xa9, '!'),
            "x😀é!");
    decodes(m, "", "{'type': 'ByteLevel'}", IDS(0xf0, 0x9f, 'a', 0xff, 0xe2, 0x82),
            "\xef\xbf\xbd"
            "a\xef\xbf\xbd\xef\xbf\xbd");
    decodes(m, fallback, llama, IDS(0, 1, 2, 3, 4, 5, 0), "a😀b a");
    decodes(m, fallback, llama, IDS(1, 2, 5, 6),
            "\xef\xbf\xbd\xef\xbf\xbd"
            "b\xef\xbf\xbd");
    decodes(m, "a b", "null", IDS(0, 1, 7, 1), "a b b");
    decodes(m, "▁▁a ▁b", "{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'always'}",
            IDS(0, 1, 0), "a b  a");
    decodes(m, "▁▁a ▁b", "{'type': 'Metaspace', 'replacement': '▁', 'prepend_scheme': 'never'}",
            IDS(0, 1), "  a b");
    decodes(m, "xxa ax", "{'type': 'Strip', 'content': 'x', 'start': 1, 'stop': 1}", IDS(0, 1, 0),
            "xaaxa");
    decodes(m, "xx a ax",
            "{'type': 'Sequence', 'decoders': [{'type': 'Fuse'}, {'type': 'Strip', 'content': 'x',"
            " 'start': 3, 'stop': 1}]}",
            IDS(0, 0, 1, 2), "xaa");
    decodes(m, "ab ba",
            "{'type': 'Sequence', 'decoders': [{'type': 'Fuse'}, {'type': 'Replace', 'pattern':"
            " {'Regex': 'b+'}, 'content': '-'}]}",
            IDS(0, 1, 0), "a-aa-");
}

/* The definition of BPE, one merge at a time, for the words of test_long_word: a merge's rank is
 * the order of its result, and every token is made of its two halves only. */
static size_t merge_plainly(const struct tokenizer *t, int32_t *sym, size_t n)
{
    for (;;) {
        int32_t best = INT32_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            char both[129];
            const char *a = tokenizer_token(t, sym[i]), *b = tokenizer_token(t, sym[i + 1]);
            snprintf(both, sizeof both, "%s%s", a, b);
            int32_t id = tokenizer_id(t, both);
            if (id >= 0 && id < best && strlen(a) == strlen(both) / 2) {
                best = id;
                at = i;
            }
        }
        if (best == INT32_MAX)
            return n;
        sym[at] = best;
        memmove(sym + at + 1, sym + at + 2, (n - at - 2) * sizeof *sym);
        n--;
    }
}

static void check_merging(const struct tokenizer *t)
{
    struct pesc_error err = {0};
    struct ids ids = {0};
    uint32_t x = 7;
    int bad = 0;
    for (size_t n = 1; n < 260; n += n < 40 ? 1 : 17) {
        char text[260];
        int32_t sym[260];
        for (size_t i = 0; i < n; i++) {
            x = x * 1664525 + 1013904223;
            sym[i] = (int32_t)(x >> 31);
            text[i] = sym[i] ? 'b' : 'a';
        }
        ids.n = 0;
        bad += tokenizer_encode(t, text, n, 0, &ids, &err) != 0;
        size_t want = merge_plainly(t, sym, n);
        bad += ids.n != want || memcmp(ids.v, sym, want * sizeof *sym) != 0;
    }
    free(ids.v);
    is_long(bad, 0, "short and long words merge as defined");
}

/* K07 */
#ifdef __SANITIZE_ADDRESS__
#define LIMIT 20.
#else
#define LIMIT 1.
#endif
static void test_long_word(struct maker *m)
{
    enum { N = 1 << 20 };
    struct pesc_error err;
    struct ids ids = {0};
    char *text = malloc(N);
    json_t *root = small_model("a b", "", NULL), *model = json_object_get(root, "model");
    char left[65], right[65], both[129];
    long id = 2;
    /* all words of a and b up to 8 letters, and runs of a up to 64 */
    for (int len = 2; len <= 8; len++) {
        for (int w = 0; w < 1 << len; w++, id++) {
            for (int i = 0; i < len; i++)
                both[i] = w >> i & 1 ? 'b' : 'a';
            both[len] = 0;
            snprintf(left, sizeof left, "%.*s", len / 2, both);
            snprintf(right, sizeof right, "%s", both + len / 2);
            json_object_set_new(json_object_get(model, "vocab"), both, json_integer(id));
            json_array_append_new(json_object_get(model, "merges"),
                                  json_pack("[s,s]", left, right));
        }
    }
    struct tokenizer *t = maker_open(m, root, &err);
    ok(t != NULL, "words of two letters: %s", t ? "" : err.text);
    if (t)
        check_merging(t);
    for (int kind = 0; t && kind < 2; kind++) {
        uint32_t x = 1;
        for (size_t i = 0; i < N; i++) {
            x = x * 1664525 + 1013904223;
            text[i] = kind && x >> 31 ? 'b' : 'a';
        }
        clock_t start = clock();
        ids.n = 0;
        int rc = tokenizer_encode(t, text, N, 0, &ids, &err);
        double s = (double)(clock() - start) / CLOCKS_PER_SEC;
        ok(rc == 0 && ids.n >= N / 8 && ids.n < N / 2, "a word of 1 MiB: %zu ids", ids.n);
        ok(s < LIMIT, "K07 in %.3f s", s);
        size_t len = 0;
        for (size_t i = 0; i < ids.n; i++)
            len += strlen(tokenizer_token(t, ids.v[i]));
        is_long((long)len, N, "all of it is there");
    }
    tokenizer_close(t);
    free(ids.v);
    free(text);
}

/* K07 of the SentencePiece kind: a text is one word, spaces and all, and may be the same character
 * throughout. */
static void test_long_spaces(struct maker *m)
{
    enum { N = 1 << 20 };
    struct pesc_error err;
    struct ids ids = {0};
    struct tokenizer *t = maker_open(
        m,
        small_model("▁ ▁▁ ▁▁▁▁ a aa aaaa", "▁ ▁,▁▁ ▁▁,a a,aa aa",
                    NORM("{'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': '▁'},"
                         " {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]}")),
        &err);
    char *text = malloc(N);
    for (const char *c = " a"; t && *c; c++) {
        memset(text, *c, N);
        ids.n = 0;
        clock_t start = clock();
        int rc = tokenizer_encode(t, text, N, 0, &ids, &err);
        double s = (double)(clock() - start) / CLOCKS_PER_SEC;
        ok(rc == 0 && ids.n == N / 4 + 1 && s < LIMIT, "K07 1 MiB of '%c' in %.3f s", *c, s);
    }
    tokenizer_close(t);
    free(ids.v);
    free(text);
}

/* K07: the normal forms of a word that is all marks, which are to be sorted. */
static void test_marks(struct maker *m)
{
    enum { N = 1 << 18 };
    struct pesc_error err;
    struct ids ids = {0};
    json_t *root = small_model("a \xcc\x95 \xcc\x96", "", NORM("{'type': 'NFC'}"));
    char *text = malloc(4 * N + 1);
    struct tokenizer *t = maker_open(m, root, &err);
    text[0] = 'a';
    for (size_t i = 0; i < 2 * N; i++) {
        text[1 + 2 * i] = '\xcc';
        text[2 + 2 * i] = i % 2 ? '\x96' : '\x95';
    }
    clock_t start = clock();
    int rc = t ? tokenizer_encode(t, text, 4 * N + 1, 0, &ids, &err) : -1;
    double s = (double)(clock() - start) / CLOCKS_PER_SEC;
    ok(rc == 0 && s < LIMIT, "K07 a word of 1 MiB of marks in %.3f s", s);
    size_t good = ids.n == 2 * N + 1 && ids.v[0] == 0;
    for (size_t i = 1; good && i < ids.n; i++)
        good = ids.v[i] == (i <= N ? 2 : 1);
    ok(good != 0, "in their order");
    tokenizer_close(t);
    free(ids.v);
    free(text);
}

int main(void)
{
    struct maker m;
    if (!ok(maker_start(&m), "temporary folder"))
        return tap_done();
    test_pre_tokenizers(&m);
    test_regex_dialect(&m);
    test_normalizers(&m);
    test_added(&m);
    test_plain(&m);
    test_model(&m);
    test_post(&m);
    test_decoders(&m);
    test_long_word(&m);
    test_long_spaces(&m);
    test_marks(&m);
    maker_end(&m);
    return tap_done();
}
