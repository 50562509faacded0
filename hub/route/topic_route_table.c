/*
 * A topic's route is fetched when somebody first wants it, when a send finds none,
 * and at every poll. Old data is kept whatever happens to a fetch; only a good
 * answer replaces it. A topic that does not exist takes the queues of the
 * create-topic key (TBW102), as 4.9.3 does, but only when a sender waits for it.
 * Senders do not wait for nameservers that are down: a route kept from an earlier
 * run will do when a call fails, or after a short patience when none answers. It
 * is used only if the nameserver it came from is still one of ours, and until the
 * first answer: one that says that the topic does not exist ends it.
 */
#include "hub/route/topic_route_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_codec.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/message/validators.h"

#define BUCKETS_MIN 64u
#define STORE_PATIENCE_MS 500u      /* for a nameserver that has answered in this run */
#define STORE_PATIENCE_FIRST_MS 30u /* before the first answer of any: a hub that starts while all are silent */
#define RETRY_FIRST_MS 100u
#define RETRY_MAX_MS 1000u
#define RETRY_TOPIC_PREFIX "%RETRY%"
#define ROUTE_BODY_MAX_BYTES (2u << 20) /* a route at the limits of topic_route_data.h has a tenth of it */
#define BROKER_FORGOTTEN_NS (600 * NS_PER_S)
#define TELL_AGAIN_NS (10 * NS_PER_S)
#define SAVE_AGAIN_NS (600 * NS_PER_S) /* an unchanged route is saved anew this often, to keep its age honest */

static void ask_default_topic(struct topic_entry *entry);

const char *route_source_name(enum route_source source)
{
    static const char *const names[] = {"NONE", "NAMESRV", "DEFAULT_TOPIC", "STORE"};
    return names[source];
}

const char *route_refusal_name(enum route_refusal refusal)
{
    static const char *const names[] = {"UNREADABLE", "EMPTY", "DUPLICATE", "BAD_BROKER", "TOO_MANY_QUEUES", "NO_MEMORY"};
    return names[refusal];
}

static uint32_t hash_name(const char *name, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h;
}

struct topic_entry *topic_route_table_find(const struct topic_route_table *table, const char *name, size_t len)
{
    struct topic_entry *e = table->buckets[hash_name(name, len) & (table->bucket_count - 1)];
    while (e && (e->name_len != len || memcmp(e->name, name, len) != 0))
        e = e->hash_next;
    return e;
}

/* ---- waiting senders ---- */

static void resolve_waiting(struct topic_entry *entry, int error)
{
    /* Only those that wait now: one that is parked again by its handler waits for the next answer. */
    for (uint32_t n = entry->waiting_count; n > 0 && entry->waiting_count > 0; n--) {
        struct response_future *f = LIST_ENTRY(list_first(&entry->waiting), struct response_future, link);
        remoting_client_unpark(f);
        entry->waiting_count--;
        f->ops->resume(f, error);
    }
}

static void schedule_retry(struct topic_route_table *t, uint32_t in_ms)
{
    if (!loop_timer_is_scheduled(&t->retry_timer))
        loop_timer_schedule(&t->retry_timer, event_loop_now_ns(t->loop) + in_ms * NS_PER_MS);
}

static bool may_try_store(const struct topic_entry *entry)
{
    return !entry->route && !entry->store_tried && entry->table->name_server->count > 0;
}

/* A sender's patience counts from its own arrival, however far apart the retries for other topics are by now. A topic is looked for in
 * the store once, so that this does not keep the retries close together. */
static void schedule_patience(struct topic_entry *entry)
{
    struct topic_route_table *t = entry->table;
    uint32_t patience_ms = t->name_server->last_ok_ms ? STORE_PATIENCE_MS : STORE_PATIENCE_FIRST_MS;
    uint64_t at_ns = event_loop_now_ns(t->loop) + patience_ms * NS_PER_MS;
    if (!loop_timer_is_scheduled(&t->retry_timer) || (may_try_store(entry) && at_ns < t->retry_timer.at_ns))
        loop_timer_schedule(&t->retry_timer, at_ns);
}

static const char *key_of(const struct topic_entry *entry, const struct create_topic *create)
{
    return create && create->key && create->key[0] ? create->key : entry->table->create_topic_key;
}

