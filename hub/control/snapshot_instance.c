/*
 * One instance as rows: brokers first, because routes refer to them by row number.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hub/control/snapshot_rows.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/ipc/ipc_client.h"
#include "hub/producer/producer_impl.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

/* Where in the table this instance's rows are. */
struct place {
    struct table_writer *writer;
    const struct snapshot_now *now;
    const struct mq_client_instance *instance;
    uint32_t index;                   /* row of the instance */
    uint32_t broker_row[BROKERS_MAX]; /* row of each broker's first address */
};

_Static_assert((int)TABLE_CHANNEL_IDLE == CHANNEL_IDLE && (int)TABLE_CHANNEL_RESOLVING == CHANNEL_RESOLVING &&
                   (int)TABLE_CHANNEL_CONNECTING == CHANNEL_CONNECTING && (int)TABLE_CHANNEL_CONNECTED == CHANNEL_CONNECTED &&
                   (int)TABLE_CHANNEL_BACKOFF == CHANNEL_BACKOFF && (int)TABLE_CHANNEL_CLOSED == CHANNEL_CLOSED,
               "channel states are copied");
_Static_assert((int)TABLE_CREATE_JUST == SERVICE_CREATE_JUST && (int)TABLE_START_FAILED == SERVICE_START_FAILED,
               "service states are copied");
_Static_assert((int)TABLE_ROUTE_FROM_NAMESERVER == ROUTE_NAMESRV && (int)TABLE_ROUTE_FROM_DEFAULT_TOPIC == ROUTE_DEFAULT_TOPIC &&
                   (int)TABLE_ROUTE_FROM_CACHE == ROUTE_STORE,
               "route sources are copied");

static const struct broker *broker_of_channel(const struct mq_client_instance *instance, const struct channel *channel)
{
    for (unsigned i = 0; i < instance->brokers.count; i++)
        if (instance->brokers.brokers[i] && instance->brokers.brokers[i]->master == channel)
            return instance->brokers.brokers[i];
    return NULL;
}

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
    row->ordered = route->order_topic_conf.data != NULL;
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

static int64_t left_until_ns(const struct snapshot_now *now, uint64_t then_ns)
{
    return then_ns > now->mono_ns ? (int64_t)((then_ns - now->mono_ns) / NS_PER_MS) : 0;
}

static void add_route(struct place *p, const struct topic_entry *topic)
{
    struct table_route *row = topic->dormant ? NULL : table_writer_add(p->writer, TABLE_ROUTES);
    if (!row)
        return;
    row->instance = p->index;
    row->source = (uint8_t)topic->source;
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

static void name_local_address(char *dst, size_t cap, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t len = sizeof(address);
    char host[INET6_ADDRSTRLEN];
    if (fd < 0 || getsockname(fd, &address.any, &len) < 0)
        return;
    if (address.any.sa_family == AF_INET && inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof(host)))
        snprintf(dst, cap, "%s:%u", host, ntohs(address.v4.sin_port));
    else if (address.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof(host)))
        snprintf(dst, cap, "[%s]:%u", host, ntohs(address.v6.sin6_port));
}

static void add_connection(struct place *p, const struct channel *channel)
{
    struct table_connection *row = table_writer_add(p->writer, TABLE_CONNECTIONS);
    const struct broker *broker = broker_of_channel(p->instance, channel);
    if (!row)
        return;
    row->instance = p->index;
    row->state = (uint8_t)channel->state;
    row->role = !broker && name_server_owns(&p->instance->name_server, channel) ? TABLE_ROLE_NAMESERVER : TABLE_ROLE_BROKER;
    row->fd = channel->fd;
    row->pending = channel->waiting_count + channel->pending_count;
    row->state_age_ms = age_of_ns(p->now, channel->state_since_ns);
    row->last_in_age_ms = channel->state == CHANNEL_CONNECTED ? age_of_ns(p->now, channel->last_read_ns) : TABLE_NEVER;
    row->bytes_in = channel->counters.bytes_in;
    row->bytes_out = channel->counters.bytes_out;
    row->frames_in = channel->counters.frames_in;
    row->frames_out = channel->counters.frames_out;
    row->send_queue_bytes = channel->out.tail - channel->out.head;
    row->connects = channel->counters.connects;
    row->reconnects = channel->counters.connects ? channel->counters.connects - 1 : 0;
    row->connect_failures = channel->counters.connect_failures;
    row->next_try_ms = TABLE_NEVER;
    if (channel->state == CHANNEL_BACKOFF && loop_timer_is_scheduled(&channel->timer))
        row->next_try_ms = left_until_ns(p->now, channel->timer.at_ns);
    row->held_back = channel->counters.held_back;
    SNAPSHOT_TEXT(row->peer_name, broker ? broker->name : "");
    SNAPSHOT_TEXT(row->peer_address, channel->address);
    SNAPSHOT_TEXT(row->last_error, channel->last_error);
    if (channel->state == CHANNEL_CONNECTED)
        name_local_address(row->local_address, sizeof(row->local_address), channel->fd);
}

