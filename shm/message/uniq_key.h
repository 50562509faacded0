/*
 * UNIQ_KEY: the message id that the client draws (MessageClientIDSetter of 4.9.3) and that
 * every retry of a message keeps. 16 bytes, sent as 32 upper-case hex digits:
 *
 *   ip 4 | pid 2 | random 4 | milliseconds since the first of the month 4 | counter 2
 *
 * Java clients on IPv6 draw 28 bytes; both lengths are accepted where a caller brings a key.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIQ_KEY_BYTES 16u
#define UNIQ_KEY_MAX_BYTES 28u
#define UNIQ_KEY_MAX_HEX (2u * UNIQ_KEY_MAX_BYTES)

/** Draws keys for one attachment. Not thread-safe: the caller holds the lane's lock. */
struct uniq_key_source {
    uint8_t prefix[10]; /* ip, pid, random */
    uint16_t counter;
    /* The wall clock is read once a month: within it, time comes from the monotonic clock, so a stepped wall
     * clock cannot make a key repeat. */
    uint64_t month_began_ns, month_ends_ns; /* on the monotonic clock; began may lie before zero, hence modular */
};

/** Takes the address of the first interface that is up and not loopback. */
void uniq_key_source_init(struct uniq_key_source *source);

void uniq_key_draw(struct uniq_key_source *source, uint64_t now_mono_ns, uint8_t out[UNIQ_KEY_BYTES]);

/** Parses 32 or 56 hex digits; returns the number of bytes, or 0. */
size_t uniq_key_parse(const char *hex, size_t len, uint8_t out[UNIQ_KEY_MAX_BYTES]);
