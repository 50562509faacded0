/*
 * The rows that belong to no instance: clients, counters, configuration.
 */
#include <stdio.h>
#include <string.h>

#include "hub/config/hub_config.h"
#include "hub/control/snapshot_rows.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/instance/registration.h"
#include "hub/ipc/ipc_client.h"
#include "hub/metrics/problems.h"
#include "hub/store/store.h"
#include "shm/base/text.h"

_Static_assert((int)TABLE_CLIENT_ATTACHED == IPC_CLIENT_ATTACHED && (int)TABLE_CLIENT_DETACHED == IPC_CLIENT_DETACHED &&
                   (int)TABLE_CLIENT_ENDING == IPC_CLIENT_ENDING && (int)TABLE_CLIENT_QUARANTINED == IPC_CLIENT_QUARANTINED,
               "client states are copied");

static const char *first_group(const struct ipc_client *client)
{
    for (unsigned i = 0; i < SHM_REGISTRATIONS; i++) {
        const struct ipc_handle *handle = client->handles[i];
        if (handle && handle->kind == SHM_KIND_PRODUCER && handle->producer)
            return handle->producer->group;
    }
    return "";
}

static void add_client(struct table_writer *writer, const struct snapshot_now *now, const struct ipc_client *client)
{
    struct table_client *row = table_writer_add(writer, TABLE_CLIENTS);
    if (!row)
        return;
    row->number = client->number;
    row->pid = (uint32_t)client->pid;
    row->uid = (uint32_t)client->uid;
    row->gid = (uint32_t)client->gid;
    row->state = (uint8_t)client->state;
    row->lanes = 1;
    row->abi_major = SHM_ABI_MAJOR;
    row->abi_minor = SHM_ABI_MINOR;
    row->registrations = (uint32_t)client->groups + client->topics;
    row->in_flight = client->in_flight;
    row->body_bytes = client->bytes;
    row->segment_bytes = (uint64_t)SHM_C_BYTES + SHM_H_BYTES;
    row->accepted = client->taken;
    row->stored = client->stored;
    row->not_stored = client->not_stored;
    row->unknown = client->unknown;
    row->attach_age_ms = age_of_ns(now, client->attached_ns);
    row->last_send_age_ms = age_of_ns(now, client->last_submit_ns);
    SNAPSHOT_TEXT(row->command, client->command);
    SNAPSHOT_TEXT(row->group, first_group(client));
    SNAPSHOT_TEXT(row->reason, client->reason);
}

void snapshot_add_clients(struct table_writer *writer, const struct snapshot_now *now, const struct ipc_server *clients)
{
    for (unsigned i = 0; i < ipc_server_count(clients); i++)
        add_client(writer, now, ipc_server_at(clients, i));
}

struct problem_pass {
    struct table_writer *writer;
    const struct snapshot_now *now;
    enum table_severity severity;
};

static void add_problem(void *ctx, const struct problem *problem)
{
    const struct problem_pass *pass = ctx;
    struct table_hub *hub = table_writer_hub(pass->writer);
    if (problem->severity != pass->severity)
        return;
    uint32_t *count = problem->severity == TABLE_SEVERITY_CRIT ? &hub->problems_crit : &hub->problems_warn;
    ++*count;
    struct table_problem *row = table_writer_add(pass->writer, TABLE_PROBLEMS);
    if (!row)
        return;
    row->severity = (uint8_t)problem->severity;
    row->since_age_ms = age_of_ns(pass->now, problem->since_ns);
    SNAPSHOT_TEXT(row->rule, problem->rule);
    SNAPSHOT_TEXT(row->object, problem->object);
    SNAPSHOT_TEXT(row->text, problem->text);
}

