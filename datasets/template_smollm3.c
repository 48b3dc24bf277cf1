#include "config.h"
#include "datasets/template_form.h"

#include <stdlib.h>
#include <string.h>

#define NAMED "You are a helpful AI assistant named SmolLM, trained by Hugging Face."
static const char thorough[] = NAMED
    " Your role as an assistant involves thoroughly exploring questions through a systematic "
    "thinking process before providing the final precise and accurate solutions. This requires "
    "engaging in a comprehensive cycle of analysis, summarizing, exploration, reassessment, "
    "reflection, backtracking, and iteration to develop well-considered thinking process. Please "
    "structure your response into two main sections: Thought and Solution using the specified "
    "format: <think> Thought section </think> Solution section. In the Thought section, detail "
    "your reasoning process in steps. Each step should include detailed considerations such as "
    "analysing questions, summarizing relevant findings, brainstorming new ideas, verifying the "
    "accuracy of the current steps, refining any errors, and revisiting previous steps. In the "
    "Solution section, based on various attempts, explorations, and reflections from the Thought "
    "section, systematically present the final solution that you deem correct. The Solution "
    "section should be logical, accurate, and concise and detail necessary steps needed to reach "
    "the conclusion.";

static void take_out(char *s, const char *what)
{
    size_t n = strlen(what);
    for (char *at = s; (at = strstr(at, what));)
        memmove(at, at + n, strlen(at + n) + 1);
}

int put_smollm3(struct rendering *r, const char *system, int *thinking, int *bare)
{
    char *own = strdup(system ? system : "");
    int rc = -1;
    if (!own)
        return FAIL(r->err, MEMORY, "no memory for a system text");
    if (strstr(own, "/no_think"))
        *thinking = 0;
    else if (strstr(own, "/think"))
        *thinking = 1;
    take_out(own, "/no_think");
    take_out(own, "/think");
    size_t n = strlen(own);
    strip(own, &n, 0, 1);
    own[n] = 0;
    if (r->tpl->header == HEADER_SMOLLM3_DATED && strstr(own, "/system_override")) {
        take_out(own, "/system_override");
        n = strlen(own);
        strip(own, &n, 0, 1);
        *bare = 1;
    } else {
        TRY_OR(put_literal(r, "## Metadata\n\nKnowledge Cutoff Date: June 2025\n", 0), done);
        if (r->tpl->header == HEADER_SMOLLM3_DATED) /* a fixed day, as for Llama 3.1 */
            TRY_OR(put_literal(r, "Today Date: 26 July 2024\n", 0), done);
        TRY_OR(put_literal(r, "Reasoning Mode: ", 0), done);
        TRY_OR(put_literal(r, *thinking ? "/think" : "/no_think", 0), done);
        TRY_OR(put_literal(r, "\n\n## Custom Instructions\n\n", 0), done);
    }
    if (n == 0 && !*bare)
        TRY_OR(put_literal(r, *thinking ? thorough : NAMED, 0), done);
    else
        TRY_OR(put_data(r, own, n, 0), done);
    rc = *bare ? 0 : put_literal(r, "\n\n", 0);
done:
    free(own);
    return rc;
}
