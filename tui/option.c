/*
 * Not getopt_long: it accepts abbreviations, which a script would come to rely on
 * and a later option would break, and it cannot say what was probably meant.
 */
#include "tui/option.h"

#include <stdio.h>
#include <string.h>

#include "shm/base/text.h"

#define WORD_MAX 64

/* Edits (insert, delete, replace) that turn a into b. */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned row[WORD_MAX + 1];
    if (la > WORD_MAX || lb > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[lb];
}

const char *nearest_name(const char *word, size_t count, const char *(*name_at)(const void *ctx, size_t i), const void *ctx)
{
    const char *best = NULL;
    unsigned best_distance = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = name_at(ctx, i);
        unsigned d = strlen(word) > 1 && strncmp(name, word, strlen(word)) == 0 ? 1 : distance(word, name);
        if (d <= 1 + strlen(name) / 3 && (!best || d < best_distance)) {
            best = name;
            best_distance = d;
        }
    }
    return best;
}

static const char *spec_name(const void *ctx, size_t i)
{
    return ((const struct option_spec *)ctx)[i].name;
}

static char sentence[512];

static const char *unknown(const struct option_spec *specs, const char *name)
{
    size_t count = 0;
    while (specs[count].name)
        count++;
    const char *near = nearest_name(name, count, spec_name, specs);
    char safe[128];
    text_escape(safe, sizeof(safe), name, strlen(name));
    if (near)
        snprintf(sentence, sizeof(sentence), "unknown option --%s; did you mean --%s?", safe, near);
    else
        snprintf(sentence, sizeof(sentence), "unknown option --%s; see --help", safe);
    return sentence;
}

static const struct option_spec *find(const struct option_spec *specs, const char *name, size_t len)
{
    for (; specs->name; specs++)
        if (strlen(specs->name) == len && strncmp(specs->name, name, len) == 0)
            return specs;
    return NULL;
}

static const char *wrong_value(const char *option, const char *value, const char *why)
{
    char safe[160];
    text_escape(safe, sizeof(safe), value ? value : "", value ? strlen(value) : 0);
    if (value)
        snprintf(sentence, sizeof(sentence), "--%s %s: %s", option, safe, why);
    else
        snprintf(sentence, sizeof(sentence), "--%s: %s", option, why);
    return sentence;
}

/* One "--name", "--name VALUE" or "--name=VALUE" at argv[*i]. */
static const char *parse_option(const struct option_spec *specs, int argc, char **argv, int *i, void *ctx)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    const struct option_spec *spec = find(specs, name, equals ? (size_t)(equals - name) : strlen(name));
    if (!spec) {
        char bare[WORD_MAX + 1];
        text_copy(bare, sizeof(bare), name, equals ? (size_t)(equals - name) : strlen(name));
        return unknown(specs, bare);
    }
    const char *value = equals ? equals + 1 : NULL;
    if (spec->arg == OPTION_FLAG && value)
        return wrong_value(spec->name, value, "takes no value");
    if (spec->arg == OPTION_VALUE && !value) {
        if (*i + 1 >= argc)
            return wrong_value(spec->name, NULL, "needs a value");
        value = argv[++*i];
    }
    const char *why = spec->take(ctx, value);
    return why ? wrong_value(spec->name, value, why) : NULL;
}

const char *options_parse(const struct option_spec *specs, int argc, char **argv, void *ctx,
                          const char *(*word)(void *ctx, const char *value))
{
    bool options_end = false;
    for (int i = 1; i < argc; i++) {
        const char *problem = NULL;
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && strncmp(argv[i], "--", 2) == 0) {
            problem = parse_option(specs, argc, argv, &i, ctx);
        } else {
            const char *why = word ? word(ctx, argv[i]) : "no such argument is expected";
            char safe[160];
            text_escape(safe, sizeof(safe), argv[i], strlen(argv[i]));
            if (why)
                snprintf(sentence, sizeof(sentence), "%s: %s", safe, why);
            problem = why ? sentence : NULL;
        }
        if (problem)
            return problem;
    }
    return NULL;
}

void options_print(const struct option_spec *specs)
{
    for (; specs->name; specs++) {
        char left[64];
        const char *value = specs->value_name ? specs->value_name : "";
        snprintf(left, sizeof(left), specs->arg == OPTION_MAYBE ? "--%s[=%s]" : *value ? "--%s %s" : "--%s%s", specs->name, value);
        printf("  %-28s %s\n", left, specs->help);
    }
}
