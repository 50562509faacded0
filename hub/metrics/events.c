/*
 * A line that repeats one of the newest TABLE_EVENT_REWRITE events (same level, same
 * source, same text) raises the count of that event instead of pushing an older one
 * out: a broker that refuses for an hour must not erase the line that says why.
 *
 * Helper threads log too, hence the mutex; it is never taken per message.
 */
#include "hub/metrics/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct table_event_ring ring;

static struct table_event *find_repeat(const struct table_event *event)
{
    uint64_t newest = ring.next_seq, oldest = newest > TABLE_EVENT_REWRITE ? newest - TABLE_EVENT_REWRITE : 0;
    for (uint64_t seq = newest; seq > oldest; seq--) {
        struct table_event *e = &ring.rows[(seq - 1) % ring.capacity];
        if (e->level == event->level && strcmp(e->who, event->who) == 0 && strcmp(e->text, event->text) == 0)
            return e;
    }
    return NULL;
}

static void record(enum log_level level, const char *who, const char *message)
{
    int64_t now = wall_now_ms();
    struct table_event event = {.first_wall_ms = now, .last_wall_ms = now, .count = 1, .level = (uint8_t)level};
    text_copy(event.who, sizeof(event.who), who, strlen(who));
    text_copy(event.text, sizeof(event.text), message, strlen(message));
    pthread_mutex_lock(&mutex);
    struct table_event *repeat = ring.rows ? find_repeat(&event) : NULL;
    if (repeat) {
        repeat->count++;
        repeat->last_wall_ms = now;
    } else if (ring.rows) {
        event.seq = ring.next_seq++;
        ring.rows[event.seq % ring.capacity] = event;
    }
    pthread_mutex_unlock(&mutex);
}

int events_init(uint32_t capacity)
{
    /* Not all at once resident: pages appear as the ring fills. */
    ring = (struct table_event_ring){calloc(capacity, sizeof(struct table_event)), capacity, 0};
    if (!ring.rows)
        return -ENOMEM;
    log_set_tap(record);
    return 0;
}

void events_deinit(void)
{
    log_set_tap(NULL);
    pthread_mutex_lock(&mutex);
    free(ring.rows);
    ring = (struct table_event_ring){NULL, 0, 0};
    pthread_mutex_unlock(&mutex);
}

const struct table_event_ring *events_lock(void)
{
    pthread_mutex_lock(&mutex);
    return &ring;
}

void events_unlock(void)
{
    pthread_mutex_unlock(&mutex);
}
