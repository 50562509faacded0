/*
 * One instance as rows: brokers first, because routes refer to them by row number.
 */
#include <stdio.h>
#include <string.h>

#include "hub/control/snapshot_rows.h"
#include "hub/instance/mq_client_manager.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

_Static_assert((int)TABLE_CREATE_JUST == SERVICE_CREATE_JUST && (int)TABLE_START_FAILED == SERVICE_START_FAILED,
               "service states are copied");
_Static_assert((int)TABLE_ROUTE_FROM_NAMESERVER == ROUTE_NAMESRV && (int)TABLE_ROUTE_FROM_DEFAULT_TOPIC == ROUTE_DEFAULT_TOPIC &&
                   (int)TABLE_ROUTE_FROM_CACHE == ROUTE_STORE,
               "route sources are copied");

/* The oldest request of a channel, in its hands or written; 0: none. Both lists are in order of arrival but for resubmissions. */
static uint64_t oldest_begin_ns(const struct channel *channel)
{
    const struct list_link *first[] = {list_first(&channel->waiting), list_first(&channel->pending)};
    uint64_t oldest = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (!first[i])
            continue;
        uint64_t begin = LIST_ENTRY(first[i], struct response_future, link)->begin_ns;
        if (oldest == 0 || begin < oldest)
            oldest = begin;
    }
    return oldest;
}

static void add_master(struct place *p, struct table_broker *row, const struct broker *broker)
{
    const struct channel *channel = broker->master;
    row->sends = broker->sends;
    row->stored = broker->stored;
    row->not_stored = broker->not_stored;
    row->unknown = broker->unknown;
    row->heartbeat_age_ms = age_of_ms(p->now, broker->heartbeat.last_ok_ms);
    if (!channel)
        return;
    row->state = (uint8_t)channel->state;
    row->connections = channel->state == CHANNEL_CONNECTED;
    row->pending = channel->waiting_count + channel->pending_count;
    row->oldest_pending_age_ms = age_of_ns(p->now, oldest_begin_ns(channel));
    SNAPSHOT_TEXT(row->last_error, channel->last_error);
}

static void add_broker(struct place *p, const struct broker *broker)
{
    for (unsigned a = 0; a < broker->addr_count; a++) {
        struct table_broker *row = table_writer_add(p->writer, TABLE_BROKERS);
        if (!row)
            return;
        if (a == 0)
            p->broker_row[broker->index] = table_writer_count(p->writer, TABLE_BROKERS) - 1;
        row->instance = p->index;
        row->id = broker->addrs[a].broker_id;
        row->heartbeat_age_ms = row->oldest_pending_age_ms = TABLE_NEVER;
        SNAPSHOT_TEXT(row->name, broker->name);
        SNAPSHOT_TEXT(row->cluster, broker->cluster);
        SNAPSHOT_TEXT(row->address, broker->addrs[a].address);
        if (row->id == 0)
            add_master(p, row, broker);
    }
}

static void add_heartbeat(struct place *p, const struct broker *broker)
{
    const struct heartbeat_record *h = &broker->heartbeat;
    const char *address = broker_master_address(broker);
    struct table_heartbeat *row = address ? table_writer_add(p->writer, TABLE_HEARTBEATS) : NULL;
    if (!row)
        return;
    row->instance = p->index;
    row->rt_us = h->last_rt_us;
    row->last_ok_age_ms = age_of_ms(p->now, h->last_ok_ms);
    row->next_in_ms = TABLE_NEVER;
    if (h->last_sent_ms) {
        int64_t due = h->last_sent_ms + p->instance->config.heartbeat_broker_interval_ms - p->now->wall_ms;
        row->next_in_ms = due > 0 ? due : 0;
    }
    row->ok = h->ok;
    row->failed = h->failed;
    row->history = h->last_20;
    row->history_bits = h->last_20_count;
    row->last_late_ms = h->last_late_ms;
    row->worst_late_ms = h->worst_late_ms;
    row->coalesced = h->coalesced;
    row->broker_version = h->broker_version;
    SNAPSHOT_TEXT(row->broker_name, broker->name);
    SNAPSHOT_TEXT(row->address, address);
    SNAPSHOT_TEXT(row->last_error, h->last_error);
}