static void set_create_topic(struct topic_entry *entry, const struct create_topic *create)
{
    const struct topic_route_table *t = entry->table;
    const char *key = key_of(entry, create);
    text_copy(entry->create_topic_key, sizeof(entry->create_topic_key), key, strlen(key));
    entry->create_topic_queue_nums = create && create->queue_nums ? create->queue_nums : t->default_topic_queue_nums;
}

void topic_entry_park(struct topic_entry *entry, struct response_future *future, uint64_t deadline_ns, const struct create_topic *create)
{
    struct topic_route_table *t = entry->table;
    if (entry->waiting_count == 0)
        set_create_topic(entry, create);
    future->create_topic = create;
    remoting_client_park(t->name_server->client, future, &entry->waiting, deadline_ns);
    entry->waiting_count++;
    schedule_patience(entry);
    topic_entry_refresh(entry);
}

void topic_entry_forget_waiting(struct topic_entry *entry)
{
    entry->waiting_count--;
}

/* ---- failures ---- */

/* 4.9.3 says nothing of topics that need not exist. */
static bool may_be_missing(const struct topic_entry *entry)
{
    return strncmp(entry->name, RETRY_TOPIC_PREFIX, strlen(RETRY_TOPIC_PREFIX)) == 0 ||
           strcmp(entry->name, entry->table->create_topic_key) == 0;
}

static void note_failure(struct topic_entry *entry, const char *reason)
{
    entry->fetch_failures++;
    entry->failures_in_a_row++;
    text_copy(entry->last_error, sizeof(entry->last_error), reason, strlen(reason));
}

static void note_code(struct topic_entry *entry, const struct send_response *response)
{
    char text[160];
    struct span remark = span_first_line(response->remark);
    snprintf(text, sizeof(text), "nameserver answered %d: %.*s", response->code, (int)(remark.len < 100 ? remark.len : 100),
             remark.data ? remark.data : "");
    note_failure(entry, text);
    if (entry->failures_in_a_row == 1 && !may_be_missing(entry))
        LOG_WARN(entry->name, "no route: %s", entry->last_error);
}

static void note_refusal(struct topic_entry *entry, enum route_refusal refusal)
{
    static const char *const texts[] = {
        "it cannot be read",       "it has no queues or no brokers",
        "it names a broker twice", "a broker's name or address is malformed",
        "it has too many queues",  "no memory",
    };
    char text[160];
    snprintf(text, sizeof(text), "the nameserver's route is ignored: %s", texts[refusal]);
    entry->table->refused[refusal]++;
    note_failure(entry, text);
    if (entry->failures_in_a_row == 1)
        LOG_WARN(entry->name, "%s", entry->last_error);
}

/* ---- an answer ---- */

static bool is_broker(const struct broker_data *bd)
{
    char address[CHANNEL_ADDRESS_MAX + 1], host[CHANNEL_ADDRESS_MAX + 1], port[8];
    if (bd->broker_name.len == 0 || bd->broker_name.len > BROKER_NAME_MAX)
        return false;
    for (unsigned i = 0; i < bd->addr_count; i++)
        if (!text_copy(address, sizeof(address), bd->addrs[i].addr.data, bd->addrs[i].addr.len) ||
            address_split(address, host, sizeof(host), port, sizeof(port)) < 0)
            return false;
    return true;
}

/* A decoded route is sorted: what is there twice stands side by side. */
static bool has_duplicates(const struct topic_route_data *route)
{
    for (unsigned i = 0; i < route->broker_data_count; i++) {
        const struct broker_data *bd = &route->broker_datas[i];
        if (i > 0 && span_equals(bd[-1].broker_name, bd->broker_name))
            return true;
        for (unsigned j = 1; j < bd->addr_count; j++)
            if (bd->addrs[j - 1].broker_id == bd->addrs[j].broker_id)
                return true;
    }
    for (unsigned i = 1; i < route->queue_data_count; i++)
        if (span_equals(route->queue_datas[i - 1].broker_name, route->queue_datas[i].broker_name))
            return true;
    return false;
}

