/*
 * Topics and commit log of one broker. See store.h.
 *
 * The log is one mapping far larger than what tests use, without reservation, so
 * that records never move and need no segments. A queue is an array of places.
 */
#include "tests/devbroker/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    RECORD_STORE_TIME_WITHOUT_BORN_HOST = 48, /* offset of the store timestamp, less the born host */
    RECORD_SYS_FLAG = 36,
};
#define LOG_RESERVED_BYTES (UINT64_C(64) << 30)
#define LOG_LEAST_BYTES (UINT64_C(1) << 30)

int store_init(struct store *store, bool discard, size_t max_message_bytes)
{
    *store = (struct store){.max_message_bytes = max_message_bytes};
    store->last = &store->first;
    if (discard)
        return 0;
    for (uint64_t bytes = LOG_RESERVED_BYTES; bytes >= LOG_LEAST_BYTES; bytes /= 2) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            continue;
        madvise(p, bytes, MADV_DONTDUMP);
        madvise(p, bytes, MADV_HUGEPAGE); /* a page fault for each twenty messages costs more than storing them */
        store->log = p;
        store->log_cap = bytes;
        return 0;
    }
    return -ENOMEM;
}

void store_deinit(struct store *store)
{
    for (struct topic *t = store->first, *next; t; t = next) {
        next = t->next_created;
        for (unsigned i = 0; i < TOPIC_QUEUES_MAX; i++)
            free(t->queues[i].entries);
        free(t);
    }
    if (store->log)
        munmap(store->log, store->log_cap);
    *store = (struct store){0};
}

static unsigned bucket_of(struct span name)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (uint8_t)name.data[i]) * 16777619u;
    return (h ^ h >> 16) & 255;
}

static struct span topic_name(const struct topic *t)
{
    return (struct span){t->name, t->name_len};
}

struct topic *store_topic(struct store *store, struct span name)
{
    if (store->recent && span_equals(topic_name(store->recent), name))
        return store->recent;
    for (struct topic *t = store->buckets[bucket_of(name)]; t; t = t->next)
        if (span_equals(topic_name(t), name))
            return store->recent = t;
    return NULL;
}

struct topic *store_create_topic(struct store *store, struct span name, int32_t read_queues, int32_t write_queues, int32_t perm)
{
    if (name.len > TOPIC_NAME_MAX)
        return NULL;
    struct topic *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    memcpy(t->name, name.data, name.len);
    t->name_len = name.len;
    t->read_queue_nums = read_queues;
    t->write_queue_nums = write_queues;
    t->perm = perm;
    for (unsigned i = 0; i < TOPIC_QUEUES_MAX; i++)
        list_init(&t->queues[i].held_pulls);
    struct topic **bucket = &store->buckets[bucket_of(name)];
    t->next = *bucket;
    *bucket = t;
    *store->last = t;
    store->last = &t->next_created;
    return t;
}

struct store_queue *topic_queue(struct topic *t, int64_t queue_id)
{
    int64_t count = t->read_queue_nums > t->write_queue_nums ? t->read_queue_nums : t->write_queue_nums;
    return queue_id >= 0 && queue_id < count && queue_id < TOPIC_QUEUES_MAX ? &t->queues[queue_id] : NULL;
}

static int queue_append(struct store_queue *q, const struct store_entry *entry)
{
    if (q->count == q->cap) {
        uint64_t cap = q->cap ? q->cap * 2 : 64;
        struct store_entry *moved = realloc(q->entries, cap * sizeof(*moved));
        if (!moved)
            return -ENOSPC;
        q->entries = moved;
        q->cap = cap;
    }
    q->entries[q->count++] = *entry;
    return 0;
}

int store_put(struct store *store, struct topic *t, struct stored_message *m, int64_t tag_code)
{
    struct store_queue *q = topic_queue(t, m->queue_id);
    m->topic = topic_name(t);
    size_t size = stored_message_bytes(m);
    if (!q || size > store->max_message_bytes || m->properties.len > MESSAGE_PROPERTIES_MAX)
        return STORE_MESSAGE_ILLEGAL;
    m->queue_offset = (int64_t)q->count;
    m->commit_log_offset = (int64_t)store->log_end;
    if (!store->log) {
        q->count++;
        store->log_end += size;
        return 0;
    }
    if (size > store->log_cap - store->log_end)
        return -ENOSPC;
    struct byte_writer w = byte_writer_of(store->log + store->log_end, size);
    stored_message_encode(&w, m);
    if (w.failed)
        return STORE_MESSAGE_ILLEGAL;
    struct store_entry entry = {.physical = store->log_end, .size = (uint32_t)size, .tag_code = tag_code};
    int r = queue_append(q, &entry);
    if (r == 0)
        store->log_end += size;
    return r;
}

struct span store_record_at(const struct store *store, uint64_t physical)
{
    if (!store->log || physical > store->log_end || store->log_end - physical < 8)
        return (struct span){0};
    uint32_t size = be32_load(store->log + physical);
    if (size > store->log_end - physical || be32_load(store->log + physical + 4) != 0xdaa320a7u)
        return (struct span){0};
    return (struct span){(const char *)store->log + physical, size};
}

struct span store_record(const struct store *store, const struct store_entry *entry)
{
    return (struct span){(const char *)store->log + entry->physical, entry->size};
}

int64_t store_record_time_ms(const struct store *store, const struct store_entry *entry)
{
    const uint8_t *record = store->log + entry->physical;
    unsigned born_host = be32_load(record + RECORD_SYS_FLAG) & SYS_FLAG_BORN_HOST_V6 ? 20 : 8;
    return (int64_t)be64_load(record + RECORD_STORE_TIME_WITHOUT_BORN_HOST + born_host);
}

int32_t java_string_hash(struct span s)
{
    uint32_t h = 0;
    for (size_t i = 0; i < s.len;) {
        uint8_t lead = (uint8_t)s.data[i];
        unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
        uint32_t cp = more == 3 ? lead & 7u : more == 2 ? lead & 15u : more == 1 ? lead & 31u : lead;
        for (unsigned k = 1; k <= more && i + k < s.len; k++)
            cp = cp << 6 | ((uint8_t)s.data[i + k] & 63u);
        i += 1 + more;
        if (cp > 0xffff) {
            h = 31 * h + (0xd7c0u + (cp >> 10));
            cp = 0xdc00u + (cp & 0x3ff);
        }
        h = 31 * h + cp;
    }
    return (int32_t)h;
}
