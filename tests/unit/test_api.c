/* The public interface as a program outside of the tree would use it: pesc.h alone. */
#include "config.h"
#include "pesc.h"
#include "tests/tap.h"

#include <unistd.h>

static int take(void *ctx, int32_t id)
{
    int32_t *l = ctx;
    l[++l[0]] = id;
    return l[0] == 6;
}

static int largest(const float *v, long n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (v[i] > v[best])
            best = i;
    return best;
}

int main(void)
{
    char dir[] = "/tmp/pesc-test-api-XXXXXX", command[4096], path[512], digest[65];
    const char *pesc = getenv("PESC");
    struct pesc_error err = {0};
    pesc_model *dense, *tuned;
    if (!pesc || !mkdtemp(dir))
        return 99;
    snprintf(
        command, sizeof command,
        "cd %s && PESC_DB=h.db && export PESC_DB && %.*s/experiments/base/make-base b >log 2>&1 "
        "&& '%s' craft b/init -o m --experts 4 --adapter-dim 4 >>log 2>&1 && "
        "'%s' train m --data b/tune.json -o r --max-steps 2 --batch-size 2 --lr 0.1 >>log 2>&1 "
        "&& '%s' pack export r -o p >>log 2>&1",
        dir, (int)(strlen(pesc) - 5), pesc, pesc, pesc, pesc);
    if (!ok(system(command) == 0, "a model and a pack"))
        return tap_done();
    snprintf(path, sizeof path, "%s/b/init", dir);
    char pack[512];
    snprintf(pack, sizeof pack, "%s/p", dir);
    ok(pesc_model_open(path, NULL, PESC_COMPUTE_F32, &dense, &err) == 0, "a dense folder opens");
    ok(pesc_model_open(path, pack, PESC_COMPUTE_F32, &tuned, &err) == 0, "and with the pack");
    long V = pesc_model_vocab(dense);
    int32_t *ids, made[8] = {0};
    size_t n;
    ok(pesc_encode(dense, "sort the letters", 16, &ids, &n, &err) == 0 && n > 2, "text to ids");
    char *text = pesc_decode(dense, ids, n, &err);
    is_str(text, "sort the letters", "and back");
    float *a = calloc(n * (size_t)V, sizeof *a), *b = calloc(n * (size_t)V, sizeof *b);
    ok(pesc_logits(dense, ids, n, a, &err) == 0 && pesc_logits(tuned, ids, n, b, &err) == 0,
       "logits of both");
    ok(memcmp(a, b, n * (size_t)V * sizeof *a) != 0, "the adapters change them");
    ok(pesc_generate(tuned, ids, n, 20, take, made, &err) == 0, "generates");
    is_long(made[1], largest(b + (n - 1) * (size_t)V, V), "the most probable token first");
    ok(made[0] <= 6, "until told to stop");
    ok(pesc_pack_verify(pack, digest, &err) == 0 && strlen(digest) == 64, "the pack verifies");
    ok(pesc_pack_verify(path, digest, &err) != 0 && err.exit_status == 9 && *err.name,
       "an error has a code, a status and a text");
    err = (struct pesc_error){0};
    ids[0] = (int32_t)V;
    ok(pesc_logits(dense, ids, n, a, &err) != 0 && err.code != 0, "ids outside are refused");
    err = (struct pesc_error){0};
    pesc_model *none;
    ok(pesc_model_open("/nowhere", NULL, PESC_COMPUTE_AUTO, &none, &err) != 0 && !none &&
           !strcmp(err.name, "E-IO-MISSING"),
       "a missing folder is an error");
    pesc_model_close(dense);
    pesc_model_close(tuned);
    pesc_model_close(NULL);
    free(a);
    free(b);
    free(ids);
    free(text);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) != 0 || tap_done();
}
