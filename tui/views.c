/*
 * The columns of every reading verb. Adding a field to the output is a line here;
 * keys are a contract with scripts and only grow (docs/cli.md).
 */
#include <stdio.h>
#include <string.h>

#include "shm/base/log.h"
#include "tui/view.h"

#define COUNT_OF(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static int64_t load_number(const void *row, const struct column *column)
{
    const char *p = (const char *)row + column->offset;
    uint64_t v8;
    uint32_t v4;
    uint16_t v2;
    switch (column->bytes) {
    case 1:
        return *(const uint8_t *)p;
    case 2:
        memcpy(&v2, p, 2);
        return v2;
    case 4:
        memcpy(&v4, p, 4);
        return v4;
    default:
        memcpy(&v8, p, 8);
        return (int64_t)v8;
    }
}

static void get_field(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)reader;
    cell->kind = column->kind;
    if (column->kind == CELL_TEXT)
        cell->text = (const char *)row + column->offset;
    else
        cell->number = load_number(row, column);
}

static void get_signed32(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    get_field(reader, column, row, cell);
    cell->number = (int32_t)(uint32_t)cell->number;
}

/* The flag says the opposite. */
static void get_confirmed(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    get_field(reader, column, row, cell);
    cell->number = !cell->number;
}

static void get_errno(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    get_signed32(reader, column, row, cell);
    int number = (int)(cell->number < 0 ? -cell->number : cell->number);
    snprintf(cell->buffer, sizeof(cell->buffer), "%s", number ? strerror(number) : "");
    cell->text = cell->buffer;
}

/* A time or a duration that may not exist. */
static void get_optional(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    get_field(reader, column, row, cell);
    if (cell->number == TABLE_NEVER)
        cell->kind = CELL_NONE;
}

static void get_name(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)reader;
    uint64_t value = (uint64_t)load_number(row, column);
    cell->kind = CELL_TEXT;
    cell->text = value < column->name_count ? column->names[value] : "?";
}

static void get_instance(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    uint32_t count;
    uint64_t index = (uint64_t)load_number(row, column);
    const struct table_instance *instances = table_reader_rows(reader, TABLE_INSTANCES, &count);
    cell->kind = index < count ? CELL_TEXT : CELL_NONE;
    cell->text = index < count ? instances[index].client_id : "";
}

/* 4.9.3's way to write a permission: RWX, with - for what is missing. */
static void get_perm(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)reader;
    uint64_t perm = (uint64_t)load_number(row, column);
    snprintf(cell->buffer, sizeof(cell->buffer), "%c%c%c", perm & 4 ? 'R' : '-', perm & 2 ? 'W' : '-', perm & 1 ? 'X' : '-');
    cell->kind = CELL_TEXT;
    cell->text = cell->buffer;
}

/* Heartbeats, the newest to the right: o answered, x not. */
static void get_history(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)reader;
    (void)column;
    const struct table_heartbeat *h = row;
    uint32_t bits = h->history_bits < 20 ? h->history_bits : 20;
    char *out = cell->buffer;
    for (uint32_t bit = bits; bit-- > 0;)
        *out++ = h->history >> bit & 1 ? 'o' : 'x';
    *out = '\0';
    cell->kind = CELL_TEXT;
    cell->text = cell->buffer;
}

/* "broker-a:4r4w6 broker-b:..." */
static void get_queue_datas(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)column;
    const struct table_route *route = row;
    uint32_t brokers;
    const struct table_broker *broker = table_reader_rows(reader, TABLE_BROKERS, &brokers);
    size_t used = 0;
    cell->buffer[0] = '\0';
    for (uint32_t i = 0; i < route->queue_datas && i < TABLE_ROUTE_QUEUE_DATAS; i++) {
        const struct table_queue_data *q = &route->queue_data[i];
        const char *name = q->broker < brokers ? broker[q->broker].name : "?";
        int n = snprintf(cell->buffer + used, sizeof(cell->buffer) - used, "%s%s:r%uw%up%u", i ? " " : "", name, q->read_queues,
                         q->write_queues, q->perm);
        if (n < 0 || (size_t)n >= sizeof(cell->buffer) - used)
            break;
        used += (size_t)n;
    }
    if (route->queue_datas > TABLE_ROUTE_QUEUE_DATAS && sizeof(cell->buffer) - used > 5)
        memcpy(cell->buffer + used, " ...", 5);
    cell->kind = CELL_TEXT;
    cell->text = cell->buffer;
}

