/*
 * The properties of frames that three targets check: what decodes can be encoded
 * again in either encoding with nothing lost, and the fast reader of send
 * replies agrees with the general decoder.
 */
#pragma once

#include "hub/protocol/send_message_header.h"
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

/** Decodes the frame with scratches of several sizes; true when it is valid, with *out and its scratch (static) filled. */
bool fuzz_decode(struct remoting_command *out, const void *frame, size_t len);

/** Encodes in both encodings, decodes, compares. */
void fuzz_round_trip(const struct remoting_command *command);

/** Compares send_response_decode() with the general decoder. */
void fuzz_compare_send_response(const void *frame, size_t len);

/** Builds a frame around a header (static memory); the header is cut to what fits. */
const void *fuzz_frame_of(enum serialize_type type, const void *header, size_t header_len, size_t *frame_len);
