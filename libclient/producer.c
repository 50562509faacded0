/*
 * Producers, their registrations, and the three ways to send.
 *
 * Start order of 4.9.3 (DefaultMQProducerImpl.start) as far as it is the client's: state
 * START_FAILED first, check the group, register, RUNNING; the rest happens in the hub.
 */
#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"
#include "shm/message/properties.h"
#include "shm/message/validators.h"

static const char *const state_names[] = {"CREATE_JUST", "RUNNING", "SHUTDOWN_ALREADY", "START_FAILED"};

/* What is wrong in every namespace; the hub checks the name again as it will be sent. */
static int check_group(struct rmqhub *hub, const char *group)
{
    const char *why = validate_producer_group(group ? span_of(group) : (struct span){NULL, 0});
    if (!why)
        return RMQHUB_OK;
    hub_problem(hub, "group \"%.64s\": %s", group ? group : "", why);
    return RMQHUB_ERR_GROUP_ILLEGAL;
}

int rmqhub_producer_new(rmqhub_t *hub, const char *group, rmqhub_producer_t **out)
{
    if (!hub || !out)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(hub))
        return RMQHUB_ERR_FORKED;
    int r = check_group(hub, group);
    if (r != RMQHUB_OK)
        return r;
    struct rmqhub_producer *p = calloc(1, sizeof(*p));
    if (!p)
        return RMQHUB_ERR_NO_MEMORY;
    p->hub = hub;
    p->max_message_size = MAX_MESSAGE_SIZE;
    text_copy(p->strings[SHM_STRING_NAME], sizeof(p->strings[0]), group, strlen(group));
    pthread_mutex_lock(&hub->lane_lock);
    list_append(&hub->producers, &p->link);
    pthread_mutex_unlock(&hub->lane_lock);
    *out = p;
    return RMQHUB_OK;
}

/* A setter's answer, given the rule that its value breaks (NULL: none). */
static int may_set(rmqhub_producer_t *p, const char *broken_rule)
{
    if (hub_is_forked(p->hub))
        return RMQHUB_ERR_FORKED;
    int state = atomic_load(&p->state);
    if (broken_rule)
        hub_problem(p->hub, "%s", broken_rule);
    else if (state != CREATE_JUST)
        hub_problem(p->hub, "the producer of group %s takes no setting: its state is %s", p->strings[SHM_STRING_NAME], state_names[state]);
    return broken_rule ? RMQHUB_ERR_INVALID_ARGUMENT : state != CREATE_JUST ? RMQHUB_ERR_STATE : RMQHUB_OK;
}

static int set_string(rmqhub_producer_t *p, enum shm_registration_string which, const char *value, const char *broken_rule)
{
    if (!p || !value)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (!broken_rule && strlen(value) >= sizeof(p->strings[0]))
        broken_rule = "a text of a setting is longer than 511 bytes";
    int r = may_set(p, broken_rule);
    if (r == RMQHUB_OK)
        text_copy(p->strings[which], sizeof(p->strings[0]), value, strlen(value));
    return r;
}

int rmqhub_producer_set_cluster(rmqhub_producer_t *p, const char *cluster)
{
    return set_string(p, SHM_STRING_CLUSTER, cluster, NULL);
}

int rmqhub_producer_set_namesrv(rmqhub_producer_t *p, const char *namesrv_addr)
{
    return set_string(p, SHM_STRING_NAMESRV, namesrv_addr, NULL);
}

int rmqhub_producer_set_instance_name(rmqhub_producer_t *p, const char *name)
{
    return set_string(p, SHM_STRING_INSTANCE, name, NULL);
}

int rmqhub_producer_set_unit_name(rmqhub_producer_t *p, const char *name)
{
    return set_string(p, SHM_STRING_UNIT, name, NULL);
}

int rmqhub_producer_set_namespace(rmqhub_producer_t *p, const char *name_space)
{
    return set_string(p, SHM_STRING_NAMESPACE, name_space, NULL);
}

int rmqhub_producer_set_group(rmqhub_producer_t *p, const char *group)
{
    if (!p)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    int r = may_set(p, NULL);
    if (r == RMQHUB_OK)
        r = check_group(p->hub, group);
    return r == RMQHUB_OK ? set_string(p, SHM_STRING_NAME, group, NULL) : r;
}

int rmqhub_producer_set_create_topic_key(rmqhub_producer_t *p, const char *topic)
{
    return set_string(p, SHM_STRING_CREATE_TOPIC_KEY, topic, topic ? validate_create_topic_key(span_of(topic)) : NULL);
}

