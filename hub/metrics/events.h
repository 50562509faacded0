/*
 * The event ring: what the hub said, kept for operators who were not watching its
 * stderr. Whatever any module logs at info or worse is an event, so there is one way
 * to report something, LOG_*() of shm/base/log.h, and no second list to keep in step.
 */
#pragma once

#include "shm/table_writer.h"

/** Starts collecting. Call once, before other threads exist. @p capacity: rows; 0 or -ENOMEM. */
int events_init(uint32_t capacity);

/** Stops collecting and releases the ring. */
void events_deinit(void);

/**
 * The ring, for as long as the lock is held: other threads that log wait for it, so hold it for a
 * publish and no longer.
 */
const struct table_event_ring *events_lock(void);
void events_unlock(void);