/* What a nameserver never sends, unless somebody plays with it. ROUTE_REFUSALS: nothing is wrong. */
static enum route_refusal check_route(const struct topic_route_data *route)
{
    if (route->queue_data_count == 0 || route->broker_data_count == 0)
        return ROUTE_REFUSED_EMPTY;
    if (has_duplicates(route))
        return ROUTE_REFUSED_DUPLICATE;
    for (unsigned i = 0; i < route->broker_data_count; i++)
        if (!is_broker(&route->broker_datas[i]))
            return ROUTE_REFUSED_BAD_BROKER;
    return topic_publish_info_size(route) > TOPIC_PUBLISH_QUEUES_MAX ? ROUTE_REFUSED_TOO_MANY_QUEUES : ROUTE_REFUSALS;
}

static enum route_refusal read_route(struct topic_route_data **route, const void *body, size_t len)
{
    int r = len > ROUTE_BODY_MAX_BYTES ? -EPROTO : topic_route_data_decode(route, body, len);
    if (r < 0)
        return r == -ENOMEM ? ROUTE_REFUSED_NO_MEMORY : ROUTE_REFUSED_UNREADABLE;
    enum route_refusal refusal = check_route(*route);
    if (refusal != ROUTE_REFUSALS)
        *route = topic_route_data_free(*route);
    return refusal;
}

/* An entry of a broker that has been out of every route for long. Requests that went to it have ended; queues are looked through,
 * because an orderTopicConf may name what its route does not. */
static struct broker *find_forgotten(const struct topic_route_table *t)
{
    bool queued[BROKERS_MAX] = {false};
    uint64_t now = event_loop_now_ns(t->loop);
    for (uint32_t i = 0; i < t->count; i++)
        for (uint32_t j = 0; j < t->entries[i]->info.count; j++)
            queued[t->entries[i]->info.queues[j].broker->index] = true;
    for (unsigned i = 0; i < t->brokers->count; i++) {
        struct broker *b = t->brokers->brokers[i];
        if (!queued[i] && !b->master && b->offline_ns && now - b->offline_ns > BROKER_FORGOTTEN_NS)
            return b;
    }
    return NULL;
}

static int put_broker(struct topic_route_table *t, const struct broker_data *data)
{
    int r = broker_addr_table_put(t->brokers, data);
    struct broker *forgotten = r == -EDQUOT ? find_forgotten(t) : NULL;
    if (!forgotten)
        return r;
    LOG_INFO(forgotten->name, "this broker has been gone for long; its place is taken");
    broker_addr_table_reuse(forgotten, data);
    return broker_addr_table_put(t->brokers, data);
}

/* @p from: the nameserver that said so just now; NULL when it was kept. */
static bool take_brokers(struct topic_route_table *t, const struct topic_route_data *route, const char *from)
{
    bool changed = false;
    for (unsigned i = 0; i < route->broker_data_count; i++) {
        int r = put_broker(t, &route->broker_datas[i]);
        t->brokers_left_out += r < 0;
        if (r < 0)
            LOG_WARN("route", "broker \"%.*s\" is left out (%s)", (int)route->broker_datas[i].broker_name.len,
                     route->broker_datas[i].broker_name.data, strerror(-r));
        if (r > 0 && from)
            route_store_save_broker(&t->store, t->cluster, &route->broker_datas[i], from);
        changed |= r > 0;
    }
    return changed;
}

/* min(defaultTopicQueueNums, readQueueNums) for both numbers, as 4.9.3 does with the create-topic key's route. */
static void limit_queues(struct topic_route_data *route, uint32_t max)
{
    struct queue_data *qds = (struct queue_data *)(uintptr_t)route->queue_datas; /* one block of ours, still unshared */
    for (unsigned i = 0; i < route->queue_data_count; i++) {
        uint32_t n = qds[i].read_queue_nums > 0 ? (uint32_t)qds[i].read_queue_nums : 0;
        qds[i].read_queue_nums = qds[i].write_queue_nums = (int32_t)(n < max ? n : max);
    }
}