/* The worst first, the oldest first among equals. */
void snapshot_add_problems(struct table_writer *writer, const struct snapshot_now *now)
{
    struct table_hub *hub = table_writer_hub(writer);
    hub->problems_crit = hub->problems_warn = 0;
    problems_for_each(add_problem, &(struct problem_pass){writer, now, TABLE_SEVERITY_CRIT});
    problems_for_each(add_problem, &(struct problem_pass){writer, now, TABLE_SEVERITY_WARN});
}

static void add_config_row(void *ctx, const struct config_entry *entry)
{
    struct table_config *row = table_writer_add(ctx, TABLE_CONFIG);
    if (!row)
        return;
    snprintf(row->key, sizeof(row->key), "%s.%s", entry->section, entry->key);
    SNAPSHOT_TEXT(row->value, entry->value);
    SNAPSHOT_TEXT(row->unit, entry->unit);
    row->reloadable = entry->reloadable;
    SNAPSHOT_TEXT(row->note, entry->note);
    if (strcmp(entry->source, "default") == 0) {
        row->source = TABLE_CONFIG_DEFAULT;
    } else if (strcmp(entry->source, "environment") == 0) {
        row->source = TABLE_CONFIG_ENVIRONMENT;
    } else if (strcmp(entry->source, "command line") == 0) {
        row->source = TABLE_CONFIG_COMMAND_LINE;
    } else {
        row->source = TABLE_CONFIG_FILE;
        SNAPSHOT_TEXT(row->origin, entry->source);
    }
}

void snapshot_add_config(struct table_writer *writer, const struct hub_config *config)
{
    hub_config_for_each(config, add_config_row, writer);
}

static void add_number(struct table_writer *writer, enum table_counter_kind kind, const char *name, uint64_t value)
{
    struct table_counter *row = table_writer_add(writer, TABLE_COUNTERS);
    if (!row)
        return;
    SNAPSHOT_TEXT(row->name, name);
    row->value = value;
    row->kind = (uint8_t)kind;
}

static void add_ipc_counters(struct table_writer *writer, const struct ipc_counters *c)
{
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {{"clients_attached", c->attached},       {"clients_adopted", c->adopted},
                {"clients_taken_over", c->taken_over},   {"clients_refused", c->refused},
                {"clients_quarantined", c->quarantined}, {"clients_died", c->died},
                {"clients_detached", c->detached},       {"messages_taken", c->taken},
                {"messages_completed", c->completed},    {"messages_expired_untaken", c->expired},
                {"messages_revoked", c->revoked},        {"messages_resubmitted", c->resubmitted},
                {"wake_bytes", c->wake_bytes},           {"doorbells", c->doorbells}};
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        add_number(writer, TABLE_KIND_COUNTER, list[i].name, list[i].value);
    add_number(writer, TABLE_KIND_GAUGE, "messages_in_flight", c->in_flight);
}

static void add_loop_counters(struct table_writer *writer, const struct loop_counters *c)
{
    add_number(writer, TABLE_KIND_COUNTER, "loop_rounds", c->rounds);
    add_number(writer, TABLE_KIND_COUNTER, "loop_sleeps", c->sleeps);
    add_number(writer, TABLE_KIND_COUNTER, "loop_io_events", c->io_events);
    add_number(writer, TABLE_KIND_COUNTER, "loop_timers_fired", c->timers_fired);
    add_number(writer, TABLE_KIND_COUNTER, "loop_posted", c->posted);
    add_number(writer, TABLE_KIND_COUNTER, "loop_busy_ns", c->busy_ns);
    add_number(writer, TABLE_KIND_GAUGE, "loop_worst_round_ns", c->worst_round_ns);
}

