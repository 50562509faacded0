/*
 * Producer groups, and who uses them: a group counts its handles, so the processes
 * behind those are counted here, by walking the clients' handles once a snapshot.
 */
#include <stdlib.h>
#include <string.h>

#include "hub/control/snapshot_rows.h"
#include "hub/ipc/ipc_client.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

_Static_assert((int)TABLE_GROUP_ACTIVE == PRODUCER_ACTIVE && (int)TABLE_GROUP_UNREGISTERING == PRODUCER_UNREGISTERING,
               "group states are copied");

#define NOBODY UINT64_MAX

struct group_row {
    const struct producer *producer;
    struct table_group *row;
    struct table_instance *instance;
    uint64_t counted; /* number of the client that was counted last */
};

struct group_rows {
    unsigned count, capacity;
    struct group_row rows[];
};

struct group_rows *group_rows_new(void)
{
    unsigned capacity = table_section_info[TABLE_GROUPS].default_capacity;
    struct group_rows *groups = calloc(1, sizeof(*groups) + capacity * sizeof(groups->rows[0]));
    if (groups)
        groups->capacity = capacity;
    return groups;
}

void group_rows_begin(struct group_rows *groups)
{
    groups->count = 0;
}

static int64_t linger_left_ms(const struct snapshot_now *now, const struct producer *producer)
{
    if (!producer->linger_until_ns)
        return TABLE_NEVER;
    return producer->linger_until_ns > now->mono_ns ? (int64_t)((producer->linger_until_ns - now->mono_ns) / NS_PER_MS) : 0;
}

static void add_group(struct table_writer *writer, const struct snapshot_now *now, const struct producer *producer,
                      struct table_instance *instance, uint32_t instance_index)
{
    struct table_group *row = table_writer_add(writer, TABLE_GROUPS);
    if (!row)
        return;
    row->instance = instance_index;
    row->uid = (uint32_t)producer->uid;
    row->handles = producer->refs;
    row->outstanding = producer->outstanding;
    row->state = (uint8_t)producer->state;
    row->linger_left_ms = linger_left_ms(now, producer);
    row->start_age_ms = age_of_ms(now, producer->registered_ms);
    row->accepted = producer->sends;
    row->stored = producer->stored;
    row->not_stored = producer->not_stored;
    row->unknown = producer->unknown;
    SNAPSHOT_TEXT(row->group, producer->group);
    if (now->groups->count < now->groups->capacity)
        now->groups->rows[now->groups->count++] = (struct group_row){producer, row, instance, NOBODY};
}

void snapshot_add_groups(struct table_writer *writer, const struct snapshot_now *now, const struct producer_table *producers,
                         struct table_instance *instance, uint32_t instance_index)
{
    for (unsigned i = 0; i < producers->high; i++) {
        const struct producer *producer = producers->producers[i];
        if (!producer || producer->inner)
            continue;
        add_group(writer, now, producer, instance, instance_index);
        instance->groups++;
        instance->handles += producer->refs;
        instance->stored += producer->stored;
        instance->not_stored += producer->not_stored;
        instance->unknown += producer->unknown;
    }
}

static int compare_producers(const void *a, const void *b)
{
    const struct producer *x = ((const struct group_row *)a)->producer, *y = ((const struct group_row *)b)->producer;
    return (x > y) - (x < y);
}

/* A process counts once for a group and once for an instance, however many handles it has. */
static void count_client(struct group_rows *groups, const struct ipc_client *client)
{
    const struct table_instance *counted[SHM_REGISTRATIONS];
    unsigned instances = 0;
    for (unsigned i = 0; i < SHM_REGISTRATIONS; i++) {
        const struct ipc_handle *handle = client->handles[i];
        if (!handle || handle->kind != SHM_KIND_PRODUCER || !handle->producer)
            continue;
        struct group_row key = {.producer = handle->producer->producer};
        struct group_row *group = bsearch(&key, groups->rows, groups->count, sizeof(key), compare_producers);
        if (!group || group->counted == client->number)
            continue;
        group->counted = client->number;
        group->row->clients++;
        unsigned seen = 0;
        while (seen < instances && counted[seen] != group->instance)
            seen++;
        if (seen < instances)
            continue;
        counted[instances++] = group->instance;
        group->instance->clients++;
    }
}

void snapshot_count_processes(struct group_rows *groups, const struct ipc_server *clients)
{
    qsort(groups->rows, groups->count, sizeof(groups->rows[0]), compare_producers);
    for (unsigned i = 0; i < ipc_server_count(clients); i++)
        count_client(groups, ipc_server_at(clients, i));
}