int rmqhub_producer_set_default_topic_queue_nums(rmqhub_producer_t *p, uint32_t queue_nums)
{
    if (!p)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    int r = may_set(p, validate_default_topic_queue_nums(queue_nums));
    if (r == RMQHUB_OK)
        p->default_topic_queue_nums = queue_nums;
    return r;
}

int rmqhub_producer_set_max_message_size(rmqhub_producer_t *p, uint32_t bytes)
{
    if (!p)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    int r = may_set(p, validate_max_message_size(bytes));
    if (r == RMQHUB_OK)
        p->max_message_size = bytes;
    return r;
}

/* ---- registrations ---- */

/* Finds a free handle and writes the record; the hub learns of it by the REGISTER that follows. Under lane_lock; 0 when none is free. */
static uint16_t write_registration(struct rmqhub *hub, const struct shm_registration_record *record)
{
    for (uint16_t i = 1; i < SHM_REGISTRATIONS; i++) {
        struct shm_registration *r = &hub->c->registration[i];
        if (hub->handle_used[i])
            continue;
        hub->handle_used[i] = true;
        SHM_RECORD_STORE(r, record);
        shm_store_release(&r->state, SHM_REGISTRATION_LIVE);
        return i;
    }
    return 0;
}

static void erase_registration(struct rmqhub *hub, uint16_t handle)
{
    shm_store_release(&hub->c->registration[handle].state, SHM_REGISTRATION_FREE);
    hub->handle_used[handle] = false;
}

static bool fill_strings(struct shm_registration_record *record, const char *const strings[SHM_STRINGS])
{
    size_t used = 0;
    for (int i = 0; i < SHM_STRINGS; i++) {
        size_t len = strings[i] ? strlen(strings[i]) : 0;
        if (len > sizeof(record->text) - used)
            return false;
        if (len)
            memcpy(record->text + used, strings[i], len);
        record->string_len[i] = (uint16_t)len;
        used += len;
    }
    return true;
}

static int error_of_answer(const rmqhub_result_t *result)
{
    if (result->outcome != (enum rmqhub_outcome)SHM_ANSWERED)
        return RMQHUB_ERR_TIMEOUT;
    switch (result->mbox.code) {
    case SHM_ANSWER_OK:
        return RMQHUB_OK;
    case SHM_ANSWER_DUPLICATE_GROUP:
        return RMQHUB_ERR_DUPLICATE_GROUP;
    case SHM_ANSWER_PERMISSION:
        return RMQHUB_ERR_PERMISSION;
    case SHM_ANSWER_LIMIT:
        return RMQHUB_ERR_LIMIT;
    case SHM_ANSWER_DRAINING:
        return RMQHUB_ERR_HUB_DRAINING;
    default:
        return RMQHUB_ERR_REFUSED;
    }
}

/* REGISTER or UNREGISTER, and the wait for its answer. Called without lane_lock. */
static int ask(struct rmqhub *hub, struct shm_slot_record *record, uint64_t deadline_ns)
{
    unsigned slot = 0;
    pthread_mutex_lock(&hub->lane_lock);
    int r = slot_acquire(hub, 0, 0, deadline_ns, true, &slot);
    if (r == RMQHUB_OK) {
        record->submit_ns = mono_now_ns();
        record->deadline_ns = deadline_ns;
        record->queue_id = -1;
        slot_submit(hub, slot, record);
    }
    pthread_mutex_unlock(&hub->lane_lock);
    if (r != RMQHUB_OK)
        return r;
    struct rmqhub_result result;
    slot_wait(hub, slot, &result);
    r = error_of_answer(&result);
    if (r != RMQHUB_OK)
        hub_problem(hub, "%s", result.reason);
    return r;
}