static void add_store_counters(struct table_writer *writer, struct store *store)
{
    struct store_status status;
    store_status(store, &status);
    add_number(writer, TABLE_KIND_COUNTER, "store_commits", status.commits);
    add_number(writer, TABLE_KIND_COUNTER, "store_commit_failures", status.failures);
    add_number(writer, TABLE_KIND_COUNTER, "store_evicted", status.evicted);
    add_number(writer, TABLE_KIND_GAUGE, "store_entries", status.entries);
    add_number(writer, TABLE_KIND_GAUGE, "store_unwritten", status.unwritten);
    add_number(writer, TABLE_KIND_GAUGE, "store_bytes", status.bytes);
    add_number(writer, TABLE_KIND_GAUGE, "store_last_commit_ns", status.last_commit_ns);
    add_number(writer, TABLE_KIND_GAUGE, "store_is_written", status.state == STORE_OK);
}

/* Sums over all instances. */
struct network_sums {
    struct response_table_counters responses;
    struct channel_counters channels;
    uint64_t pending, namesrv_requests, namesrv_failures, namesrv_failovers, route_polls, unsupported_requests;
    uint64_t routes_unchanged, routes_refused[ROUTE_REFUSALS], brokers_left_out, discovery_refused[TOP_ADDRESSING_REFUSALS];
    uint64_t heartbeats, unregisters, marker_repairs, duplicate_checks, duplicate_checks_failed;
};

static void sum_channel(struct channel_counters *sum, const struct channel_counters *c)
{
    sum->connects += c->connects;
    sum->connect_failures += c->connect_failures;
    sum->connections_lost += c->connections_lost;
    sum->bytes_in += c->bytes_in;
    sum->bytes_out += c->bytes_out;
    sum->frames_in += c->frames_in;
    sum->frames_out += c->frames_out;
    sum->reads += c->reads;
    sum->writes += c->writes;
    sum->writes_blocked += c->writes_blocked;
    sum->held_back += c->held_back;
    sum->unknown_replies += c->unknown_replies;
    sum->requests_in += c->requests_in;
}

static void sum_registrations(struct network_sums *sum, const struct mq_client_instance *instance)
{
    const struct list_link *registrations = &instance->registrations;
    for (const struct list_link *it = registrations->next; it != registrations; it = it->next) {
        const struct registration *registration = LIST_ENTRY(it, const struct registration, link);
        sum->heartbeats += registration->heartbeats;
        sum->unregisters += registration->unregisters;
        sum->marker_repairs += registration->repairs;
    }
    sum->duplicate_checks += instance->duplicates.checks;
    sum->duplicate_checks_failed += instance->duplicates.failures;
}

static void sum_instance(struct network_sums *sum, const struct mq_client_instance *instance)
{
    const struct response_table_counters *r = &instance->remoting.responses.counters;
    sum->responses.added += r->added;
    sum->responses.replied += r->replied;
    sum->responses.expired += r->expired;
    sum->responses.lost += r->lost;
    sum->responses.late_or_unknown += r->late_or_unknown;
    sum->responses.wrong_channel += r->wrong_channel;
    sum->responses.scans += r->scans;
    sum->responses.scan_found += r->scan_found;
    sum->responses.refused_full += r->refused_full;
    sum->pending += instance->remoting.responses.count;
    sum->namesrv_requests += instance->name_server.requests;
    sum->namesrv_failures += instance->name_server.failures;
    sum->namesrv_failovers += instance->name_server.failovers;
    sum->route_polls += instance->routes.polls;
    sum->routes_unchanged += instance->routes.answers_unchanged;
    sum->brokers_left_out += instance->routes.brokers_left_out;
    for (unsigned i = 0; i < ROUTE_REFUSALS; i++)
        sum->routes_refused[i] += instance->routes.refused[i];
    for (unsigned i = 0; i < TOP_ADDRESSING_REFUSALS; i++)
        sum->discovery_refused[i] += instance->top_addressing.refused[i];
    sum->unsupported_requests += instance->processor.counters[PROCESSOR_OTHERS].refused;
    sum_registrations(sum, instance);
    const struct list_link *channels = &instance->remoting.channels;
    for (const struct list_link *it = channels->next; it != channels; it = it->next)
        sum_channel(&sum->channels, &LIST_ENTRY(it, const struct channel, link)->counters);
}