static void get_request_name(const struct table_reader *reader, const struct column *column, const void *row, struct cell *cell)
{
    (void)reader;
    static const struct {
        int32_t code;
        const char *name;
    } known[] = {{10, "SEND_MESSAGE"},     {34, "HEART_BEAT"},         {35, "UNREGISTER_CLIENT"}, {105, "GET_ROUTEINFO_BY_TOPIC"},
                 {310, "SEND_MESSAGE_V2"}, {320, "SEND_BATCH_MESSAGE"}};
    int32_t code = (int32_t)(uint32_t)load_number(row, column);
    cell->kind = CELL_TEXT;
    cell->text = "";
    for (unsigned i = 0; i < COUNT_OF(known); i++)
        if (known[i].code == code)
            cell->text = known[i].name;
}

#define FIELD(row, member) offsetof(struct table_##row, member), sizeof(((struct table_##row *)0)->member)
#define PLAIN(kind, key, title, row, member) \
    { \
        key, title, get_field, kind, FIELD(row, member), NULL, 0 \
    }
#define TEXT(key, title, row, member) PLAIN(CELL_TEXT, key, title, row, member)
#define NUMBER(key, title, row, member) PLAIN(CELL_NUMBER, key, title, row, member)
#define BYTES(key, title, row, member) PLAIN(CELL_BYTES, key, title, row, member)
#define MAYBE_MS(key, title, row, member) \
    { \
        key, title, get_optional, CELL_DURATION, FIELD(row, member), NULL, 0 \
    }
#define INSTANCE(title, row) \
    { \
        "client_id", title, get_instance, CELL_TEXT, FIELD(row, instance), NULL, 0 \
    }
#define NAMED(key, title, row, member, list) \
    { \
        key, title, get_name, CELL_TEXT, FIELD(row, member), list, COUNT_OF(list) \
    }

static const char *const hub_states[] = {"starting", "running", "draining", "stopped"};
static const char *const service_states[] = {"CREATE_JUST", "RUNNING", "SHUTDOWN_ALREADY", "START_FAILED"};
static const char *const group_states[] = {"active", "lingering", "unregistering"};
static const char *const client_states[] = {"attached", "detached", "ending", "quarantined"};
static const char *const route_states[] = {"missing", "ok", "no_writable_queue"};
static const char *const route_sources[] = {"none", "nameserver", "default_topic", "cache"};
static const char *const channel_states[] = {"idle", "resolving", "connecting", "connected", "backoff", "closed"};
static const char *const roles[] = {"broker", "nameserver", "broker_data"};
static const char *const modes[] = {"sync", "async", "oneway", "internal"};
static const char *const request_states[] = {"waits_for_route", "waits_for_channel", "on_wire"};
static const char *const counter_kinds[] = {"counter", "gauge"};
static const char *const config_sources[] = {"default", "file", "environment", "command_line"};
static const char *const tls_states[] = {"off", "verified", "INSECURE", "no_context", "not_yet"};
static const char *const severities[] = {"warning", "critical"};
static const char *const levels[] = {"error", "warn", "info", "debug"};