static int register_group(rmqhub_producer_t *p, uint64_t deadline_ns)
{
    struct rmqhub *hub = p->hub;
    struct shm_registration_record record = {
        .kind = SHM_KIND_PRODUCER, .max_message_size = p->max_message_size, .default_topic_queue_nums = p->default_topic_queue_nums};
    const char *strings[SHM_STRINGS];
    for (int i = 0; i < SHM_STRINGS; i++)
        strings[i] = p->strings[i];
    if (!fill_strings(&record, strings)) {
        hub_problem(hub,
                    "group, namespace, cluster, nameserver list, instance, unit and create-topic key are longer than %u bytes together",
                    SHM_REGISTRATION_TEXT_BYTES);
        return RMQHUB_ERR_LIMIT;
    }
    pthread_mutex_lock(&hub->lane_lock);
    uint16_t handle = write_registration(hub, &record);
    pthread_mutex_unlock(&hub->lane_lock);
    if (!handle) {
        hub_problem(hub, "%u groups and topics are registered in this process", SHM_REGISTRATIONS - 1);
        return RMQHUB_ERR_LIMIT;
    }
    struct shm_slot_record slot = {.op = SHM_OP_REGISTER, .producer_h = handle};
    int r = ask(hub, &slot, deadline_ns);
    if (r == RMQHUB_OK) {
        p->handle = handle;
        return r;
    }
    pthread_mutex_lock(&hub->lane_lock);
    erase_registration(hub, handle);
    pthread_mutex_unlock(&hub->lane_lock);
    return r;
}

int rmqhub_producer_start(rmqhub_producer_t *p, uint64_t deadline_ns)
{
    if (!p)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(p->hub))
        return RMQHUB_ERR_FORKED;
    int expected = CREATE_JUST;
    if (!atomic_compare_exchange_strong(&p->state, &expected, START_FAILED)) {
        hub_problem(p->hub, "the producer of group %s cannot start: its state is %s, maybe it was started before",
                    p->strings[SHM_STRING_NAME], state_names[expected]);
        return RMQHUB_ERR_STATE;
    }
    int r = register_group(p, deadline_ns);
    /* A duplicate group may be tried again under another name, as in 4.9.3. So may what depends on the hub alone. */
    bool again = r == RMQHUB_ERR_DUPLICATE_GROUP || r == RMQHUB_ERR_TIMEOUT || r == RMQHUB_ERR_HUB_DRAINING;
    atomic_store(&p->state, r == RMQHUB_OK ? RUNNING : again ? CREATE_JUST : START_FAILED);
    return r;
}

static void forget_topics(rmqhub_producer_t *p)
{
    for (unsigned i = 0; i < TOPIC_BUCKETS; i++) {
        for (struct topic_handle *t = p->topics[i], *next; t; t = next) {
            next = t->next;
            erase_registration(p->hub, t->handle);
            free(t);
        }
        p->topics[i] = NULL;
    }
}

/* The hub forgets the topics of a producer with the producer. Without its answer the handles are free all the same: a later
 * REGISTER of the same handle replaces what the hub still holds under it. */
static int leave(rmqhub_producer_t *p, bool final, uint64_t deadline_ns)
{
    struct rmqhub *hub = p->hub;
    struct shm_slot_record slot = {.op = SHM_OP_UNREGISTER, .flags = final ? SHM_SLOT_FINAL : 0, .producer_h = p->handle};
    int r = ask(hub, &slot, deadline_ns);
    if (atomic_load(&hub->link.state) != LINK_UP)
        r = RMQHUB_OK; /* the hub is gone and its registrations with it; ours is erased below, so the next hub replays none */
    pthread_mutex_lock(&hub->lane_lock);
    forget_topics(p);
    erase_registration(hub, p->handle);
    pthread_mutex_unlock(&hub->lane_lock);
    p->handle = 0;
    return r;
}

int rmqhub_producer_shutdown(rmqhub_producer_t *p, enum rmqhub_shutdown_mode mode, uint64_t deadline_ns)
{
    if (!p)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(p->hub))
        return RMQHUB_ERR_FORKED;
    int expected = RUNNING;
    if (!atomic_compare_exchange_strong(&p->state, &expected, SHUTDOWN_ALREADY)) {
        hub_problem(p->hub, "the producer of group %s cannot shut down: its state is %s", p->strings[SHM_STRING_NAME],
                    state_names[expected]);
        return RMQHUB_ERR_STATE;
    }
    int flushed = rmqhub_flush(p->hub, deadline_ns);
    int left = leave(p, mode == RMQHUB_SHUTDOWN_FINAL, deadline_ns);
    return flushed != RMQHUB_OK ? flushed : left;
}

void producer_free_memory(rmqhub_producer_t *p)
{
    for (unsigned i = 0; i < TOPIC_BUCKETS; i++) {
        for (struct topic_handle *t = p->topics[i], *next; t; t = next) {
            next = t->next;
            free(t);
        }
    }
    free(p);
}