static void add_brokers(struct place *p)
{
    for (unsigned i = 0; i < BROKERS_MAX; i++)
        p->broker_row[i] = TABLE_NO_INDEX;
    for (unsigned i = 0; i < p->instance->brokers.count; i++) {
        const struct broker *broker = p->instance->brokers.brokers[i];
        if (broker) {
            add_broker(p, broker);
            add_heartbeat(p, broker);
        }
    }
}

static uint16_t cut_u16(int32_t value)
{
    return value < 0 ? 0 : value > UINT16_MAX ? UINT16_MAX : (uint16_t)value;
}

static void add_queue_datas(struct place *p, struct table_route *row, const struct topic_route_data *route)
{
    row->brokers = route->broker_data_count;
    row->queue_datas = route->queue_data_count;
    for (unsigned i = 0; i < route->queue_data_count; i++) {
        const struct queue_data *q = &route->queue_datas[i];
        row->perm |= (uint8_t)(q->perm & 7);
        row->read_queues += cut_u16(q->read_queue_nums);
        if (q->perm & 2)
            row->write_queues += cut_u16(q->write_queue_nums);
        if (i >= TABLE_ROUTE_QUEUE_DATAS)
            continue;
        const struct broker *broker = broker_addr_table_find(&p->instance->brokers, q->broker_name.data, q->broker_name.len);
        row->queue_data[i].broker = broker ? p->broker_row[broker->index] : TABLE_NO_INDEX;
        row->queue_data[i].read_queues = cut_u16(q->read_queue_nums);
        row->queue_data[i].write_queues = cut_u16(q->write_queue_nums);
        row->queue_data[i].perm = (uint8_t)(q->perm & 7);
    }
}

static void add_route(struct place *p, const struct topic_entry *topic)
{
    struct table_route *row = topic->dormant ? NULL : table_writer_add(p->writer, TABLE_ROUTES);
    if (!row)
        return;
    row->instance = p->index;
    row->source = (uint8_t)topic->source;
    row->ordered = topic->info.order_topic;
    row->state = topic->source == ROUTE_NONE ? TABLE_ROUTE_MISSING : topic->info.count ? TABLE_ROUTE_OK : TABLE_ROUTE_NO_WRITABLE_QUEUE;
    row->references = topic->refs;
    row->fetches = topic->fetches;
    row->failures = topic->fetch_failures;
    row->failures_in_a_row = topic->failures_in_a_row;
    row->fetched_age_ms = topic->route_ns ? age_of_ns(p->now, topic->route_ns) : age_of_ms(p->now, topic->route_ms);
    row->changed_age_ms = age_of_ns(p->now, topic->changed_ns);
    row->used_age_ms = age_of_ns(p->now, topic->last_used_ns);
    row->expires_in_ms = TABLE_NEVER;
    if (topic->refs == 0 || strcmp(topic->name, p->instance->routes.create_topic_key) != 0)
        row->expires_in_ms = left_until_ns(p->now, topic->last_used_ns + p->instance->routes.idle_expiry_ns);
    row->unconfirmed = topic->source == ROUTE_STORE;
    row->changes = topic->changes;
    SNAPSHOT_TEXT(row->topic, topic->name);
    SNAPSHOT_TEXT(row->from, topic->from);
    SNAPSHOT_TEXT(row->last_error, topic->last_error);
    if (topic->route)
        add_queue_datas(p, row, topic->route);
}

