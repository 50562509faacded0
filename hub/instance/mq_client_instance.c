/*
 * The life of one client, each part in the order of 4.9.3: start_in_order(),
 * shutdown in two steps (what brokers must hear, then stop_in_order()). Nothing in
 * start needs a server to be up, and whatever it got done is undone when a later
 * step fails.
 */
#include "hub/instance/mq_client_instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/registration.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_codec.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/message/validators.h"

#define HIGH_WATER_BYTES (1u << 20)
#define DRAIN_PATIENCE_NS NS_PER_S

const char *service_state_name(enum service_state state)
{
    static const char *const names[] = {"CREATE_JUST", "RUNNING", "SHUTDOWN_ALREADY", "START_FAILED"};
    return names[state];
}

void mq_client_instance_changed(struct mq_client_instance *in)
{
    if (in->changed)
        in->changed(in->changed_ctx);
}

static void set_state(struct mq_client_instance *in, enum service_state state)
{
    LOG_DEBUG(in->client_id, "instance %s -> %s", service_state_name(in->state), service_state_name(state));
    in->state = state;
    mq_client_instance_changed(in);
}

/* ---- topics ---- */

struct topic_entry *topic_entry_hold(struct mq_client_instance *in, struct span topic, const char **reason)
{
    struct topic_entry *entry;
    const char *rule = validate_send_topic(topic), *refusal = rule;
    int r = rule ? -EINVAL : topic_route_table_acquire(&in->routes, topic.data, topic.len, &entry);
    if (r == -EDQUOT)
        refusal = "too many topics in this instance";
    else if (r == -ENOMEM)
        refusal = "no memory";
    if (r < 0) {
        if (reason)
            *reason = refusal;
        return NULL;
    }
    return entry;
}

struct topic_entry *topic_entry_acquire(struct mq_client_instance *in, struct span topic, const char **reason)
{
    struct topic_entry *entry = topic_entry_hold(in, topic, reason);
    if (entry && entry->source == ROUTE_NONE)
        topic_entry_refresh(entry);
    return entry;
}

void topic_entry_release(struct topic_entry *entry)
{
    topic_entry_unref(entry);
}

/* ---- start ---- */

static int start_network_client(struct mq_client_instance *in, struct resolver *resolver)
{
    const struct client_config *c = &in->config;
    uint32_t high = c->write_buffer_high_water_mark_bytes ? c->write_buffer_high_water_mark_bytes : HIGH_WATER_BYTES;
    struct remoting_client_settings settings = {
        .connect_timeout_ms = c->connect_timeout_ms,
        .max_idle_ms = c->client_channel_max_idle_time_ms,
        .socket_snd_buf_bytes = c->socket_snd_buf_bytes,
        .socket_rcv_buf_bytes = c->socket_rcv_buf_bytes,
        .tcp_user_timeout_ms = c->tcp_user_timeout_ms,
        .use_tls = c->tls.enable,
        .high_water_bytes = high,
        .low_water_bytes = c->write_buffer_low_water_mark_bytes ? c->write_buffer_low_water_mark_bytes : high / 2,
        .max_pending = c->client_async_semaphore,
        .max_oneway = c->client_oneway_semaphore,
        .probe_silence_ms = 2 * c->mq_client_api_timeout_ms,
        .max_response_bytes = c->max_response_bytes ? c->max_response_bytes : REMOTING_FRAME_MAX,
        .serialize_type = c->json_header ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ,
        .version = c->protocol_version ? c->protocol_version : PROTOCOL_VERSION_4_9_3,
    };
    struct remoting_client_ops ops = mq_client_instance_remoting_ops(in);
    return remoting_client_start(&in->remoting, in->loop, resolver, &settings, &ops);
}

static void on_name_servers_changed(void *ctx)
{
    struct mq_client_instance *in = ctx;
    topic_route_table_poll(&in->routes);
    mq_client_instance_changed(in);
}

/* Without a configured address the list is asked for over HTTP: now, and by a task. */
static int find_name_servers(struct mq_client_instance *in, struct resolver *resolver)
{
    const struct top_addressing_settings settings = {.domain = in->config.namesrv_domain,
                                                     .subgroup = in->config.namesrv_domain_subgroup,
                                                     .unit_name = in->unit_name,
                                                     .store = &in->routes.store};
    int r = name_server_init(&in->name_server, &in->remoting, in->namesrv_addr, mono_now_ns());
    if (r < 0 || in->namesrv_addr[0])
        return r;
    r = top_addressing_init(&in->top_addressing, in->loop, resolver, &in->name_server, &settings, on_name_servers_changed, in);
    if (r == 0)
        top_addressing_fetch(&in->top_addressing);
    return r;
}

static void on_brokers_changed(void *ctx)
{
    mq_client_instance_update_brokers(ctx);
}

static void on_routes_changed(void *ctx)
{
    mq_client_instance_changed(ctx);
}

