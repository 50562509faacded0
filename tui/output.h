/*
 * The two faces of a selection on stdout: aligned text, and one JSON envelope.
 */
#pragma once

#include "tui/selection.h"
#include "tui/table_source.h"

/** "VERB/1" envelope without items; the caller owns it (json_decref). NULL without memory. */
struct json_t;
struct json_t *output_envelope(const char *verb, const struct table_source *source);

/** 0 or -ENOMEM. One line. */
int output_json(const struct selection *s, const struct table_source *source);
/** 0 or -ENOMEM. */
int output_text(const struct selection *s, const struct table_source *source, bool headers);