/* A route that flaps must not push everything else out of the events. */
static void tell_change(struct topic_entry *entry, const struct topic_route_data *route, enum route_source source)
{
    uint32_t untold = entry->changes - entry->changes_told;
    if (entry->changes_told && entry->changed_ns - entry->told_ns < TELL_AGAIN_NS)
        return;
    LOG_INFO(entry->name, "route changed%s: %u queues on %u brokers (%s)", untold > 1 ? ", again and again" : "", entry->info.count,
             route->broker_data_count, route_source_name(source));
    entry->told_ns = entry->changed_ns;
    entry->changes_told = entry->changes;
}

/* Makes @p route (owned from here on) the entry's. 0 | 1 it differs from the one before | -ENOMEM. */
static int adopt_route(struct topic_entry *entry, struct topic_route_data *route, enum route_source source, const char *from)
{
    struct topic_route_table *t = entry->table;
    uint64_t left_out = t->brokers_left_out;
    bool brokers_changed = take_brokers(t, route, source == ROUTE_STORE ? NULL : from);
    bool changed = !entry->route || !topic_route_data_equals(entry->route, route);
    if (changed || entry->info.count == 0 || entry->incomplete) {
        int r = topic_publish_info_build(&entry->info, route, t->brokers);
        if (r < 0) {
            topic_route_data_free(route);
            return r;
        }
    }
    if (changed) {
        entry->changes++;
        entry->changed_ns = event_loop_now_ns(t->loop);
        tell_change(entry, route, source);
    }
    topic_route_data_free(entry->route);
    entry->route = route;
    entry->source = source;
    entry->incomplete = t->brokers_left_out != left_out;
    text_copy(entry->from, sizeof(entry->from), from, strlen(from));
    entry->body_len = 0;
    if (brokers_changed)
        t->ops.brokers_changed(t->ops.ctx);
    if (changed && t->ops.routes_changed)
        t->ops.routes_changed(t->ops.ctx);
    return changed;
}

static void save_route(struct topic_entry *entry, const struct remoting_command *reply, bool changed)
{
    struct topic_route_table *t = entry->table;
    uint64_t now = event_loop_now_ns(t->loop);
    if (!t->store.save || (!changed && entry->saved_ns && now - entry->saved_ns < SAVE_AGAIN_NS))
        return;
    entry->saved_ns = now;
    t->store.save(t->store.ctx, KEPT_ROUTE, t->cluster, entry->name, reply->body.data, reply->body.len, entry->from);
}

