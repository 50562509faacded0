/*
 * What happened at the devbroker, in order, for tests to compare with what their
 * senders believe: every stored message, and every event of a connection. Kept
 * compactly in memory, written as tab-separated lines on request.
 */
#pragma once

#include "shm/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct topic;

struct journal_chunk;

struct journal {
    struct journal_chunk *first, *current;
    bool disabled;
    uint64_t lost; /* entries for which there was no memory */
};

/** One stored message. The topic must outlive the journal. */
struct journal_stored {
    const struct topic *topic;
    int64_t time_ms;
    uint64_t connection, queue_offset;
    uint32_t queue_id, body_len;
    uint32_t body_crc; /* 31 bits, as in stored records */
    uint16_t broker;
    struct span unique_key; /* as in UNIQ_KEY; empty when the message had none */
};

void journal_deinit(struct journal *journal);

void journal_add_stored(struct journal *journal, const struct journal_stored *stored);

/** An event of a connection: @p kind is a static string, @p text goes to the end of the line. */
void journal_add_event(struct journal *journal, const char *kind, uint64_t connection, int64_t time_ms, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/**
 * Writes the whole journal to a new file at @p path, by way of a temporary one, so that a reader never sees half.
 * @p broker_name names broker i. 0 or -errno.
 */
int journal_write(const struct journal *journal, const char *path, const char *(*broker_name)(void *ctx, unsigned i), void *ctx);
