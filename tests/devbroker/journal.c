/*
 * Journal of the devbroker. See journal.h.
 *
 * Entries of varying length lie one after the other in large chunks, so that one
 * stored message costs its key and a fixed head, and no allocation of its own.
 */
#include "tests/devbroker/journal.h"

#include "shm/base/text.h"
#include "tests/devbroker/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 20)

struct journal_chunk {
    struct journal_chunk *next;
    size_t len;
    _Alignas(8) uint8_t data[];
};

/* Followed by text_len bytes: the unique key, or the text of an event. */
struct entry {
    const char *event;         /* NULL: a stored message */
    const struct topic *topic; /* of a stored message */
    int64_t time_ms;
    uint64_t connection, queue_offset;
    uint32_t queue_id, body_len, body_crc;
    uint16_t broker, text_len;
};

static size_t entry_bytes(size_t text_len)
{
    return (sizeof(struct entry) + text_len + 7) & ~(size_t)7;
}

static void append(struct journal *j, const struct entry *e, const char *text)
{
    size_t bytes = entry_bytes(e->text_len);
    struct journal_chunk *chunk = j->current;
    if (!chunk || CHUNK_BYTES - chunk->len < bytes) {
        chunk = malloc(sizeof(*chunk) + CHUNK_BYTES);
        if (!chunk) {
            j->lost++;
            return;
        }
        chunk->next = NULL;
        chunk->len = 0;
        if (j->current)
            j->current->next = chunk;
        else
            j->first = chunk;
        j->current = chunk;
    }
    memcpy(chunk->data + chunk->len, e, sizeof(*e));
    if (e->text_len)
        memcpy(chunk->data + chunk->len + sizeof(*e), text, e->text_len);
    chunk->len += bytes;
}

void journal_deinit(struct journal *j)
{
    for (struct journal_chunk *c = j->first, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    j->first = j->current = NULL;
}

void journal_add_stored(struct journal *j, const struct journal_stored *s)
{
    if (j->disabled)
        return;
    struct entry e = {
        .topic = s->topic,
        .time_ms = s->time_ms,
        .connection = s->connection,
        .queue_offset = s->queue_offset,
        .queue_id = s->queue_id,
        .body_len = s->body_len,
        .body_crc = s->body_crc,
        .broker = s->broker,
        .text_len = (uint16_t)(s->unique_key.len < UINT16_MAX ? s->unique_key.len : UINT16_MAX),
    };
    append(j, &e, s->unique_key.data);
}

void journal_add_event(struct journal *j, const char *kind, uint64_t connection, int64_t time_ms, const char *fmt, ...)
{
    if (j->disabled)
        return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    struct entry e = {.event = kind, .time_ms = time_ms, .connection = connection, .text_len = (uint16_t)len};
    append(j, &e, text);
}

/* Keys and client ids are foreign text: they pass the escaper, so that no tab or newline breaks the columns. */
static void print_escaped(FILE *f, const char *text, size_t len)
{
    char safe[4096];
    text_escape(safe, sizeof(safe), text, len);
    fputs(len ? safe : "-", f);
}

static void print_entry(FILE *f, const struct entry *e, const char *text, const char *(*broker_name)(void *, unsigned), void *ctx)
{
    if (e->event) {
        fprintf(f, "%s\t%" PRId64 "\t%" PRIu64 "\t", e->event, e->time_ms, e->connection);
        print_escaped(f, text, e->text_len);
        fputc('\n', f);
        return;
    }
    fprintf(f, "stored\t%" PRId64 "\t%" PRIu64 "\t", e->time_ms, e->connection);
    print_escaped(f, text, e->text_len);
    fprintf(f, "\t%s\t%s\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu32 "\t%" PRIu32 "\n", e->topic->name, broker_name(ctx, e->broker), e->queue_id,
            e->queue_offset, e->body_len, e->body_crc);
}

static void print_all(FILE *f, const struct journal *j, const char *(*broker_name)(void *, unsigned), void *ctx)
{
    fputs("#stored\ttime_ms\tconnection\tuniq_key\ttopic\tbroker\tqueue\toffset\tbody_bytes\tbody_crc\n"
          "#event\ttime_ms\tconnection\tdetails\n",
          f);
    for (const struct journal_chunk *c = j->first; c; c = c->next)
        for (size_t pos = 0; pos < c->len;) {
            struct entry e;
            memcpy(&e, c->data + pos, sizeof(e));
            print_entry(f, &e, (const char *)c->data + pos + sizeof(e), broker_name, ctx);
            pos += entry_bytes(e.text_len);
        }
}

int journal_write(const struct journal *j, const char *path, const char *(*broker_name)(void *, unsigned), void *ctx)
{
    char temporary[4096];
    int n = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    if (n < 0 || (size_t)n >= sizeof(temporary))
        return -ENAMETOOLONG;
    FILE *f = fopen(temporary, "we");
    if (!f)
        return -errno;
    print_all(f, j, broker_name, ctx);
    int err = ferror(f) ? -EIO : 0;
    if (fclose(f) != 0 && !err)
        err = -errno;
    if (!err && rename(temporary, path) < 0)
        err = -errno;
    if (err)
        unlink(temporary);
    return err;
}
