/*
 * Long options from a table: the same rows parse, name the nearest match for a
 * typing error, and print the help.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum option_arg { OPTION_FLAG, OPTION_VALUE, OPTION_MAYBE }; /* MAYBE: only as --name=VALUE */

struct option_spec {
    const char *name;
    enum option_arg arg;
    const char *value_name, *help;
    /** Takes the value (NULL for a flag). NULL, or what is wrong with it. */
    const char *(*take)(void *ctx, const char *value);
};

/**
 * Parses argv[1..]; "--" ends options. Other words go to @p word (which answers like take; NULL: none are
 * allowed). Returns NULL, or a complete sentence in a static buffer. @p specs ends with a NULL name.
 */
const char *options_parse(const struct option_spec *specs, int argc, char **argv, void *ctx,
                          const char *(*word)(void *ctx, const char *value));

/** One line per option on stdout. */
void options_print(const struct option_spec *specs);

/** The entry most like @p word among @p count names read through @p name_at, or NULL when none is near. */
const char *nearest_name(const char *word, size_t count, const char *(*name_at)(const void *ctx, size_t i), const void *ctx);