static void add_pull_service(struct place *p)
{
    const struct pull_message_service *service = &p->instance->pull_message_service;
    struct table_service *row = table_writer_add(p->writer, TABLE_SERVICES);
    if (!row)
        return;
    row->instance = p->index;
    row->queued = service->queued_count;
    row->delayed = service->delayed_count;
    row->tasks = service->task_count;
    row->queued_most = service->queued_high;
    row->executed = service->counters.executed;
    row->ran_tasks = service->counters.tasks;
    row->dropped = service->counters.dropped;
    row->cancelled = service->counters.cancelled;
    row->refused = service->counters.refused;
    row->errors = service->counters.errors;
    SNAPSHOT_TEXT(row->name, "PullMessageService");
    SNAPSHOT_TEXT(row->state, pull_service_state_name(service->state));
}

static void add_requests(struct place *p)
{
    for (unsigned i = 0; i < PROCESSOR_ROWS; i++) {
        const struct processor_counters *c = &p->instance->processor.counters[i];
        struct table_request *row = c->received ? table_writer_add(p->writer, TABLE_REQUESTS) : NULL;
        if (!row)
            continue;
        row->instance = p->index;
        row->code = client_remoting_processor_code(i);
        row->received = c->received;
        row->answered = c->answered;
        row->ignored = c->ignored;
        row->refused = c->refused;
        row->limited = c->limited;
        row->too_big = c->too_big;
        SNAPSHOT_TEXT(row->name, client_remoting_processor_name(i));
    }
}

static void add_tasks(struct place *p)
{
    for (unsigned i = 0; i < p->instance->tasks.count; i++) {
        const struct scheduled_task *task = &p->instance->tasks.tasks[i];
        struct table_task *row = table_writer_add(p->writer, TABLE_TASKS);
        if (!row)
            return;
        row->instance = p->index;
        row->period_ms = (int64_t)(task->period_ns / NS_PER_MS);
        row->last_run_age_ms = age_of_ns(p->now, task->last_start_ns);
        row->next_in_ms = left_until_ns(p->now, task->next_ns);
        row->last_us = (uint32_t)(task->last_duration_ns / NS_PER_US);
        row->worst_us = (uint32_t)(task->worst_duration_ns / NS_PER_US);
        row->last_late_us = (uint32_t)(task->last_late_ns / NS_PER_US);
        row->worst_late_us = (uint32_t)(task->worst_late_ns / NS_PER_US);
        row->runs = task->runs;
        row->skipped = task->skipped;
        row->errors = task->errors;
        row->last_error = task->last_error;
        SNAPSHOT_TEXT(row->name, task->name);
    }
}

/* The list in the order of choice: from the chosen one on. */
static void fill_name_server(const struct place *p, struct table_instance *row)
{
    const struct name_server *ns = &p->instance->name_server;
    const char *chosen = name_server_chosen(ns);
    size_t used = 0;
    for (unsigned i = 0; i < ns->count; i++) {
        const char *address = ns->addresses[((ns->chosen < 0 ? 0 : (unsigned)ns->chosen) + i) % ns->count];
        int n = snprintf(row->namesrv_list + used, sizeof(row->namesrv_list) - used, "%s%s", i ? ";" : "", address);
        if (n < 0 || (size_t)n >= sizeof(row->namesrv_list) - used)
            break;
        used += (size_t)n;
    }
    SNAPSHOT_TEXT(row->namesrv_chosen, chosen ? chosen : "");
    row->namesrv_ok_age_ms = age_of_ms(p->now, ns->last_ok_ms);
    row->namesrv_requests = ns->requests;
    row->namesrv_failures = ns->failures;
    row->namesrv_failovers = ns->failovers;
    row->namesrv_silences = ns->silences;
    row->namesrv_changes = ns->list_changes;
}

static void fill_discovery(const struct place *p, struct table_instance *row)
{
    const struct top_addressing *top = &p->instance->top_addressing;
    row->discovery_ok_age_ms = age_of_ms(p->now, top->last_ok_ms);
    row->discovery_unconfirmed = top->from_store;
    row->discovery_fetches = top->fetches;
    row->discovery_answers = top->answers;
    SNAPSHOT_TEXT(row->discovery_url, top->url);
    SNAPSHOT_TEXT(row->discovery_error, top->last_error);
}