/* Eight bytes at a step: it runs over every answer of every round. */
static uint64_t hash_body(struct span body)
{
    uint64_t h = body.len, word = 0;
    size_t at = 0;
    for (; at + sizeof(word) <= body.len; at += sizeof(word)) {
        memcpy(&word, body.data + at, sizeof(word));
        h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 32;
    }
    word = 0;
    if (at < body.len)
        memcpy(&word, body.data + at, body.len - at);
    h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

/* Reads and takes over the route of a successful reply. 0 (maybe with no queue to write to) | -EPROTO refused, and noted. */
static int take_route(struct topic_entry *entry, const struct remoting_command *reply, enum route_source source, const char *from)
{
    struct topic_route_table *t = entry->table;
    struct topic_route_data *route = NULL;
    uint64_t hash = hash_body(reply->body);
    bool from_store = entry->source == ROUTE_STORE;
    bool same = entry->body_len > 0 && entry->body_len == reply->body.len && entry->body_hash == hash;
    if (same && source == ROUTE_NAMESRV && entry->info.count > 0 && !entry->incomplete) {
        t->answers_unchanged++;
        text_copy(entry->from, sizeof(entry->from), from, strlen(from));
        save_route(entry, reply, false);
        return 0;
    }
    enum route_refusal refusal = read_route(&route, reply->body.data, reply->body.len);
    if (refusal == ROUTE_REFUSALS && source == ROUTE_DEFAULT_TOPIC)
        limit_queues(route, entry->create_topic_queue_nums);
    int r = refusal == ROUTE_REFUSALS ? adopt_route(entry, route, source, from) : 0;
    if (refusal != ROUTE_REFUSALS || r < 0) {
        note_refusal(entry, r < 0 ? ROUTE_REFUSED_NO_MEMORY : refusal);
        return -EPROTO;
    }
    if (source == ROUTE_NAMESRV) {
        entry->body_hash = hash;
        entry->body_len = reply->body.len;
        save_route(entry, reply, r > 0 || from_store);
    }
    return 0;
}

static int take_answer(struct topic_entry *entry, const struct channel *channel, const struct invoke_result *result,
                       enum route_source source)
{
    struct topic_route_table *t = entry->table;
    struct remoting_client *client = t->name_server->client;
    struct remoting_command reply;
    if (remoting_command_decode(&reply, result->frame, result->frame_len, client->scratch, sizeof(client->scratch)) < 0) {
        note_refusal(entry, ROUTE_REFUSED_UNREADABLE);
        return -EPROTO;
    }
    int r = take_route(entry, &reply, source, channel->address);
    if (r < 0)
        return r;
    entry->route_ns = event_loop_now_ns(t->loop);
    entry->route_ms = event_loop_now_ms(t->loop);
    if (source == ROUTE_NAMESRV) {
        entry->last_error[0] = '\0';
        entry->failures_in_a_row = 0;
    }
    t->retry_backoff_ms = 0;
    return 0;
}

/* ---- no answer ---- */

static bool is_listed(const struct name_server *ns, const char *address)
{
    for (unsigned i = 0; i < ns->count; i++) {
        if (strcmp(ns->addresses[i], address) == 0)
            return true;
    }
    return false;
}

static void try_store(struct topic_entry *entry)
{
    struct topic_route_table *t = entry->table;
    void *body = NULL;
    size_t len;
    struct kept_origin origin;
    struct topic_route_data *route = NULL;
    if (!may_try_store(entry))
        return;
    entry->store_tried = true;
    if (route_store_load_route(&t->store, t->cluster, entry->name, &body, &len, &origin) != 0)
        return;
    if (!is_listed(t->name_server, origin.from)) {
        LOG_WARN(entry->name, "the kept route is not used: it came from %s, which is no longer one of the nameservers", origin.from);
    } else if (read_route(&route, body, len) == ROUTE_REFUSALS && adopt_route(entry, route, ROUTE_STORE, origin.from) >= 0) {
        entry->route_ms = origin.saved_ms;
        LOG_WARN(entry->name, "no nameserver answers; using the route kept since %lld ms",
                 (long long)(event_loop_now_ms(t->loop) - origin.saved_ms));
        resolve_waiting(entry, 0);
    }
    free(body);
}

/* The nameserver says that there is no such topic: what was kept must not bring it back, now or at the next start. */
static void forget_missing(struct topic_entry *entry)
{
    struct topic_route_table *t = entry->table;
    entry->store_tried = true;
    entry->saved_ns = 0; /* should it come back as it was, it is worth keeping again */
    route_store_forget_route(&t->store, t->cluster, entry->name);
    if (entry->source != ROUTE_STORE)
        return; /* as in 4.9.3, what an answer of this run said stays */
    LOG_WARN(entry->name, "the kept route is dropped: %s knows no such topic", entry->from);
    topic_publish_info_deinit(&entry->info);
    entry->route = topic_route_data_free(entry->route);
    entry->source = ROUTE_NONE;
    entry->from[0] = '\0';
    entry->changes++;
    entry->changed_ns = event_loop_now_ns(t->loop);
    if (t->ops.routes_changed)
        t->ops.routes_changed(t->ops.ctx);
}

static void on_retry_timer(void *ctx)
{
    struct topic_route_table *t = ctx;
    bool again = false;
    for (uint32_t i = 0; i < t->count; i++) {
        struct topic_entry *e = t->entries[i];
        if (e->waiting_count > 0)
            try_store(e);
        if (e->waiting_count == 0 && e->source != ROUTE_STORE)
            continue;
        again = true;
        if (t->in_flight < TOPIC_POLL_CONCURRENCY)
            topic_entry_refresh(e);
    }
    t->retry_backoff_ms = t->retry_backoff_ms ? t->retry_backoff_ms * 2 : RETRY_FIRST_MS;
    if (t->retry_backoff_ms > RETRY_MAX_MS)
        t->retry_backoff_ms = RETRY_MAX_MS;
    if (again)
        schedule_retry(t, t->retry_backoff_ms);
}

/* Nothing usable came. Senders wait on, for a kept route or the next try. */
static void without_answer(struct topic_entry *entry)
{
    try_store(entry);
    if (entry->waiting_count > 0 || entry->source == ROUTE_STORE)
        schedule_retry(entry->table, RETRY_FIRST_MS);
}

static void unreachable(struct topic_entry *entry, const char *reason)
{
    note_failure(entry, reason);
    without_answer(entry);
}

/* ---- fetching ---- */

static void pump_poll(struct topic_route_table *t)
{
    for (struct list_link *it; t->in_flight < TOPIC_POLL_CONCURRENCY && (it = list_first(&t->poll_queue)) != NULL;) {
        list_unlink(it);
        topic_entry_refresh(LIST_ENTRY(it, struct topic_entry, poll_link));
    }
}

/* Ends a fetch. True when it brought no answer, and nothing is left to do. */
static bool fetch_failed(struct topic_entry *entry, const struct invoke_result *result)
{
    entry->fetching = false;
    entry->table->in_flight--;
    if (result->error >= 0)
        return false;
    if (result->error != -ECANCELED) {
        unreachable(entry, result->reason);
        pump_poll(entry->table);
    }
    return true;
}

/* A route that cannot be used says nothing of the topic; another nameserver, or the same one later, may know better. */
static void route_refused(struct topic_entry *entry, const struct channel *channel)
{
    name_server_pass_over(entry->table->name_server, channel);
    without_answer(entry);
}

/* The topic does not exist, nor does the create-topic key that was asked for. Who waits with another key has it asked next. */
static void key_is_missing(struct topic_entry *entry)
{
    for (uint32_t n = entry->waiting_count; n > 0 && entry->waiting_count > 0; n--) {
        struct response_future *f = LIST_ENTRY(list_first(&entry->waiting), struct response_future, link);
        if (strcmp(key_of(entry, f->create_topic), entry->create_topic_key) != 0) {
            list_unlink(&f->link);
            list_append(&entry->waiting, &f->link);
            continue;
        }
        remoting_client_unpark(f);
        entry->waiting_count--;
        f->ops->resume(f, -ENOENT);
    }
    if (entry->waiting_count == 0)
        return;
    set_create_topic(entry, LIST_ENTRY(list_first(&entry->waiting), struct response_future, link)->create_topic);
    ask_default_topic(entry);
}

static void on_default_route(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct topic_entry *entry = ctx;
    if (fetch_failed(entry, result))
        return;
    if (result->response->code != RESPONSE_SUCCESS)
        key_is_missing(entry);
    else if (take_answer(entry, channel, result, ROUTE_DEFAULT_TOPIC) == 0)
        resolve_waiting(entry, 0);
    else
        route_refused(entry, channel);
    pump_poll(entry->table);
}

static void on_route(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct topic_entry *entry = ctx;
    if (fetch_failed(entry, result))
        return;
    entry->last_code = result->response->code;
    if (entry->last_code == RESPONSE_TOPIC_NOT_EXIST)
        forget_missing(entry);
    if (entry->last_code != RESPONSE_SUCCESS)
        note_code(entry, result->response);
    else if (take_answer(entry, channel, result, ROUTE_NAMESRV) < 0)
        route_refused(entry, channel);
    else
        resolve_waiting(entry, 0);
    if (entry->info.count > 0)
        resolve_waiting(entry, 0);
    else if (entry->last_code != RESPONSE_SUCCESS && entry->waiting_count > 0)
        ask_default_topic(entry);
    pump_poll(entry->table);
}

static void ask(struct topic_entry *entry, const char *topic, invoke_fn fn)
{
    struct topic_route_table *t = entry->table;
    struct ext_field ext[] = {{SPAN_LITERAL("topic"), span_of(topic)}};
    int r = name_server_invoke(t->name_server, REQUEST_GET_ROUTEINFO_BY_TOPIC, ext, 1, t->api_timeout_ms, fn, entry);
    if (r < 0) {
        unreachable(entry, r == -EDESTADDRREQ ? "no nameserver address is known yet" : strerror(-r));
        return;
    }
    entry->fetching = true;
    entry->fetches++;
    t->in_flight++;
}

static void ask_default_topic(struct topic_entry *entry)
{
    ask(entry, entry->create_topic_key, on_default_route);
}

void topic_entry_refresh(struct topic_entry *entry)
{
    entry->dormant = false;
    if (!entry->fetching)
        ask(entry, entry->name, on_route);
}

void topic_route_table_poll(struct topic_route_table *table)
{
    table->polls++;
    name_server_tidy(table->name_server);
    /* Before they are asked for again: an entry with a request on its way cannot go. */
    topic_route_table_expire(table);
    for (uint32_t i = 0; i < table->count; i++)
        if (!list_is_linked(&table->entries[i]->poll_link) && !table->entries[i]->dormant)
            list_append(&table->poll_queue, &table->entries[i]->poll_link);
    pump_poll(table);
}

/* ---- entries ---- */

static int grow_buckets(struct topic_route_table *t)
{
    uint32_t count = t->bucket_count ? t->bucket_count * 2 : BUCKETS_MIN;
    struct topic_entry **buckets = calloc(count, sizeof(struct topic_entry *));
    struct topic_entry **entries = realloc(t->entries, count * sizeof(struct topic_entry *));
    if (entries)
        t->entries = entries;
    if (!buckets || !entries) {
        free(buckets);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        struct topic_entry *e = t->entries[i];
        struct topic_entry **bucket = &buckets[hash_name(e->name, e->name_len) & (count - 1)];
        e->hash_next = *bucket;
        *bucket = e;
    }
    free(t->buckets);
    t->buckets = buckets;
    t->bucket_count = count;
    return 0;
}

static void encode_header(struct topic_entry *e)
{
    struct byte_writer w = byte_writer_of(e->header, sizeof(e->header));
    remoting_put_binary_field(&w, 'b', (struct span){e->name, e->name_len});
    e->header_len = (uint16_t)w.pos;
}

static void free_entry(struct topic_entry *e)
{
    list_unlink(&e->poll_link);
    topic_publish_info_deinit(&e->info);
    topic_route_data_free(e->route);
    free(e);
}

static void remove_entry(struct topic_route_table *t, uint32_t index)
{
    struct topic_entry *e = t->entries[index];
    struct topic_entry **at = &t->buckets[hash_name(e->name, e->name_len) & (t->bucket_count - 1)];
    while (*at != e)
        at = &(*at)->hash_next;
    *at = e->hash_next;
    t->entries[index] = t->entries[--t->count];
    free_entry(e);
}

static bool is_unused(const struct topic_entry *e)
{
    return e->refs == 0 && !e->fetching && e->waiting_count == 0;
}

/* Makes room in a full table: of the topics that nobody holds, the one that was used longest ago goes. */
static bool evict_unused(struct topic_route_table *t)
{
    uint32_t oldest = t->count;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct topic_entry *e = t->entries[i];
        if (is_unused(e) && (oldest == t->count || e->last_used_ns < t->entries[oldest]->last_used_ns))
            oldest = i;
    }
    if (oldest == t->count)
        return false;
    remove_entry(t, oldest);
    return true;
}