static const struct column status_columns[] = {
    NAMED("state", "state", half_header, hub.state, hub_states),
    NUMBER("pid", "pid", half_header, hub.pid),
    TEXT("version", "version", half_header, hub.version),
    PLAIN(CELL_BIG, "epoch", "epoch", half_header, hub.epoch),
    TEXT("host", "host", half_header, hub.host),
    NUMBER("uid", "uid", half_header, hub.uid),
    PLAIN(CELL_TIME, "started_at", "started", half_header, hub.start_wall_ms),
    PLAIN(CELL_DURATION, "up_ms", "up", half_header, hub.up_ms),
    TEXT("cluster", "default cluster", half_header, hub.cluster),
    TEXT("namesrv_addr", "nameservers", half_header, hub.namesrv_addr),
    NUMBER("instances", "instances", half_header, count[TABLE_INSTANCES]),
    NUMBER("groups", "groups", half_header, count[TABLE_GROUPS]),
    NUMBER("clients", "clients", half_header, count[TABLE_CLIENTS]),
    NUMBER("routes", "routes", half_header, count[TABLE_ROUTES]),
    NUMBER("brokers", "brokers", half_header, count[TABLE_BROKERS]),
    NUMBER("connections", "connections", half_header, count[TABLE_CONNECTIONS]),
    NUMBER("pending", "pending requests", half_header, count[TABLE_PENDING]),
    NUMBER("problems_critical", "critical problems", half_header, hub.problems_crit),
    NUMBER("problems_warning", "warnings", half_header, hub.problems_warn),
    NUMBER("insecure_instances", "INSECURE instances", half_header, hub.insecure_instances),
    NUMBER("extra_connections", "extra connections", half_header, hub.extra_connections),
    BYTES("rss_bytes", "resident memory", half_header, hub.rss_bytes),
    BYTES("private_bytes", "of it private", half_header, hub.private_bytes),
    BYTES("segment_bytes", "clients' segments", half_header, hub.segment_bytes),
    NUMBER("cpu_us", "CPU time, us", half_header, hub.cpu_us),
    NUMBER("loop_rounds", "loop rounds", half_header, hub.loop_rounds),
    NUMBER("loop_wakeups", "loop wake-ups", half_header, hub.loop_wakeups),
    NUMBER("loop_worst_round_ns", "worst round, ns", half_header, hub.loop_worst_round_ns),
    NUMBER("open_fds", "descriptors", half_header, hub.open_fds),
    NUMBER("fd_limit", "descriptor limit", half_header, hub.fd_limit),
    PLAIN(CELL_DURATION, "linger_ms", "linger", half_header, hub.linger_ms),
    TEXT("runtime_dir", "runtime directory", half_header, hub.runtime_dir),
    TEXT("state_dir", "state directory", half_header, hub.state_dir),
    TEXT("config_file", "configuration", half_header, hub.config_file),
    PLAIN(CELL_TIME, "published_at", "published", half_header, published_wall_ms),
};

static const struct column instance_columns[] = {
    TEXT("client_id", "CLIENT-ID", instance, client_id),
    NAMED("state", "STATE", instance, state, service_states),
    TEXT("cluster", "CLUSTER", instance, cluster),
    TEXT("namesrv_addr", NULL, instance, namesrv_addr),
    TEXT("unit_name", NULL, instance, unit_name),
    NUMBER("factory_index", "IDX", instance, factory_index),
    NUMBER("groups", "GRP", instance, groups),
    NUMBER("clients", "CLIENTS", instance, clients),
    NUMBER("handles", NULL, instance, handles),
    NUMBER("topics", "TOPICS", instance, topics),
    NUMBER("brokers", "BROKERS", instance, brokers),
    NUMBER("connections", "CONN", instance, connections),
    NUMBER("extra_connections", "EXTRA", instance, extra_connections),
    NAMED("tls", "TLS", instance, tls, tls_states),
    TEXT("tls_identity", NULL, instance, tls_identity),
    TEXT("credentials", "CREDENTIALS", instance, credentials),
    NUMBER("pending", "PENDING", instance, pending),
    NUMBER("stored", "STORED", instance, stored),
    NUMBER("not_stored", "NOT-STORED", instance, not_stored),
    NUMBER("unknown", "UNKNOWN", instance, unknown),
    MAYBE_MS("heartbeat_age_ms", "HB", instance, heartbeat_age_ms),
    MAYBE_MS("start_age_ms", "UP", instance, start_age_ms),
    NUMBER("async_in_use", NULL, instance, async_in_use),
    NUMBER("async_limit", NULL, instance, async_limit),
    NUMBER("oneway_in_use", NULL, instance, oneway_in_use),
    NUMBER("oneway_limit", NULL, instance, oneway_limit),
    NUMBER("refused_async", NULL, instance, refused_async),
    NUMBER("refused_oneway", NULL, instance, refused_oneway),
    NUMBER("late_replies", NULL, instance, late_replies),
    NUMBER("wrong_channel_replies", NULL, instance, wrong_channel),
    NUMBER("suspicions", NULL, instance, suspicions),
    NUMBER("scans", NULL, instance, scans),
    NUMBER("scan_found", NULL, instance, scan_found),
    NUMBER("route_polls", NULL, instance, route_polls),
    NUMBER("topics_expired", NULL, instance, topics_expired),
    TEXT("namesrv_list", NULL, instance, namesrv_list),
    TEXT("namesrv_chosen", NULL, instance, namesrv_chosen),
    MAYBE_MS("namesrv_ok_age_ms", NULL, instance, namesrv_ok_age_ms),
    NUMBER("namesrv_requests", NULL, instance, namesrv_requests),
    NUMBER("namesrv_failures", NULL, instance, namesrv_failures),
    NUMBER("namesrv_failovers", NULL, instance, namesrv_failovers),
    NUMBER("namesrv_silences", NULL, instance, namesrv_silences),
    NUMBER("namesrv_changes", NULL, instance, namesrv_changes),
    TEXT("discovery_url", NULL, instance, discovery_url),
    MAYBE_MS("discovery_ok_age_ms", NULL, instance, discovery_ok_age_ms),
    PLAIN(CELL_BOOL, "discovery_unconfirmed", NULL, instance, discovery_unconfirmed),
    NUMBER("discovery_fetches", NULL, instance, discovery_fetches),
    NUMBER("discovery_answers", NULL, instance, discovery_answers),
    TEXT("discovery_error", NULL, instance, discovery_error),
    TEXT("marker_group", NULL, instance, marker_group),
    TEXT("last_error", NULL, instance, last_error),
};