static int start_routes(struct mq_client_instance *in, const char *store_name)
{
    struct topic_route_table_ops ops = {.brokers_changed = on_brokers_changed, .routes_changed = on_routes_changed, .ctx = in};
    in->routes.cluster = store_name;
    in->routes.create_topic_key = in->config.create_topic_key;
    in->routes.default_topic_queue_nums = in->config.default_topic_queue_nums;
    in->routes.api_timeout_ms = in->config.mq_client_api_timeout_ms;
    in->routes.idle_expiry_ns = in->config.idle_expiry_topic_ms * NS_PER_MS;
    int r = topic_route_table_init(&in->routes, in->loop, &in->name_server, &in->brokers, &ops);
    if (r < 0)
        return r;
    return topic_route_table_acquire(&in->routes, in->config.create_topic_key, strlen(in->config.create_topic_key),
                                     &in->create_topic_entry);
}

/* MQClientInstance.start(), step by step. No server need be up: everything here only prepares, asks or schedules. */
static int start_in_order(struct mq_client_instance *in, struct resolver *resolver, const char *store_name)
{
    int r = start_network_client(in, resolver); /* 4.9.3 finds nameservers first; here they are found for this client */
    if (r == 0)
        r = mq_client_instance_load_security(in);
    if (r == 0)
        r = find_name_servers(in, resolver);
    if (r == 0)
        r = start_routes(in, store_name);
    if (r == 0)
        r = mq_client_instance_start_scheduled_tasks(in);
    if (r == 0)
        r = pull_message_service_start(&in->pull_message_service, in->loop, in->client_id, NULL);
    /* 4.9.3 starts its rebalance service here; it belongs to consumers and comes with them. */
    if (r == 0)
        r = mq_client_instance_register_own_groups(in);
    return r;
}

/* The reverse, from whatever the start or the life of the client got done. What is pending ends as cancelled. */
static void stop_in_order(struct mq_client_instance *in)
{
    struct registration *reg;
    pull_message_service_deinit(&in->pull_message_service);
    scheduled_tasks_deinit(&in->tasks);
    for (uint32_t i = 0; i < in->routes.count; i++)
        for (struct list_link *it; (it = list_first(&in->routes.entries[i]->waiting)) != NULL;)
            remoting_client_finish(&in->remoting, LIST_ENTRY(it, struct response_future, link), FUTURE_CANCELLED, -ECANCELED);
    top_addressing_deinit(&in->top_addressing);
    remoting_client_close_all(&in->remoting);
    if (in->registrations.next)
        FOR_EACH_REGISTRATION (reg, in)
            registration_free(reg);
    remoting_client_deinit(&in->remoting);
    topic_route_table_deinit(&in->routes);
    broker_addr_table_deinit(&in->brokers);
    producer_table_deinit(&in->producers);
    in->inner_producer = in->marker = NULL;
    in->create_topic_entry = NULL;
    problem_clear_object(in->client_id);
}

int mq_client_instance_start(struct mq_client_instance *in, struct resolver *resolver, const struct route_store *store,
                             const char *store_name)
{
    if (in->state == SERVICE_RUNNING || in->state == SERVICE_SHUTDOWN_ALREADY)
        return 0;
    set_state(in, SERVICE_START_FAILED);
    list_init(&in->registrations);
    in->routes.store = *store;
    int r = start_in_order(in, resolver, store_name);
    if (r < 0) {
        stop_in_order(in);
        return r;
    }
    set_state(in, SERVICE_RUNNING);
    in->started_ms = event_loop_now_ms(in->loop);
    LOG_INFO(in->client_id, "the client factory starts OK, nameservers %s",
             in->namesrv_addr[0] ? in->namesrv_addr : in->top_addressing.url);
    return 0;
}

int mq_client_instance_reload(struct mq_client_instance *in)
{
    int r = mq_client_instance_load_security(in);
    mq_client_instance_changed(in);
    return r;
}

/* ---- end ---- */

struct mq_client_instance *mq_client_instance_free(struct mq_client_instance *in)
{
    if (!in)
        return NULL;
    in->draining = true;
    stop_in_order(in);
    free(in->identity);
    free(in);
    return NULL;
}

bool mq_client_instance_is_unused(const struct mq_client_instance *in)
{
    uint32_t topic_refs = 0;
    for (uint32_t i = 0; i < in->routes.count; i++)
        topic_refs += in->routes.entries[i]->refs + in->routes.entries[i]->waiting_count;
    return in->producers.count <= 2 && topic_refs <= 1; /* its own groups, the create-topic key */
}

void mq_client_instance_shutdown(struct mq_client_instance *in)
{
    struct registration *reg;
    if (in->draining)
        return;
    LOG_INFO(in->client_id, "shuts down: unregisters everywhere");
    in->draining = true;
    in->drain_patience_ns = event_loop_now_ns(in->loop) + DRAIN_PATIENCE_NS;
    FOR_EACH_REGISTRATION (reg, in)
        registration_retire(reg);
    set_state(in, SERVICE_SHUTDOWN_ALREADY);
    pull_message_service_shutdown(&in->pull_message_service);
}

bool mq_client_instance_is_drained(const struct mq_client_instance *in)
{
    return in->draining && list_is_empty(&in->registrations) && pull_message_service_is_stopped(&in->pull_message_service);
}

void mq_client_instance_revive(struct mq_client_instance *in)
{
    if (!in->draining)
        return;
    in->draining = false;
    set_state(in, SERVICE_RUNNING);
    pull_message_service_start(&in->pull_message_service, in->loop, in->client_id, NULL); /* prepared before: cannot fail */
    mq_client_instance_update_brokers(in);
}