void rmqhub_producer_free(rmqhub_producer_t *p)
{
    if (!p)
        return;
    if (!hub_is_forked(p->hub)) {
        if (atomic_load(&p->state) == RUNNING)
            leave(p, false, mono_now_ns());
        pthread_mutex_lock(&p->hub->lane_lock);
        list_unlink(&p->link);
        pthread_mutex_unlock(&p->hub->lane_lock);
    } else {
        list_unlink(&p->link);
    }
    producer_free_memory(p);
}

/* ---- topics ---- */

static struct topic_handle *find_topic(rmqhub_producer_t *p, const rmqhub_message_t *m)
{
    struct topic_handle *t = p->topics[m->topic_hash % TOPIC_BUCKETS];
    while (t && (t->hash != m->topic_hash || strcmp(t->name, m->topic) != 0))
        t = t->next;
    return t;
}

static int register_topic(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, uint16_t *handle_out)
{
    struct rmqhub *hub = p->hub;
    struct shm_registration_record record = {.kind = SHM_KIND_TOPIC, .parent = p->handle};
    const char *strings[SHM_STRINGS] = {m->topic};
    struct topic_handle *t = calloc(1, sizeof(*t));
    if (!t)
        return RMQHUB_ERR_NO_MEMORY;
    fill_strings(&record, strings);
    pthread_mutex_lock(&hub->lane_lock);
    uint16_t handle = write_registration(hub, &record);
    pthread_mutex_unlock(&hub->lane_lock);
    int r = RMQHUB_ERR_LIMIT;
    if (handle) {
        struct shm_slot_record slot = {.op = SHM_OP_REGISTER, .flags = SHM_SLOT_TOPIC, .producer_h = p->handle, .topic_h = handle};
        r = ask(hub, &slot, deadline_ns);
    } else {
        hub_problem(hub, "%u groups and topics are registered in this process", SHM_REGISTRATIONS - 1);
    }
    pthread_mutex_lock(&hub->lane_lock);
    struct topic_handle *other = r == RMQHUB_OK ? find_topic(p, m) : NULL;
    if (r == RMQHUB_OK && !other) {
        *t = (struct topic_handle){.next = p->topics[m->topic_hash % TOPIC_BUCKETS], .hash = m->topic_hash, .handle = handle};
        memcpy(t->name, m->topic, sizeof(t->name));
        p->topics[m->topic_hash % TOPIC_BUCKETS] = t;
        *handle_out = handle;
        t = NULL;
    } else if (other) {
        *handle_out = other->handle; /* another thread was first; ours stays registered, unused, until the producer leaves */
    } else if (handle) {
        erase_registration(hub, handle);
    }
    pthread_mutex_unlock(&hub->lane_lock);
    free(t);
    return r;
}

int producer_topic_handle(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, uint16_t *handle_out)
{
    pthread_mutex_lock(&p->hub->lane_lock);
    struct topic_handle *t = find_topic(p, m);
    if (t)
        *handle_out = t->handle;
    pthread_mutex_unlock(&p->hub->lane_lock);
    return t ? RMQHUB_OK : register_topic(p, m, deadline_ns, handle_out);
}

/* ---- send ---- */

static int check_send(const rmqhub_producer_t *p, const rmqhub_message_t *m)
{
    if (!p || !m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(p->hub))
        return RMQHUB_ERR_FORKED;
    int state = atomic_load(&p->state);
    if (state != RUNNING) {
        hub_problem(p->hub, "the producer of group %s is not running: its state is %s", p->strings[SHM_STRING_NAME], state_names[state]);
        return RMQHUB_ERR_STATE;
    }
    if (m->body_len > p->max_message_size)
        return RMQHUB_ERR_MESSAGE_TOO_LARGE;
    /* Until there is a body segment, a body must fit the arena beside its properties. */
    return m->body_len > SHM_ARENA_BYTES / 2 ? RMQHUB_ERR_MESSAGE_TOO_LARGE : RMQHUB_OK;
}

/* Properties as the hub will send them: the message's own, then WAIT and UNIQ_KEY. Returns the length. */
static uint32_t write_properties(char *dst, const rmqhub_message_t *m, const uint8_t *uniq, uint8_t uniq_len)
{
    char hex[2 * SHM_UNIQ_MAX + 1];
    size_t len = m->properties_len, cap = m->properties_len + PROPERTIES_ADDED_MAX;
    if (len)
        memcpy(dst, m->properties, len);
    text_hex_upper(hex, uniq, uniq_len);
    properties_append(dst, cap, &len, SPAN_LITERAL(PROPERTY_UNIQ_KEY), (struct span){hex, 2u * uniq_len});
    properties_append(dst, cap, &len, SPAN_LITERAL(PROPERTY_WAIT), m->wait_store_ok ? SPAN_LITERAL("true") : SPAN_LITERAL("false"));
    return (uint32_t)len;
}