static const struct column group_columns[] = {
    TEXT("group", "GROUP", group, group),
    NAMED("state", "STATE", group, state, group_states),
    NUMBER("clients", "CLIENTS", group, clients),
    NUMBER("handles", "HANDLES", group, handles),
    NUMBER("outstanding", NULL, group, outstanding),
    NUMBER("uid", "UID", group, uid),
    INSTANCE("CLIENT-ID", group),
    NUMBER("accepted", "ACCEPTED", group, accepted),
    NUMBER("stored", "STORED", group, stored),
    NUMBER("not_stored", "NOT-STORED", group, not_stored),
    NUMBER("unknown", "UNKNOWN", group, unknown),
    MAYBE_MS("linger_left_ms", "LINGER-LEFT", group, linger_left_ms),
    MAYBE_MS("start_age_ms", "UP", group, start_age_ms),
};

static const struct column client_columns[] = {
    PLAIN(CELL_BIG, "client", "CLIENT", client, number),
    NUMBER("pid", "PID", client, pid),
    TEXT("command", "COMMAND", client, command),
    NUMBER("uid", "UID", client, uid),
    NUMBER("gid", NULL, client, gid),
    NAMED("state", "STATE", client, state, client_states),
    TEXT("group", "GROUP", client, group),
    NUMBER("registrations", "REG", client, registrations),
    NUMBER("in_flight", "INFL", client, in_flight),
    BYTES("body_bytes", NULL, client, body_bytes),
    BYTES("segment_bytes", "MEMORY", client, segment_bytes),
    NUMBER("accepted", "ACCEPTED", client, accepted),
    NUMBER("stored", "STORED", client, stored),
    NUMBER("not_stored", "NOT-STORED", client, not_stored),
    NUMBER("unknown", "UNKNOWN", client, unknown),
    NUMBER("lanes", NULL, client, lanes),
    NUMBER("abi_major", NULL, client, abi_major),
    NUMBER("abi_minor", NULL, client, abi_minor),
    MAYBE_MS("last_send_age_ms", "LAST", client, last_send_age_ms),
    MAYBE_MS("attach_age_ms", "ATTACHED", client, attach_age_ms),
    TEXT("reason", "REASON", client, reason),
};