static void add_network_counters(struct table_writer *writer, const struct network_sums *s)
{
    const struct response_table_counters *r = &s->responses;
    const struct channel_counters *c = &s->channels;
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {{"requests_with_reply", r->added},
                {"replies", r->replied},
                {"requests_expired", r->expired},
                {"requests_lost_with_connection", r->lost},
                {"replies_late_or_unknown", r->late_or_unknown},
                {"replies_on_wrong_connection", r->wrong_channel},
                {"response_table_scans", r->scans},
                {"response_table_scan_found", r->scan_found},
                {"requests_refused_full", r->refused_full},
                {"connects", c->connects},
                {"connect_failures", c->connect_failures},
                {"connections_lost", c->connections_lost},
                {"in_bytes", c->bytes_in},
                {"out_bytes", c->bytes_out},
                {"frames_in", c->frames_in},
                {"frames_out", c->frames_out},
                {"socket_reads", c->reads},
                {"socket_writes", c->writes},
                {"socket_writes_blocked", c->writes_blocked},
                {"sends_held_back", c->held_back},
                {"requests_from_servers", c->requests_in},
                {"requests_from_servers_unsupported", s->unsupported_requests},
                {"namesrv_requests", s->namesrv_requests},
                {"namesrv_failures", s->namesrv_failures},
                {"namesrv_failovers", s->namesrv_failovers},
                {"route_polls", s->route_polls},
                {"heartbeats", s->heartbeats},
                {"unregisters", s->unregisters},
                {"marker_repairs", s->marker_repairs},
                {"duplicate_client_id_checks", s->duplicate_checks},
                {"duplicate_client_id_checks_failed", s->duplicate_checks_failed},
                {"routes_unchanged", s->routes_unchanged},
                {"routes_refused_unreadable", s->routes_refused[ROUTE_REFUSED_UNREADABLE]},
                {"routes_refused_empty", s->routes_refused[ROUTE_REFUSED_EMPTY]},
                {"routes_refused_duplicate", s->routes_refused[ROUTE_REFUSED_DUPLICATE]},
                {"routes_refused_bad_broker", s->routes_refused[ROUTE_REFUSED_BAD_BROKER]},
                {"routes_refused_too_many_queues", s->routes_refused[ROUTE_REFUSED_TOO_MANY_QUEUES]},
                {"routes_refused_no_memory", s->routes_refused[ROUTE_REFUSED_NO_MEMORY]},
                {"route_brokers_left_out", s->brokers_left_out},
                {"discovery_no_address", s->discovery_refused[TOP_ADDRESSING_NO_ADDRESS]},
                {"discovery_no_answer", s->discovery_refused[TOP_ADDRESSING_NO_ANSWER]},
                {"discovery_refused_status", s->discovery_refused[TOP_ADDRESSING_STATUS]},
                {"discovery_refused_too_long", s->discovery_refused[TOP_ADDRESSING_TOO_LONG]},
                {"discovery_refused_empty", s->discovery_refused[TOP_ADDRESSING_EMPTY]},
                {"discovery_refused_garbage", s->discovery_refused[TOP_ADDRESSING_GARBAGE]}};
    for (unsigned i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        add_number(writer, TABLE_KIND_COUNTER, list[i].name, list[i].value);
    add_number(writer, TABLE_KIND_GAUGE, "requests_pending", s->pending);
}

void snapshot_add_counters(struct table_writer *writer, const struct snapshot_sources *sources)
{
    struct network_sums sums = {.pending = 0};
    for (unsigned i = 0; i < mq_client_manager_count(sources->instances); i++)
        sum_instance(&sums, mq_client_manager_at(sources->instances, i));
    if (sources->clients)
        add_ipc_counters(writer, ipc_server_counters(sources->clients));
    add_network_counters(writer, &sums);
    add_loop_counters(writer, event_loop_counters(sources->loop));
    add_store_counters(writer, sources->store);
}