/* Under lane_lock: fills the slot and accepts it. */
static void accept_message(rmqhub_producer_t *p, const rmqhub_message_t *m, unsigned slot, uint16_t topic_h, uint64_t deadline_ns,
                           uint8_t op, uint8_t flags)
{
    struct rmqhub *hub = p->hub;
    const struct pending *pending = &hub->pending[slot];
    uint64_t now_ns = mono_now_ns();
    struct shm_slot_record record = {
        .deadline_ns = deadline_ns,
        .submit_ns = now_ns,
        .op = op,
        .flags = flags,
        .uniq_len = m->uniq_len ? m->uniq_len : UNIQ_KEY_BYTES,
        .producer_h = p->handle,
        .topic_h = topic_h,
        .queue_id = -1,
        .msg_flag = m->flag,
        .properties_off = pending->properties_off,
        .body_off = pending->body_off,
        .body_len = m->body_len,
    };
    if (m->uniq_len)
        memcpy(record.uniq, m->uniq, m->uniq_len);
    else
        uniq_key_draw(&hub->uniq, now_ns, record.uniq);
    memcpy(hub->c->arena + record.body_off, m->body, m->body_len);
    record.properties_len = write_properties((char *)hub->c->arena + record.properties_off, m, record.uniq, record.uniq_len);
    slot_submit(hub, slot, &record);
}

struct send_args {
    uint64_t deadline_ns;
    uint8_t op, flags;
    bool may_wait;
    rmqhub_send_fn fn;
    void *ctx;
};

static int submit_message(rmqhub_producer_t *p, const rmqhub_message_t *m, const struct send_args *args, unsigned *slot_out)
{
    uint16_t topic_h = 0;
    int r = check_send(p, m);
    if (r == RMQHUB_OK)
        r = producer_topic_handle(p, m, args->deadline_ns, &topic_h);
    if (r != RMQHUB_OK)
        return r;
    pthread_mutex_lock(&p->hub->lane_lock);
    r = slot_acquire(p->hub, m->properties_len + PROPERTIES_ADDED_MAX, m->body_len, args->deadline_ns, args->may_wait, slot_out);
    if (r == RMQHUB_OK) {
        p->hub->pending[*slot_out].fn = args->fn;
        p->hub->pending[*slot_out].ctx = args->ctx;
        accept_message(p, m, *slot_out, topic_h, args->deadline_ns, args->op, args->flags);
    }
    pthread_mutex_unlock(&p->hub->lane_lock);
    return r;
}

int rmqhub_send(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_result_t *result)
{
    struct rmqhub_result own;
    struct rmqhub_result *r = result ? result : &own;
    const struct send_args args = {.deadline_ns = deadline_ns, .op = SHM_OP_SEND, .may_wait = true};
    unsigned slot = 0;
    int error = submit_message(p, m, &args, &slot);
    if (error != RMQHUB_OK) {
        result_set_refused(r, rmqhub_error_text(error));
        return error;
    }
    slot_wait(p->hub, slot, r);
    return r->outcome == RMQHUB_STORED ? RMQHUB_OK : r->outcome == RMQHUB_NOT_STORED ? RMQHUB_ERR_NOT_STORED : RMQHUB_ERR_UNKNOWN_OUTCOME;
}

int rmqhub_send_async(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_send_fn fn, void *ctx)
{
    const struct send_args args = {.deadline_ns = deadline_ns, .op = SHM_OP_SEND, .flags = SHM_SLOT_ASYNC, .fn = fn, .ctx = ctx};
    unsigned slot = 0;
    return fn ? submit_message(p, m, &args, &slot) : RMQHUB_ERR_INVALID_ARGUMENT;
}

int rmqhub_send_oneway(rmqhub_producer_t *p, const rmqhub_message_t *m, uint64_t deadline_ns, rmqhub_send_fn fn, void *ctx)
{
    const struct send_args args = {.deadline_ns = deadline_ns,
                                   .op = SHM_OP_ONEWAY,
                                   .flags = fn ? SHM_SLOT_ASYNC : SHM_SLOT_QUIET,
                                   .may_wait = true,
                                   .fn = fn,
                                   .ctx = ctx};
    unsigned slot = 0;
    return submit_message(p, m, &args, &slot);
}