static const struct column route_columns[] = {
    TEXT("topic", "TOPIC", route, topic),
    NAMED("state", "STATE", route, state, route_states),
    {"perm", "PERM", get_perm, CELL_TEXT, FIELD(route, perm), NULL, 0},
    NUMBER("brokers", "BRK", route, brokers),
    NUMBER("write_queues", "WQ", route, write_queues),
    NUMBER("read_queues", "RQ", route, read_queues),
    NAMED("source", "SOURCE", route, source, route_sources),
    {"confirmed", "CONFIRMED", get_confirmed, CELL_BOOL, FIELD(route, unconfirmed), NULL, 0},
    TEXT("from", "FROM", route, from),
    MAYBE_MS("fetched_age_ms", "AGE", route, fetched_age_ms),
    MAYBE_MS("changed_age_ms", "CHANGED", route, changed_age_ms),
    NUMBER("fetches", NULL, route, fetches),
    NUMBER("failures", "FAIL", route, failures),
    NUMBER("failures_in_a_row", NULL, route, failures_in_a_row),
    NUMBER("references", "USED", route, references),
    MAYBE_MS("used_age_ms", NULL, route, used_age_ms),
    MAYBE_MS("expires_in_ms", NULL, route, expires_in_ms),
    NUMBER("changes", NULL, route, changes),
    PLAIN(CELL_BOOL, "ordered", NULL, route, ordered),
    {"queues", NULL, get_queue_datas, CELL_TEXT, FIELD(route, queue_datas), NULL, 0},
    INSTANCE(NULL, route),
    TEXT("last_error", "LAST-ERROR", route, last_error),
};

static const struct column broker_columns[] = {
    TEXT("broker", "BROKER", broker, name),
    PLAIN(CELL_NUMBER, "broker_id", "ID", broker, id),
    TEXT("address", "ADDRESS", broker, address),
    NAMED("state", "STATE", broker, state, channel_states),
    TEXT("cluster", NULL, broker, cluster),
    NUMBER("connections", "CONN", broker, connections),
    NUMBER("pending", "PENDING", broker, pending),
    MAYBE_MS("oldest_pending_age_ms", "OLDEST", broker, oldest_pending_age_ms),
    NUMBER("sends", "SENDS", broker, sends),
    NUMBER("stored", "STORED", broker, stored),
    NUMBER("not_stored", "NOT-STORED", broker, not_stored),
    NUMBER("unknown", "UNKNOWN", broker, unknown),
    MAYBE_MS("heartbeat_age_ms", "HB", broker, heartbeat_age_ms),
    INSTANCE(NULL, broker),
    TEXT("last_error", "LAST-ERROR", broker, last_error),
};

static const struct column connection_columns[] = {
    TEXT("peer_address", "PEER", connection, peer_address),
    TEXT("peer_name", "NAME", connection, peer_name),
    NAMED("role", "ROLE", connection, role, roles),
    NAMED("state", "STATE", connection, state, channel_states),
    NAMED("tls", "TLS", connection, tls, tls_states),
    TEXT("local_address", "LOCAL", connection, local_address),
    MAYBE_MS("state_age_ms", "AGE", connection, state_age_ms),
    BYTES("bytes_in", "IN", connection, bytes_in),
    BYTES("bytes_out", "OUT", connection, bytes_out),
    NUMBER("frames_in", NULL, connection, frames_in),
    NUMBER("frames_out", NULL, connection, frames_out),
    BYTES("send_queue_bytes", "SENDQ", connection, send_queue_bytes),
    NUMBER("pending", "PENDING", connection, pending),
    NUMBER("connects", "CONNECTS", connection, connects),
    NUMBER("reconnects", "RECONN", connection, reconnects),
    NUMBER("connect_failures", "FAIL", connection, connect_failures),
    MAYBE_MS("next_try_ms", "NEXT-TRY", connection, next_try_ms),
    MAYBE_MS("last_in_age_ms", NULL, connection, last_in_age_ms),
    NUMBER("closes", NULL, connection, closes),
    NUMBER("exceptions", NULL, connection, exceptions),
    NUMBER("idle_closes", NULL, connection, idle_closes),
    NUMBER("held_back", NULL, connection, held_back),
    TEXT("tls_protocol", NULL, connection, tls_protocol),
    TEXT("tls_cipher", NULL, connection, tls_cipher),
    TEXT("tls_peer", NULL, connection, tls_peer),
    PLAIN(CELL_BOOL, "tls_resumed", NULL, connection, tls_resumed),
    NUMBER("tls_resumptions", NULL, connection, tls_resumptions),
    PLAIN(CELL_BOOL, "is_held_back", NULL, connection, is_held_back),
    PLAIN(CELL_BOOL, "is_suspect", NULL, connection, is_suspect),
    {"fd", NULL, get_signed32, CELL_NUMBER, FIELD(connection, fd), NULL, 0},
    INSTANCE(NULL, connection),
    TEXT("last_error", "LAST-ERROR", connection, last_error),
};

