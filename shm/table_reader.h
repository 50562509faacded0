/*
 * Reading the instance table, whether or not its hub lives. Copies with pread: a
 * file that shrinks while it is read is an error here, never a SIGBUS.
 */
#pragma once

#include "shm/table_layout.h"

struct table_reader;

/** What table_reader_load() reports besides -errno. */
enum table_load { TABLE_LOADED = 0, TABLE_UNCHANGED = 1 };

/** A reader of @p dir's table; nothing is opened yet. 0, -ENOMEM or -ENAMETOOLONG. */
int table_reader_new(struct table_reader **out, const char *dir);
void table_reader_free(struct table_reader *reader);

/**
 * Takes the newest whole snapshot, reopening the file if another hub replaced it.
 * TABLE_LOADED, TABLE_UNCHANGED (the last one is still the newest), or
 *  -ENOENT           no table
 *  -EACCES           this user may not read it
 *  -EPROTONOSUPPORT  written by an incompatible version
 *  -EBADMSG          truncated or damaged
 *  -EAGAIN           it changed under every attempt
 *  other             as open and read report it
 * After an error there may be no rows. Blocks for reads of memory-backed storage only.
 */
int table_reader_load(struct table_reader *reader);

/** One plain sentence about the last error of load: path, what was found, what was expected. */
const char *table_reader_reason(const struct table_reader *reader);

const char *table_reader_path(const struct table_reader *reader);

/** Header of the snapshot: times, counts, dropped rows, the hub's record. Valid after TABLE_LOADED. */
const struct table_half_header *table_reader_half(const struct table_reader *reader);

/** Rows of a section (@p count of them), every text terminated; not for TABLE_EVENTS. Valid until the next load. */
const void *table_reader_rows(const struct table_reader *reader, enum table_section section, uint32_t *count);

/** Sequence numbers [*first, *next) of the events that are still in the ring. */
void table_reader_events(const struct table_reader *reader, uint64_t *first, uint64_t *next);
const struct table_event *table_reader_event(const struct table_reader *reader, uint64_t seq);

/** Milliseconds since the snapshot was published, never negative. */
int64_t table_reader_age_ms(const struct table_reader *reader);

/** Tests: called before every read, with the name of the step. */
void table_reader_set_step_hook(struct table_reader *reader, void (*hook)(void *ctx, const char *step), void *ctx);
