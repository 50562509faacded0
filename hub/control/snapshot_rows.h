/* Filling rows; private to hub/control. */
#pragma once

#include "hub/control/snapshot.h"
#include "hub/instance/mq_client_instance.h"
#include "shm/table_writer.h"

/** Times of the present snapshot: every age in it refers to the same moment. */
struct snapshot_now {
    uint64_t mono_ns;
    int64_t wall_ms;
    struct group_rows *groups;
};

/** Age of a monotonic or wall-clock time; 0 means that it did not happen. */
int64_t age_of_ns(const struct snapshot_now *now, uint64_t then_ns);
int64_t age_of_ms(const struct snapshot_now *now, int64_t then_ms);
/** Milliseconds until then; 0 when that is over. */
int64_t left_until_ns(const struct snapshot_now *now, uint64_t then_ns);

/* Where in the table this instance's rows are. */
struct place {
    struct table_writer *writer;
    const struct snapshot_now *now;
    const struct mq_client_instance *instance;
    uint32_t index;                   /* row of the instance */
    uint32_t broker_row[BROKERS_MAX]; /* row of each broker's first address */
};

/** The instance and everything that it owns. */
void snapshot_add_instance(struct table_writer *writer, const struct snapshot_now *now, const struct mq_client_instance *instance);
void snapshot_add_clients(struct table_writer *writer, const struct snapshot_now *now, const struct ipc_server *clients);
void snapshot_add_problems(struct table_writer *writer, const struct snapshot_now *now);
void snapshot_add_config(struct table_writer *writer, const struct hub_config *config);
void snapshot_add_counters(struct table_writer *writer, const struct snapshot_sources *sources);

/** Its connections, with the requests that they hold. Returns how many are up. */
unsigned snapshot_add_channels(struct place *place);
/** Requests of one list. @p channel and @p broker may be NULL. */
void snapshot_add_pending(struct place *place, const struct list_link *list, const struct channel *channel, const struct broker *broker);
enum table_tls snapshot_tls_of_instance(const struct mq_client_instance *instance);

/** The groups of an instance, and its sums of them. */
void snapshot_add_groups(struct table_writer *writer, const struct snapshot_now *now, const struct producer_table *producers,
                         struct table_instance *instance, uint32_t instance_index);

/** Which row is which group's, for snapshot_count_processes(). NULL: no memory. */
struct group_rows *group_rows_new(void);
void group_rows_begin(struct group_rows *groups);
/** Fills in `clients` of the groups and instances of this snapshot. */
void snapshot_count_processes(struct group_rows *groups, const struct ipc_server *clients);

/** Copies a C string into a field, cut and terminated. */
#define SNAPSHOT_TEXT(field, string) text_copy((field), sizeof(field), (string), strlen(string))
