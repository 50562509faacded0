/*
 * The hub's side of the instance table (layout: table_layout.h). One thread.
 *
 * A snapshot: table_writer_begin(), any number of table_writer_add(), the hub's own
 * record, table_writer_publish(). Nothing of it is visible before publish returns.
 */
#pragma once

#include "shm/table_layout.h"

/** How many of the newest events may still change (repeats are merged into them). */
#define TABLE_EVENT_REWRITE 16u

/** The events' owner keeps the ring; publish copies what is new into each half. */
struct table_event_ring {
    struct table_event *rows;
    uint32_t capacity; /* equal to that of TABLE_EVENTS */
    uint64_t next_seq;
};

struct table_writer;

/**
 * Creates the file of a new hub under a temporary name in @p dir, with its blocks reserved, mode
 * 0640; the first publish moves it over the table of an earlier hub. @p capacity: rows per section,
 * NULL for the defaults. The caller holds the directory's lock. 0 or -errno (-ENOSPC: no room).
 */
int table_writer_new(struct table_writer **out, const char *dir, const uint32_t capacity[TABLE_SECTION_COUNT]);

/** Leaves a published table in place, for readers of a stopped hub; an unpublished one is removed. NULL is fine. */
void table_writer_free(struct table_writer *writer);

/** Forgets the rows of the last snapshot. */
void table_writer_begin(struct table_writer *writer);

/** The next row of a section, zeroed, to be filled before publish; NULL when the section is full (counted). */
void *table_writer_add(struct table_writer *writer, enum table_section section);

/** Rows added to a section since begin. */
uint32_t table_writer_count(const struct table_writer *writer, enum table_section section);

/** The hub's own record; keeps its content between snapshots. */
struct table_hub *table_writer_hub(struct table_writer *writer);

/**
 * Writes the snapshot into the idle half, then names it. @p events may be NULL. Blocks for a handful
 * of writes to memory-backed storage. A table that somebody deleted or truncated is written anew. 0 or -errno;
 * after a failure readers keep the last snapshot.
 */
int table_writer_publish(struct table_writer *writer, const struct table_event_ring *events);

/** Tests: called before every system call that changes the file, with the name of the step. */
void table_writer_set_step_hook(struct table_writer *writer, void (*hook)(void *ctx, const char *step), void *ctx);
