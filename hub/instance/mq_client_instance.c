/*
 * The start keeps 4.9.3's order visible (start_in_order). What differs from 4.9.3
 * on purpose: heartbeats are sent concurrently and also right after each connect,
 * before anything else on that connection; a master known from a route is dialled
 * at once and kept connected; groups linger.
 */
#include "hub/instance/mq_client_instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/client_remoting_processor.h"
#include "hub/instance/registration.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/message/validators.h"

#define HIGH_WATER_BYTES (1u << 20)
#define RESPONSE_SCAN_FIRST_NS (3 * NS_PER_S)
#define RESPONSE_SCAN_PERIOD_NS NS_PER_S

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

/* ---- connections to brokers ---- */

#define FOR_EACH_REGISTRATION(reg, in) \
    for (struct list_link *it_ = (in)->registrations.next, *next_ = it_->next; \
         it_ != &(in)->registrations && ((reg) = LIST_ENTRY(it_, struct registration, link)); it_ = next_, next_ = it_->next)

static void attach_master(struct mq_client_instance *in, struct broker *broker)
{
    const char *address = broker_master_address(broker);
    struct channel *channel = NULL;
    if (address) {
        int r = remoting_client_channel(&in->remoting, address, &channel);
        if (r == 0)
            r = registration_attach(in, broker, channel);
        if (r < 0)
            LOG_ERROR(broker->name, "cannot be reached at %s (%s)", address, strerror(-r));
    }
    broker->master = channel;
}

static bool is_master(const struct mq_client_instance *in, const struct channel *channel)
{
    for (unsigned i = 0; i < in->brokers.count; i++)
        if (in->brokers.brokers[i]->master == channel)
            return true;
    return false;
}

static void on_brokers_changed(void *ctx)
{
    struct mq_client_instance *in = ctx;
    struct registration *reg;
    if (in->draining)
        return;
    for (unsigned i = 0; i < in->brokers.count; i++)
        attach_master(in, in->brokers.brokers[i]);
    FOR_EACH_REGISTRATION (reg, in)
        if (!is_master(in, reg->channel) && !reg->retiring)
            registration_retire(reg);
    mq_client_instance_changed(in);
}

static void heartbeat_to_all_brokers(struct mq_client_instance *in)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        registration_heartbeat(reg);
}

static void on_channel_connected(void *ctx, struct channel *channel)
{
    (void)ctx;
    if (channel->session)
        registration_connected(channel->session);
}

static void on_channel_lost(void *ctx, struct channel *channel)
{
    (void)ctx;
    if (channel->session)
        registration_lost(channel->session);
}

/* One slow answer proves nothing, and closing fails everybody's requests: a heartbeat, with its own rule, decides. */
static void on_channel_suspect(void *ctx, struct channel *channel)
{
    (void)ctx;
    if (channel->session)
        registration_heartbeat(channel->session);
}

static void on_request(void *ctx, struct channel *channel, const struct remoting_command *command)
{
    client_remoting_processor_run(ctx, channel, command);
}

static void on_channel_changed(void *ctx)
{
    mq_client_instance_changed(ctx);
}

/* ---- producer groups ---- */

static void encode_header(struct producer *p)
{
    struct byte_writer w = byte_writer_of(p->header, sizeof(p->header));
    byte_writer_be16(&w, 1);
    byte_writer_u8(&w, 'a');
    byte_writer_be32(&w, p->group_len);
    byte_writer_bytes(&w, p->group, p->group_len);
    p->header_len = (uint16_t)w.pos;
}

static int add_producer(struct mq_client_instance *in, struct span group, uid_t uid, struct producer **out)
{
    struct producer *p;
    int r = producer_table_add(&in->producers, group.data, group.len, &p);
    if (r < 0)
        return r;
    p->instance = in;
    p->uid = uid;
    p->registered_ms = event_loop_now_ms(in->loop);
    encode_header(p);
    *out = p;
    return 0;
}

static void set_producer_state(struct producer *p, enum producer_state state)
{
    if (p->state != state)
        LOG_DEBUG(p->group, "group %s -> %s", producer_state_name(p->state), producer_state_name(state));
    p->state = state;
    p->linger_until_ns = 0;
    mq_client_instance_changed(p->instance);
}

static const char *refuse_group(struct mq_client_instance *in, struct span group, uid_t uid, struct producer *present, int *error)
{
    const char *rule = validate_producer_group(group);
    (void)in;
    *error = -EINVAL;
    if (rule)
        return rule;
    if (present && present->inner)
        return "CLIENT_INNER_PRODUCER is the client's own group";
    *error = -EPERM;
    if (present && present->uid != uid && present->state != PRODUCER_UNREGISTERING)
        return "the group belongs to another user";
    return NULL;
}

