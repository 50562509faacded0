/* A plain array: a lookup by name happens when a route changes, not when a message is sent. */
#include "hub/route/broker_addr_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/topic_route_data.h"
#include "shm/base/text.h"

void broker_addr_table_deinit(struct broker_addr_table *table)
{
    for (unsigned i = 0; i < table->count; i++)
        free(table->brokers[i]);
    table->count = 0;
}

struct broker *broker_addr_table_find(const struct broker_addr_table *table, const char *name, size_t len)
{
    for (unsigned i = 0; i < table->count; i++)
        if (strlen(table->brokers[i]->name) == len && memcmp(table->brokers[i]->name, name, len) == 0)
            return table->brokers[i];
    return NULL;
}

static int add(struct broker_addr_table *table, struct span name, struct broker **out)
{
    if (table->count == BROKERS_MAX)
        return -EDQUOT;
    struct broker *broker = calloc(1, sizeof(*broker));
    if (!broker)
        return -ENOMEM;
    if (name.len == 0 || !text_copy(broker->name, sizeof(broker->name), name.data, name.len)) {
        free(broker);
        return -EINVAL;
    }
    broker->index = (uint16_t)table->count;
    table->brokers[table->count++] = broker;
    *out = broker;
    return 0;
}

void broker_addr_table_reuse(struct broker *broker, const struct broker_data *data)
{
    uint16_t index = broker->index;
    memset(broker, 0, sizeof(*broker));
    broker->index = index;
    text_copy(broker->name, sizeof(broker->name), data->broker_name.data, data->broker_name.len);
}

/* The rule: every round brings each broker once per topic, as it was. */
static bool is_unchanged(const struct broker *broker, const struct broker_data *data)
{
    if (broker->addr_count != data->addr_count || !span_equals(span_of(broker->cluster), data->cluster))
        return false;
    for (unsigned i = 0; i < data->addr_count; i++)
        if (broker->addrs[i].broker_id != data->addrs[i].broker_id || !span_equals(span_of(broker->addrs[i].address), data->addrs[i].addr))
            return false;
    return true;
}

static int read_addrs(const struct broker_data *data, struct broker_address *out, uint16_t *count)
{
    *count = 0;
    for (unsigned i = 0; i < data->addr_count && *count < BROKER_ADDRS_MAX; i++, ++*count) {
        out[*count].broker_id = data->addrs[i].broker_id;
        if (!text_copy(out[*count].address, sizeof(out[0].address), data->addrs[i].addr.data, data->addrs[i].addr.len))
            return -EINVAL;
    }
    return 0;
}

int broker_addr_table_put(struct broker_addr_table *table, const struct broker_data *data)
{
    struct broker_address addrs[BROKER_ADDRS_MAX];
    uint16_t count;
    struct broker *broker = broker_addr_table_find(table, data->broker_name.data, data->broker_name.len);
    if (broker && is_unchanged(broker, data))
        return 0;
    memset(addrs, 0, sizeof(addrs));
    int r = read_addrs(data, addrs, &count);
    if (r < 0)
        return r;
    if (!broker && (r = add(table, data->broker_name, &broker)) < 0)
        return r;
    text_copy(broker->cluster, sizeof(broker->cluster), data->cluster.data ? data->cluster.data : "", data->cluster.len);
    if (broker->addr_count == count && memcmp(broker->addrs, addrs, sizeof(addrs)) == 0)
        return 0;
    memcpy(broker->addrs, addrs, sizeof(addrs));
    broker->addr_count = count;
    broker->offline_ns = 0;
    return 1;
}

const char *broker_master_address(const struct broker *broker)
{
    for (unsigned i = 0; i < broker->addr_count; i++)
        if (broker->addrs[i].broker_id == 0)
            return broker->addrs[i].address;
    return NULL;
}