static void add_pending(struct place *p, const struct response_future *future, const struct channel *channel, const struct broker *broker)
{
    struct table_pending *row = table_writer_add(p->writer, TABLE_PENDING);
    if (!row)
        return;
    const struct send_request *send = send_request_of(future);
    const struct ipc_client *client = send ? ipc_client_of_send(send) : NULL;
    row->client = client ? client->number : 0;
    row->pid = client ? (uint32_t)client->pid : 0;
    row->instance = p->index;
    row->opaque = future->opaque;
    row->code = future->code;
    row->state = future->state == FUTURE_PARKED    ? TABLE_REQUEST_WAITS_FOR_ROUTE
                 : future->state == FUTURE_WAITING ? TABLE_REQUEST_WAITS_FOR_CHANNEL
                                                   : TABLE_REQUEST_ON_WIRE;
    row->mode = send ? send->mode : TABLE_MODE_INTERNAL;
    row->age_ms = age_of_ns(p->now, future->begin_ns);
    row->deadline_in_ms = ((int64_t)future->deadline.at_ns - (int64_t)p->now->mono_ns) / (int64_t)NS_PER_MS;
    SNAPSHOT_TEXT(row->broker_name, broker ? broker->name : "");
    SNAPSHOT_TEXT(row->address, channel ? channel->address : "");
    SNAPSHOT_TEXT(row->topic, send && send->topic ? send->topic->name : "");
    SNAPSHOT_TEXT(row->group, send && send->producer ? send->producer->group : "");
}

static void add_pending_list(struct place *p, const struct list_link *list, const struct channel *channel, const struct broker *broker)
{
    for (const struct list_link *it = list->next; it != list; it = it->next)
        add_pending(p, LIST_ENTRY(it, const struct response_future, link), channel, broker);
}

static unsigned add_channels(struct place *p)
{
    const struct list_link *channels = &p->instance->remoting.channels;
    unsigned connected = 0;
    for (const struct list_link *it = channels->next; it != channels; it = it->next) {
        const struct channel *channel = LIST_ENTRY(it, const struct channel, link);
        const struct broker *broker = broker_of_channel(p->instance, channel);
        connected += channel->state == CHANNEL_CONNECTED;
        add_connection(p, channel);
        add_pending_list(p, &channel->pending, channel, broker);
        add_pending_list(p, &channel->oneways, channel, broker);
        add_pending_list(p, &channel->waiting, channel, broker);
    }
    return connected;
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

static enum table_tls tls_of_instance(const struct mq_client_instance *instance)
{
    const struct tls_settings *tls = &instance->config.tls;
    return !tls->enable ? TABLE_TLS_OFF : tls->insecure ? TABLE_TLS_INSECURE : TABLE_TLS_VERIFIED;
}

static void fill_security(const struct place *p, struct table_instance *row)
{
    row->tls = (uint8_t)tls_of_instance(p->instance);
    table_writer_hub(p->writer)->insecure_instances += row->tls == TABLE_TLS_INSECURE;
    name_fingerprint(row->tls_identity, sizeof(row->tls_identity), p->instance->tls_fingerprint);
    name_fingerprint(row->credentials, sizeof(row->credentials), p->instance->credentials_fingerprint);
}

static void fill_responses(const struct response_table *responses, struct table_instance *row)
{
    row->pending = row->async_in_use = responses->count;
    row->async_limit = responses->max;
    row->late_replies = responses->counters.late_or_unknown;
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
        add_pending_list(&p, &instance->routes.entries[i]->waiting, NULL, NULL);
    }
    row->connections = add_channels(&p);
    row->extra_connections = mq_client_manager_is_extra(instance->manager, instance) ? row->connections : 0;
    table_writer_hub(writer)->extra_connections += row->extra_connections;
    add_pull_service(&p);
    add_tasks(&p);
}
