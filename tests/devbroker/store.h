/*
 * What one broker keeps: its topics with their queues, and a commit log in one
 * reserved stretch of memory, in which a physical offset is a place. Nothing is
 * ever removed; the memory is touched as it fills.
 */
#pragma once

#include "hub/protocol/message_codec.h"
#include "shm/base/list.h"

#include <stdbool.h>
#include <stdint.h>

#define TOPIC_NAME_MAX 127
#define TOPIC_QUEUES_MAX 1024

/** Condition of store_put(): 4.9.3 answers MESSAGE_ILLEGAL. */
#define STORE_MESSAGE_ILLEGAL 1

struct store_entry {
    uint64_t physical;
    uint32_t size;
    int64_t tag_code; /* 0: no tag */
};

struct store_queue {
    struct store_entry *entries; /* NULL when messages are discarded */
    uint64_t count, cap;
    struct list_link held_pulls; /* long polls that wait for this queue */
};

struct topic {
    struct topic *next; /* in the hash chain */
    struct topic *next_created;
    char name[TOPIC_NAME_MAX + 1];
    size_t name_len;
    int32_t read_queue_nums, write_queue_nums;
    int32_t perm, topic_sys_flag;
    bool order;
    struct store_queue queues[TOPIC_QUEUES_MAX];
};

struct store {
    uint8_t *log; /* NULL when messages are discarded */
    uint64_t log_cap, log_end;
    size_t max_message_bytes;
    struct topic *buckets[256];
    struct topic *first, **last; /* in order of creation */
    struct topic *recent;        /* the topic of the last look-up */
};

/** 0 or -ENOMEM. */
int store_init(struct store *store, bool discard, size_t max_message_bytes);
void store_deinit(struct store *store);

struct topic *store_topic(struct store *store, struct span name);

/** Creates a topic; NULL when the name is too long or memory is gone. The name must be new. */
struct topic *store_create_topic(struct store *store, struct span name, int32_t read_queues, int32_t write_queues, int32_t perm);

/** A queue of a topic that may be read or written, or NULL for an id out of range. */
struct store_queue *topic_queue(struct topic *topic, int64_t queue_id);

/**
 * Appends @p message (its topic names @p topic; queue and both offsets are filled in here).
 * 0, STORE_MESSAGE_ILLEGAL when the record is longer than max_message_bytes, or -ENOSPC.
 */
int store_put(struct store *store, struct topic *topic, struct stored_message *message, int64_t tag_code);

/** The whole record at a physical offset (data == NULL when there is none). */
struct span store_record_at(const struct store *store, uint64_t physical);
struct span store_record(const struct store *store, const struct store_entry *entry);

/** When the record was stored. */
int64_t store_record_time_ms(const struct store *store, const struct store_entry *entry);

/** Hash of a tag as the Java client computes it (String.hashCode over UTF-16 units). */
int32_t java_string_hash(struct span utf8);