int topic_route_table_acquire(struct topic_route_table *t, const char *name, size_t len, struct topic_entry **out)
{
    if (validate_topic((struct span){name, len}))
        return -EINVAL;
    struct topic_entry *e = topic_route_table_find(t, name, len);
    if (e) {
        e->refs++;
        e->last_used_ns = event_loop_now_ns(t->loop);
        *out = e;
        return 0;
    }
    if (t->count == TOPICS_MAX && !evict_unused(t))
        return -EDQUOT;
    if (t->count == t->bucket_count && grow_buckets(t) < 0)
        return -ENOMEM;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->table = t;
    memcpy(e->name, name, len);
    e->name_len = (uint8_t)len;
    e->refs = 1;
    encode_header(e);
    e->last_used_ns = event_loop_now_ns(t->loop);
    list_init(&e->waiting);
    struct topic_entry **bucket = &t->buckets[hash_name(name, len) & (t->bucket_count - 1)];
    e->hash_next = *bucket;
    *bucket = e;
    t->entries[t->count++] = e;
    *out = e;
    return 0;
}

void topic_entry_unref(struct topic_entry *entry)
{
    entry->refs--;
    entry->last_used_ns = event_loop_now_ns(entry->table->loop);
}

/* The create-topic key is polled as long as the client lives. */
static bool is_idle(const struct topic_entry *e, uint64_t now)
{
    const struct topic_route_table *t = e->table;
    bool pinned = e->refs > 0 && strcmp(e->name, t->create_topic_key) == 0;
    return !pinned && !e->dormant && !e->fetching && e->waiting_count == 0 && now - e->last_used_ns > t->idle_expiry_ns;
}