static const struct column heartbeat_columns[] = {
    TEXT("broker", "BROKER", heartbeat, broker_name),
    PLAIN(CELL_NUMBER, "broker_id", "ID", heartbeat, broker_id),
    TEXT("address", "ADDRESS", heartbeat, address),
    MAYBE_MS("last_ok_age_ms", "LAST-OK", heartbeat, last_ok_age_ms),
    MAYBE_MS("next_in_ms", "NEXT", heartbeat, next_in_ms),
    NUMBER("rt_us", "RT-US", heartbeat, rt_us),
    NUMBER("ok", "OK", heartbeat, ok),
    NUMBER("failed", "FAIL", heartbeat, failed),
    NUMBER("last_late_ms", "LATE-MS", heartbeat, last_late_ms),
    NUMBER("worst_late_ms", NULL, heartbeat, worst_late_ms),
    NUMBER("coalesced", NULL, heartbeat, coalesced),
    {"broker_version", "VERSION", get_signed32, CELL_NUMBER, FIELD(heartbeat, broker_version), NULL, 0},
    {"history", "LAST-20", get_history, CELL_TEXT, FIELD(heartbeat, history), NULL, 0},
    INSTANCE("CLIENT-ID", heartbeat),
    TEXT("last_error", "LAST-ERROR", heartbeat, last_error),
};

static const struct column pending_columns[] = {
    {"opaque", "OPAQUE", get_signed32, CELL_NUMBER, FIELD(pending, opaque), NULL, 0},
    {"code", "CODE", get_signed32, CELL_NUMBER, FIELD(pending, code), NULL, 0},
    {"request", "REQUEST", get_request_name, CELL_TEXT, FIELD(pending, code), NULL, 0},
    NAMED("mode", "MODE", pending, mode, modes),
    NAMED("state", "STATE", pending, state, request_states),
    TEXT("broker", "BROKER", pending, broker_name),
    TEXT("address", NULL, pending, address),
    TEXT("topic", "TOPIC", pending, topic),
    TEXT("group", "GROUP", pending, group),
    NUMBER("pid", "PID", pending, pid),
    PLAIN(CELL_BIG, "client", NULL, pending, client),
    PLAIN(CELL_DURATION, "age_ms", "AGE", pending, age_ms),
    PLAIN(CELL_DURATION, "deadline_in_ms", "DEADLINE-IN", pending, deadline_in_ms),
    INSTANCE(NULL, pending),
};

static const struct column task_columns[] = {
    TEXT("task", "TASK", task, name),
    MAYBE_MS("period_ms", "PERIOD", task, period_ms),
    MAYBE_MS("last_run_age_ms", "LAST", task, last_run_age_ms),
    MAYBE_MS("next_in_ms", "NEXT", task, next_in_ms),
    NUMBER("runs", "RUNS", task, runs),
    NUMBER("last_us", "LAST-US", task, last_us),
    NUMBER("worst_us", "WORST-US", task, worst_us),
    NUMBER("last_late_us", "LATE-US", task, last_late_us),
    NUMBER("worst_late_us", NULL, task, worst_late_us),
    NUMBER("skipped", "SKIPPED", task, skipped),
    NUMBER("errors", "ERRORS", task, errors),
    {"last_error", NULL, get_errno, CELL_TEXT, FIELD(task, last_error), NULL, 0},
    INSTANCE("CLIENT-ID", task),
};

static const struct column event_columns[] = {
    PLAIN(CELL_TIME, "last_at", "TIME", event, last_wall_ms),
    NAMED("level", "LEVEL", event, level, levels),
    TEXT("source", "SOURCE", event, who),
    NUMBER("count", "COUNT", event, count),
    PLAIN(CELL_TIME, "first_at", NULL, event, first_wall_ms),
    PLAIN(CELL_BIG, "seq", NULL, event, seq),
    TEXT("text", "TEXT", event, text),
};

