/* Filling rows; private to hub/control. */
#pragma once

#include "hub/control/snapshot.h"
#include "hub/instance/mq_client_instance.h"
#include "shm/table_writer.h"

/** Times of the present snapshot: every age in it refers to the same moment. */
struct snapshot_now {
    uint64_t mono_ns;
    int64_t wall_ms;
};

/** Age of a monotonic or wall-clock time; 0 means that it did not happen. */
int64_t age_of_ns(const struct snapshot_now *now, uint64_t then_ns);
int64_t age_of_ms(const struct snapshot_now *now, int64_t then_ms);

/** The instance and everything that it owns. */
void snapshot_add_instance(struct table_writer *writer, const struct snapshot_now *now, const struct mq_client_instance *instance);
void snapshot_add_clients(struct table_writer *writer, const struct snapshot_now *now, const struct ipc_server *clients);
void snapshot_add_config(struct table_writer *writer, const struct hub_config *config);
void snapshot_add_counters(struct table_writer *writer, const struct snapshot_sources *sources);

/** Copies a C string into a field, cut and terminated. */
#define SNAPSHOT_TEXT(field, string) text_copy((field), sizeof(field), (string), strlen(string))