bool topic_route_table_uses(const struct topic_route_table *t, const char *scope, const char *topic)
{
    const struct topic_entry *e = strcmp(t->cluster, scope) == 0 ? topic_route_table_find(t, topic, strlen(topic)) : NULL;
    return e && !e->dormant && !is_idle(e, event_loop_now_ns(t->loop));
}

static void put_to_sleep(struct topic_entry *e)
{
    list_unlink(&e->poll_link);
    topic_publish_info_deinit(&e->info);
    e->route = topic_route_data_free(e->route);
    e->source = ROUTE_NONE;
    e->from[0] = '\0';
    e->body_len = 0;
    e->saved_ns = 0;
    e->dormant = true;
}

unsigned topic_route_table_expire(struct topic_route_table *t)
{
    uint64_t now = event_loop_now_ns(t->loop);
    unsigned expired = 0;
    for (uint32_t i = t->count; i-- > 0;) {
        struct topic_entry *e = t->entries[i];
        if (!is_idle(e, now))
            continue;
        LOG_INFO(e->name, "idle, no longer polled");
        if (!t->store.in_use || !t->store.in_use(t->store.ctx, t->cluster, e->name))
            route_store_forget_route(&t->store, t->cluster, e->name);
        if (e->refs > 0)
            put_to_sleep(e);
        else
            remove_entry(t, i);
        expired++;
    }
    t->expired += expired;
    return expired;
}