int mq_client_instance_register_producer(struct mq_client_instance *in, struct span group, uid_t uid, struct producer **out,
                                         const char **reason)
{
    int r;
    struct producer *p = producer_table_find(&in->producers, group.data, group.len);
    const char *refusal = refuse_group(in, group, uid, p, &r);
    if (refusal) {
        *reason = refusal;
        return r;
    }
    bool announced = p && p->state != PRODUCER_UNREGISTERING;
    if (!p && (r = add_producer(in, group, uid, &p)) < 0) {
        *reason = r == -EDQUOT ? "too many producer groups in this instance" : "no memory";
        return r;
    }
    p->uid = uid;
    p->refs++;
    set_producer_state(p, PRODUCER_ACTIVE);
    if (!announced)
        heartbeat_to_all_brokers(in);
    *out = p;
    return 0;
}

static void start_unregistering(struct producer *p)
{
    struct mq_client_instance *in = p->instance;
    struct registration *reg;
    set_producer_state(p, PRODUCER_UNREGISTERING);
    FOR_EACH_REGISTRATION (reg, in)
        registration_step(reg);
    mq_client_instance_forget_producers(in);
}

void mq_client_instance_unregister_producer(struct producer *p, bool final)
{
    p->refs--;
    if (p->refs > 0)
        return;
    uint32_t linger_ms = p->instance->config.linger_ms;
    if (final || linger_ms == 0) {
        start_unregistering(p);
        return;
    }
    set_producer_state(p, PRODUCER_LINGERING);
    p->linger_until_ns = event_loop_now_ns(p->instance->loop) + linger_ms * NS_PER_MS;
}

static bool anybody_knows(struct mq_client_instance *in, const struct producer *p)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        if (registration_knows(reg, p))
            return true;
    return false;
}

void mq_client_instance_forget_producers(struct mq_client_instance *in)
{
    for (unsigned i = 0; i < in->producers.high; i++) {
        struct producer *p = in->producers.producers[i];
        if (p && p->state == PRODUCER_UNREGISTERING && p->refs == 0 && !anybody_knows(in, p))
            producer_table_remove(&in->producers, p);
    }
}

/* ---- topics ---- */

struct topic_entry *topic_entry_acquire(struct mq_client_instance *in, struct span topic, const char **reason)
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
    if (entry->source == ROUTE_NONE)
        topic_entry_refresh(entry);
    return entry;
}

void topic_entry_release(struct topic_entry *entry)
{
    topic_entry_unref(entry);
}

/* ---- scheduled tasks ---- */

static void poll_routes(void *ctx)
{
    struct mq_client_instance *in = ctx;
    topic_route_table_poll(&in->routes);
}

static void clean_and_heartbeat(void *ctx)
{
    struct mq_client_instance *in = ctx;
    if (topic_route_table_clean_brokers(&in->routes) > 0)
        on_brokers_changed(in);
    heartbeat_to_all_brokers(in);
}

static void scan_responses(void *ctx)
{
    struct mq_client_instance *in = ctx;
    unsigned found = remoting_client_scan(&in->remoting);
    if (found > 0)
        LOG_ERROR(in->client_id, "the response scan found %u futures that the deadline wheel had missed", found);
}

static void expire_lingering(void *ctx)
{
    struct mq_client_instance *in = ctx;
    uint64_t now = event_loop_now_ns(in->loop);
    for (unsigned i = 0; i < in->producers.high; i++) {
        struct producer *p = in->producers.producers[i];
        if (p && p->state == PRODUCER_LINGERING && p->linger_until_ns <= now)
            start_unregistering(p);
    }
    if (!in->draining && mq_client_instance_is_unused(in))
        mq_client_instance_drain(in);
}

static void expire_topics(void *ctx)
{
    struct mq_client_instance *in = ctx;
    if (topic_route_table_expire(&in->routes) > 0)
        mq_client_instance_changed(in);
}