static void name_fingerprint(char *dst, size_t cap, uint32_t fingerprint)
{
    if (fingerprint)
        snprintf(dst, cap, "%08x", fingerprint);
}

static void fill_security(const struct place *p, struct table_instance *row)
{
    row->tls = (uint8_t)snapshot_tls_of_instance(p->instance);
    table_writer_hub(p->writer)->insecure_instances += row->tls == TABLE_TLS_INSECURE;
    name_fingerprint(row->tls_identity, sizeof(row->tls_identity), p->instance->tls_fingerprint);
    name_fingerprint(row->credentials, sizeof(row->credentials), p->instance->credentials_fingerprint);
}

static void fill_responses(const struct response_table *responses, struct table_instance *row)
{
    row->pending = responses->count;
    row->async_in_use = response_table_async_in_use(responses);
    row->async_limit = responses->max;
    row->oneway_in_use = responses->oneways;
    row->oneway_limit = responses->oneways_max;
    row->refused_async = responses->counters.refused_full;
    row->refused_oneway = responses->counters.refused_oneway;
    row->late_replies = responses->counters.late_or_unknown;
    row->wrong_channel = responses->counters.wrong_channel;
    row->suspicions = responses->counters.suspicions;
    row->scans = responses->counters.scans;
    row->scan_found = responses->counters.scan_found;
}

static void fill_instance(struct place *p, struct table_instance *row)
{
    const struct mq_client_instance *instance = p->instance;
    row->state = (uint8_t)instance->state;
    row->start_age_ms = age_of_ms(p->now, instance->started_ms);
    row->heartbeat_age_ms = TABLE_NEVER;
    for (unsigned i = 0; i < instance->brokers.count; i++) {
        const struct broker *broker = instance->brokers.brokers[i];
        int64_t age = broker ? age_of_ms(p->now, broker->heartbeat.last_ok_ms) : TABLE_NEVER;
        row->brokers += broker && broker->addr_count > 0;
        if (age != TABLE_NEVER && (row->heartbeat_age_ms == TABLE_NEVER || age < row->heartbeat_age_ms))
            row->heartbeat_age_ms = age;
    }
    row->topics = instance->routes.count;
    row->route_polls = instance->routes.polls;
    row->topics_expired = instance->routes.expired;
    row->factory_index = instance->factory_index;
    fill_name_server(p, row);
    fill_discovery(p, row);
    fill_security(p, row);
    fill_responses(&instance->remoting.responses, row);
    SNAPSHOT_TEXT(row->marker_group, instance->marker ? instance->marker->group : "");
    SNAPSHOT_TEXT(row->client_id, instance->client_id);
    SNAPSHOT_TEXT(row->cluster, instance->cluster);
    SNAPSHOT_TEXT(row->namesrv_addr, instance->namesrv_addr);
    SNAPSHOT_TEXT(row->unit_name, instance->unit_name);
    SNAPSHOT_TEXT(row->last_error, instance->start_problem[0] ? instance->start_problem : instance->name_server.last_error);
}

void snapshot_add_instance(struct table_writer *writer, const struct snapshot_now *now, const struct mq_client_instance *instance)
{
    struct table_instance *row = table_writer_add(writer, TABLE_INSTANCES);
    if (!row)
        return;
    struct place p = {.writer = writer, .now = now, .instance = instance, .index = table_writer_count(writer, TABLE_INSTANCES) - 1};
    fill_instance(&p, row);
    add_brokers(&p);
    snapshot_add_groups(writer, now, &instance->producers, row, p.index);
    for (uint32_t i = 0; i < instance->routes.count; i++) {
        add_route(&p, instance->routes.entries[i]);
        snapshot_add_pending(&p, &instance->routes.entries[i]->waiting, NULL, NULL);
    }
    row->connections = snapshot_add_channels(&p);
    row->extra_connections = mq_client_manager_is_extra(instance->manager, instance) ? row->connections : 0;
    table_writer_hub(writer)->extra_connections += row->extra_connections;
    add_pull_service(&p);
    add_requests(&p);
    add_tasks(&p);
}