static bool in_some_route(const struct topic_route_table *t, const struct broker *broker, const struct broker_address *address)
{
    for (uint32_t i = 0; i < t->count; i++) {
        const struct topic_route_data *route = t->entries[i]->route;
        const struct broker_data *bd = route ? topic_route_data_broker(route, span_of(broker->name)) : NULL;
        struct span addr = bd ? broker_data_addr(bd, address->broker_id) : (struct span){0};
        if (addr.data && span_equals(addr, span_of(address->address)))
            return true;
    }
    return false;
}

unsigned topic_route_table_clean_brokers(struct topic_route_table *t)
{
    unsigned changed = 0;
    for (unsigned i = 0; i < t->brokers->count; i++) {
        struct broker *broker = t->brokers->brokers[i];
        uint16_t kept = 0;
        for (uint16_t j = 0; j < broker->addr_count; j++)
            if (in_some_route(t, broker, &broker->addrs[j]))
                broker->addrs[kept++] = broker->addrs[j];
        changed += kept != broker->addr_count;
        memset(&broker->addrs[kept], 0, (size_t)(BROKER_ADDRS_MAX - kept) * sizeof(broker->addrs[0]));
        broker->addr_count = kept;
        if (kept == 0 && !broker->offline_ns)
            broker->offline_ns = event_loop_now_ns(t->loop);
    }
    return changed;
}

/* ---- life ---- */

int topic_route_table_init(struct topic_route_table *t, struct event_loop *loop, struct name_server *name_server,
                           struct broker_addr_table *brokers, const struct topic_route_table_ops *ops)
{
    t->loop = loop;
    t->name_server = name_server;
    t->brokers = brokers;
    t->ops = *ops;
    list_init(&t->poll_queue);
    int r = loop_timer_init(&t->retry_timer, loop, on_retry_timer, t);
    return r < 0 ? r : grow_buckets(t);
}

void topic_route_table_deinit(struct topic_route_table *t)
{
    loop_timer_deinit(&t->retry_timer);
    for (uint32_t i = 0; i < t->count; i++)
        free_entry(t->entries[i]);
    free(t->entries);
    free(t->buckets);
    t->entries = NULL;
    t->buckets = NULL;
    t->count = t->bucket_count = 0;
}