static int start_scheduled_tasks(struct mq_client_instance *in)
{
    const struct {
        const char *name;
        uint64_t first_ns, period_ns;
        void (*run)(void *ctx);
    } tasks[] = {
        {"update topic routes", 10 * NS_PER_MS, in->config.poll_name_server_interval_ms * NS_PER_MS, poll_routes},
        {"clean offline brokers, heartbeat", NS_PER_S, in->config.heartbeat_broker_interval_ms * NS_PER_MS, clean_and_heartbeat},
        {"scan response table", RESPONSE_SCAN_FIRST_NS, RESPONSE_SCAN_PERIOD_NS, scan_responses},
        {"expire lingering groups", NS_PER_S, NS_PER_S, expire_lingering},
        {"expire idle topics", 60 * NS_PER_S, 60 * NS_PER_S, expire_topics},
    };
    int r = 0;
    scheduled_tasks_init(&in->tasks, in->loop);
    for (unsigned i = 0; i < sizeof(tasks) / sizeof(tasks[0]) && r == 0; i++)
        r = scheduled_tasks_add(&in->tasks, tasks[i].name, tasks[i].first_ns, tasks[i].period_ns, tasks[i].run, in);
    return r;
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
        .high_water_bytes = high,
        .low_water_bytes = c->write_buffer_low_water_mark_bytes ? c->write_buffer_low_water_mark_bytes : high / 2,
        .max_pending = c->client_async_semaphore,
        .max_response_bytes = c->max_response_bytes ? c->max_response_bytes : REMOTING_FRAME_MAX,
        .serialize_type = c->json_header ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ,
        .version = c->protocol_version ? c->protocol_version : PROTOCOL_VERSION_4_9_3,
    };
    struct remoting_client_ops ops = {.connected = on_channel_connected,
                                      .lost = on_channel_lost,
                                      .suspect = on_channel_suspect,
                                      .request = on_request,
                                      .changed = on_channel_changed,
                                      .ctx = in};
    return remoting_client_init(&in->remoting, in->loop, resolver, &settings, &ops);
}

static int start_routes(struct mq_client_instance *in, const struct route_store *store, const char *store_name)
{
    struct topic_route_table_ops ops = {on_brokers_changed, in};
    in->routes.store = *store;
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

static int start_inner_producer(struct mq_client_instance *in)
{
    int r = add_producer(in, SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER), 0, &in->inner_producer);
    if (r == 0) {
        in->inner_producer->inner = true;
        in->inner_producer->refs = 1;
    }
    return r;
}

/* MQClientInstance.start(), step by step. No nameserver or broker is contacted here. */
static int start_in_order(struct mq_client_instance *in, struct resolver *resolver, const struct route_store *store, const char *store_name)
{
    int r = start_network_client(in, resolver);
    if (r == 0)
        r = name_server_init(&in->name_server, &in->remoting, in->namesrv_addr, mono_now_ns());
    if (r == 0)
        r = start_routes(in, store, store_name);
    if (r == 0)
        r = start_scheduled_tasks(in);
    /* Pull and rebalance services belong to consumers. */
    if (r == 0)
        r = start_inner_producer(in);
    return r;
}

int mq_client_instance_start(struct mq_client_instance *in, struct resolver *resolver, const struct route_store *store,
                             const char *store_name)
{
    in->state = SERVICE_START_FAILED;
    list_init(&in->registrations);
    int r = start_in_order(in, resolver, store, store_name);
    if (r < 0)
        return r;
    in->state = SERVICE_RUNNING;
    in->started_ms = event_loop_now_ms(in->loop);
    LOG_INFO(in->client_id, "instance started, nameservers %s", in->namesrv_addr);
    return 0;
}

struct mq_client_instance *mq_client_instance_free(struct mq_client_instance *in)
{
    if (!in)
        return NULL;
    struct registration *reg;
    in->draining = true;
    scheduled_tasks_deinit(&in->tasks);
    for (uint32_t i = 0; i < in->routes.count; i++)
        for (struct list_link *it; (it = list_first(&in->routes.entries[i]->waiting)) != NULL;)
            remoting_client_finish(&in->remoting, LIST_ENTRY(it, struct response_future, link), FUTURE_CANCELLED, -ECANCELED);
    remoting_client_close_all(&in->remoting);
    if (in->registrations.next)
        FOR_EACH_REGISTRATION (reg, in)
            registration_free(reg);
    remoting_client_deinit(&in->remoting);
    topic_route_table_deinit(&in->routes);
    broker_addr_table_deinit(&in->brokers);
    producer_table_deinit(&in->producers);
    free(in);
    return NULL;
}

/* ---- end ---- */

bool mq_client_instance_is_unused(const struct mq_client_instance *in)
{
    uint32_t topic_refs = 0;
    for (uint32_t i = 0; i < in->routes.count; i++)
        topic_refs += in->routes.entries[i]->refs + in->routes.entries[i]->waiting_count;
    return in->producers.count <= 1 && topic_refs <= 1; /* the inner group, the create-topic key */
}

void mq_client_instance_drain(struct mq_client_instance *in)
{
    struct registration *reg;
    LOG_INFO(in->client_id, "unregisters everywhere");
    in->draining = true;
    in->state = SERVICE_SHUTDOWN_ALREADY;
    FOR_EACH_REGISTRATION (reg, in)
        registration_retire(reg);
    mq_client_instance_changed(in);
}

bool mq_client_instance_is_drained(const struct mq_client_instance *in)
{
    return in->draining && list_is_empty(&in->registrations);
}

void mq_client_instance_revive(struct mq_client_instance *in)
{
    if (!in->draining)
        return;
    in->draining = false;
    in->state = SERVICE_RUNNING;
    on_brokers_changed(in);
}
