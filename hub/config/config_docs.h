/** Documents written from the table of keys, so that they cannot drift from it. */
#pragma once

#include <stdio.h>

/** docs/configuration.md. */
void config_docs_print_page(FILE *out);

/** A commented rmqhub.conf with every default. */
void config_docs_print_sample(FILE *out);