static const struct column counter_columns[] = {
    TEXT("name", "NAME", counter, name),
    NUMBER("value", "VALUE", counter, value),
    NAMED("kind", "KIND", counter, kind, counter_kinds),
};

static const struct column config_columns[] = {
    TEXT("key", "KEY", config, key),          TEXT("value", "VALUE", config, value),
    TEXT("unit", "UNIT", config, unit),       NAMED("source", "SOURCE", config, source, config_sources),
    TEXT("origin", "ORIGIN", config, origin), PLAIN(CELL_BOOL, "reloadable", "RELOADABLE", config, reloadable),
    TEXT("note", "NOTE", config, note),
};

static const struct column problem_columns[] = {
    TEXT("object", "OBJECT", problem, object),
    TEXT("rule", "RULE", problem, rule),
    NAMED("severity", "SEVERITY", problem, severity, severities),
    MAYBE_MS("since_age_ms", "SINCE", problem, since_age_ms),
    TEXT("text", "TEXT", problem, text),
};

static const struct column service_columns[] = {
    TEXT("service", "SERVICE", service, name),
    TEXT("state", "STATE", service, state),
    NUMBER("queued", "QUEUED", service, queued),
    NUMBER("queued_most", NULL, service, queued_most),
    NUMBER("delayed", "DELAYED", service, delayed),
    NUMBER("tasks", "TASKS", service, tasks),
    NUMBER("executed", "EXECUTED", service, executed),
    NUMBER("ran_tasks", NULL, service, ran_tasks),
    NUMBER("errors", "ERRORS", service, errors),
    NUMBER("dropped", "DROPPED", service, dropped),
    NUMBER("cancelled", NULL, service, cancelled),
    NUMBER("refused", "REFUSED", service, refused),
    INSTANCE("CLIENT-ID", service),
};

static const struct column request_columns[] = {
    TEXT("request", "REQUEST", request, name),
    {"code", "CODE", get_signed32, CELL_NUMBER, FIELD(request, code), NULL, 0},
    NUMBER("received", "RECEIVED", request, received),
    NUMBER("answered", "ANSWERED", request, answered),
    NUMBER("ignored", "NOTED", request, ignored),
    NUMBER("refused", "REFUSED", request, refused),
    NUMBER("limited", "LIMITED", request, limited),
    NUMBER("too_big", "TOO-BIG", request, too_big),
    INSTANCE("CLIENT-ID", request),
};

#define VIEW(view_name, in, list, when_empty, one) \
    const struct view view_##view_name = {#view_name, in, list, COUNT_OF(list), when_empty, one, NULL}

const struct view view_status = {"status", VIEW_HUB, status_columns, COUNT_OF(status_columns), "", true, &view_problems};
VIEW(instances, TABLE_INSTANCES, instance_columns, "no instance: no producer has been started through this hub yet", false);
VIEW(groups, TABLE_GROUPS, group_columns, "no producer group is registered", false);
VIEW(clients, TABLE_CLIENTS, client_columns, "no process is attached", false);
VIEW(routes, TABLE_ROUTES, route_columns, "no topic is in use", false);
VIEW(brokers, TABLE_BROKERS, broker_columns, "no broker is known: no route has named one yet", false);
VIEW(heartbeats, TABLE_HEARTBEATS, heartbeat_columns, "no heartbeats: no broker is known yet", false);
VIEW(pending, TABLE_PENDING, pending_columns, "0 pending: every request has been answered", false);
VIEW(connections, TABLE_CONNECTIONS, connection_columns, "no connection", false);
VIEW(tasks, TABLE_TASKS, task_columns, "no scheduled task", false);
VIEW(problems, TABLE_PROBLEMS, problem_columns, "no problem", false);
VIEW(services, TABLE_SERVICES, service_columns, "no service runs: no instance yet", false);
VIEW(requests, TABLE_REQUESTS, request_columns, "no broker has sent a request", false);
VIEW(events, TABLE_EVENTS, event_columns, "no event", false);
VIEW(stats, TABLE_COUNTERS, counter_columns, "no counter", false);
VIEW(config, TABLE_CONFIG, config_columns, "no configuration was published", false);
