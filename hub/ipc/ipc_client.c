/*
 * What a client says is copied once and judged by the copy. A record that no library could have
 * written is a violation: that client alone is quarantined, by name. A record that an unlucky
 * sequence of restarts could produce (a handle that is not registered here) is answered.
 *
 * Accepted messages outlive their process: its death makes the tail final, what stands before it
 * is sent under its own deadline, and only then do the segments go.
 */
#include "hub/ipc/ipc_client.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hub/instance/mq_client_manager.h"
#include "hub/ipc/ipc_internal.h"
#include "hub/protocol/namespace_util.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/message/properties.h"
#include "shm/message/validators.h"
#include "shm/segment.h"

#define TAKE_SLOTS_MAX 64u
#define TAKE_BYTES_MAX (128u * 1024u)
#define DETACHED_NS (30 * NS_PER_S)
#define SAME_CLOCK_NS ((int64_t)(10 * NS_PER_S))
#define CODE_MESSAGE_ILLEGAL 13
#define CODE_NOT_REGISTERED (-1)

/* "client 12 (pid 4410 php-fpm)", for log lines; one thread. */
static const char *who(const struct ipc_client *client)
{
    static char text[96];
    snprintf(text, sizeof(text), "client %llu (pid %d %s)", (unsigned long long)client->number, (int)client->pid, client->command);
    return text;
}

static void client_changed(struct ipc_client *client)
{
    if (client->server->config.changed)
        client->server->config.changed(client->server->config.ctx);
}

/* ---- handles ---- */

static void handle_unref(struct ipc_handle *handle)
{
    if (!handle || --handle->refs)
        return;
    if (handle->topic)
        topic_entry_release(handle->topic);
    if (handle->kind == SHM_KIND_PRODUCER && handle->producer) {
        default_mq_producer_shutdown(handle->producer, handle->final);
        free(handle->producer);
    }
    handle_unref(handle->owner);
    free(handle);
}

static void drop_handle(struct ipc_client *client, unsigned index)
{
    struct ipc_handle *handle = client->handles[index];
    if (!handle)
        return;
    if (handle->kind == SHM_KIND_PRODUCER) {
        default_mq_producer_disown(handle->producer);
        client->groups--;
    } else {
        client->topics--;
    }
    client->handles[index] = NULL;
    handle_unref(handle);
}

/* A producer takes its topics along. */
static void drop_producer(struct ipc_client *client, unsigned index, bool final)
{
    struct ipc_handle *handle = client->handles[index];
    if (!handle)
        return;
    handle->final = final;
    for (unsigned i = 1; i < SHM_REGISTRATIONS; i++) {
        if (client->handles[i] && client->handles[i]->owner == handle)
            drop_handle(client, i);
    }
    drop_handle(client, index);
}

/* The strings of a registration, taken apart from the hub's copy of it. */
struct strings {
    char text[SHM_REGISTRATION_TEXT_BYTES + SHM_STRINGS];
    const char *at[SHM_STRINGS];
};

static bool take_apart(const struct shm_registration_record *record, struct strings *out)
{
    size_t from = 0, to = 0;
    for (int i = 0; i < SHM_STRINGS; i++) {
        size_t len = record->string_len[i];
        if (len > sizeof(record->text) - from || memchr(record->text + from, '\0', len))
            return false;
        out->at[i] = out->text + to;
        memcpy(out->text + to, record->text + from, len);
        out->text[to + len] = '\0';
        from += len;
        to += len + 1;
    }
    return true;
}

static enum shm_answer answer_of(int r)
{
    switch (r) {
    case -EEXIST:
        return SHM_ANSWER_DUPLICATE_GROUP;
    case -EPERM:
        return SHM_ANSWER_PERMISSION;
    case -EDQUOT:
    case -ENOMEM:
        return SHM_ANSWER_LIMIT;
    case -ESHUTDOWN:
        return SHM_ANSWER_DRAINING;
    default:
        return SHM_ANSWER_INVALID;
    }
}

static enum shm_answer register_producer(struct ipc_client *client, const struct shm_registration_record *record,
                                         const struct strings *strings, struct ipc_handle *handle, const char **reason)
{
    const struct default_mq_producer_options options = {
        .group = span_of(strings->at[SHM_STRING_NAME]),
        .name_space = strings->at[SHM_STRING_NAMESPACE],
        .key = {strings->at[SHM_STRING_CLUSTER], strings->at[SHM_STRING_NAMESRV], strings->at[SHM_STRING_INSTANCE],
                strings->at[SHM_STRING_UNIT]},
        .create_topic_key = strings->at[SHM_STRING_CREATE_TOPIC_KEY],
        .default_topic_queue_nums = record->default_topic_queue_nums,
        .max_message_size = record->max_message_size,
        .uid = client->uid,
        .client = client,
    };
    handle->producer = malloc(sizeof(*handle->producer));
    if (!handle->producer) {
        *reason = "the hub is out of memory";
        return SHM_ANSWER_LIMIT;
    }
    default_mq_producer_init(handle->producer);
    int r = default_mq_producer_start(handle->producer, client->server->manager, &options);
    if (r < 0)
        snprintf(client->server->reason, sizeof(client->server->reason), "%s", handle->producer->reason);
    *reason = r < 0 ? client->server->reason : NULL;
    return r < 0 ? answer_of(r) : SHM_ANSWER_OK;
}

static enum shm_answer register_topic(struct ipc_client *client, const struct strings *strings, struct ipc_handle *handle,
                                      const char **reason)
{
    struct ipc_handle *owner = client->handles[handle->parent];
    char topic[SHM_REGISTRATION_TEXT_BYTES + NAME_SPACE_MAX_LENGTH + 2];
    if (!owner || owner->kind != SHM_KIND_PRODUCER) {
        *reason = "the topic's producer is not registered";
        return SHM_ANSWER_INVALID;
    }
    size_t len = namespace_wrap(topic, sizeof(topic), span_of(owner->producer->name_space), span_of(strings->at[SHM_STRING_NAME]));
    *reason = validate_send_topic((struct span){topic, len});
    if (*reason)
        return SHM_ANSWER_INVALID;
    handle->topic = topic_entry_acquire(owner->producer->instance, (struct span){topic, len}, reason);
    if (!handle->topic)
        return SHM_ANSWER_LIMIT;
    handle->owner = owner;
    owner->refs++;
    handle->producer = owner->producer;
    return SHM_ANSWER_OK;
}

/* Copies registration @p index and makes it usable. Replaces what stood under the handle before. */
static enum shm_answer register_handle(struct ipc_client *client, unsigned index, const char **reason)
{
    const struct shm_registration *r = &client->c->registration[index];
    struct shm_registration_record record;
    struct strings strings;
    uint64_t state = shm_load_acquire(&r->state);
    SHM_RECORD_LOAD(&record, r);
    *reason = "the registration is not filled in";
    if (index == 0 || state != SHM_REGISTRATION_LIVE || (record.kind != SHM_KIND_PRODUCER && record.kind != SHM_KIND_TOPIC) ||
        record.parent >= SHM_REGISTRATIONS || !take_apart(&record, &strings))
        return SHM_ANSWER_INVALID;
    drop_producer(client, index, false);
    struct ipc_handle *handle = calloc(1, sizeof(*handle));
    *reason = "the hub is out of memory";
    if (!handle)
        return SHM_ANSWER_LIMIT;
    handle->refs = 1;
    handle->kind = record.kind;
    handle->parent = record.parent;
    enum shm_answer answer = record.kind == SHM_KIND_PRODUCER ? register_producer(client, &record, &strings, handle, reason)
                                                              : register_topic(client, &strings, handle, reason);
    if (answer != SHM_ANSWER_OK) {
        LOG_WARN(who(client), "%s %s refused: %s", record.kind == SHM_KIND_PRODUCER ? "group" : "topic", strings.at[SHM_STRING_NAME],
                 *reason);
        handle_unref(handle);
        return answer;
    }
    client->handles[index] = handle;
    if (record.kind == SHM_KIND_PRODUCER)
        client->groups++;
    else
        client->topics++;
    *reason = NULL;
    client_changed(client);
    return SHM_ANSWER_OK;
}

/* ---- completion ---- */

/* After the round's writes: woken in the middle of it, callers would take the processor from the hub that feeds them. */
static void wake_sync_callers(struct ipc_client *client)
{
    for (unsigned i = 0; i < client->wake_count; i++)
        syscall(SYS_futex, (void *)&client->h->mbox[client->wake_slots[i]].seq, FUTEX_WAKE, 1, NULL, NULL, 0);
    client->wake_count = 0;
}

static void finish(struct ipc_client *client, unsigned slot, uint8_t flags, const struct shm_mbox_record *record, const char *reason)
{
    lane_hub_complete(&client->lane, slot, flags, record, reason);
    client->completed++;
    client->server->counters.completed++;
    if (flags & SHM_SLOT_QUIET)
        return;
    if (!(flags & SHM_SLOT_ASYNC) && client->wake_count == SHM_SLOTS) /* a slot can come by twice in a round */
        wake_sync_callers(client);
    if (!(flags & SHM_SLOT_ASYNC))
        client->wake_slots[client->wake_count++] = (uint8_t)slot;
    if (!list_is_linked(&client->notify))
        list_append(&client->server->notify, &client->notify);
}

static void answer(struct ipc_client *client, unsigned slot, uint8_t flags, enum shm_answer code, const char *reason)
{
    const struct shm_mbox_record record = {.outcome = SHM_ANSWERED, .code = code, .queue_id = -1, .queue_offset = -1};
    finish(client, slot, flags, &record, reason);
}

static void count_outcome(struct ipc_client *client, uint8_t outcome)
{
    client->stored += outcome == SHM_STORED;
    client->not_stored += outcome == SHM_NOT_STORED;
    client->unknown += outcome == SHM_UNKNOWN;
}

static void reject(struct ipc_client *client, unsigned slot, uint8_t flags, bool tainted, int32_t code, const char *reason)
{
    const struct shm_mbox_record record = {
        .outcome = tainted ? SHM_UNKNOWN : SHM_NOT_STORED, .code = code, .queue_id = -1, .queue_offset = -1};
    count_outcome(client, record.outcome);
    finish(client, slot, flags, &record, reason);
}

/* The index of the broker's name in this client's H, writing the name there at its first use. */
static uint16_t broker_index(struct ipc_client *client, const struct mq_client_instance *instance, const struct send_outcome *outcome)
{
    if (!outcome->broker_name || outcome->broker_ix >= SHM_BROKERS)
        return 0;
    if (client->brokers.instance != instance) {
        memset(&client->brokers, 0, sizeof(client->brokers));
        client->brokers.instance = instance;
    }
    uint16_t *cached = &client->brokers.ix[outcome->broker_ix];
    if (*cached && strcmp(client->h->broker[*cached], outcome->broker_name) == 0)
        return *cached;
    for (uint16_t i = 1; i < SHM_BROKERS; i++) {
        char *name = client->h->broker[i];
        if (name[0] == '\0')
            text_copy(name, SHM_BROKER_NAME_BYTES, outcome->broker_name, strlen(outcome->broker_name));
        if (strncmp(name, outcome->broker_name, SHM_BROKER_NAME_BYTES - 1) == 0)
            return *cached = i;
    }
    return 0;
}

static void release_request(struct ipc_request *request)
{
    struct ipc_client *client = request->client;
    list_unlink(&request->link);
    client->in_flight--;
    client->server->counters.in_flight--;
    handle_unref(request->topic);
    ipc_request_free(client->server, request);
}

static void on_sent(struct send_request *send, const struct send_outcome *outcome)
{
    struct ipc_request *request = (struct ipc_request *)send;
    struct ipc_client *client = request->client;
    struct shm_mbox_record record = {
        .outcome = outcome->outcome,
        .send_status = outcome->send_status,
        .code = outcome->code,
        .attempts = outcome->attempts,
        .flags = outcome->flags & SEND_FLAG_MAYBE_DUPLICATED ? SHM_MBOX_MAYBE_DUPLICATED : 0,
        .queue_id = outcome->queue_id,
        .queue_offset = outcome->queue_offset,
        .msgid_len = outcome->offset_msg_id_len,
        .ring_us = us_between(request->submit_ns, send->taken_ns),
        .hub_us = outcome->queue_us > outcome->connect_us ? outcome->queue_us - outcome->connect_us : 0,
        .connect_us = outcome->connect_us,
        .wire_us = outcome->wire_us,
    };
    memcpy(record.msgid, outcome->offset_msg_id, sizeof(record.msgid));
    record.broker_ix = broker_index(client, request->topic->producer->instance, outcome);
    count_outcome(client, record.outcome);
    unsigned slot = request->slot;
    uint8_t flags = request->flags;
    release_request(request);
    finish(client, slot, flags, &record, outcome->reason);
    if (client->state == IPC_CLIENT_ENDING)
        ipc_server_mark_hot(client->server, client); /* the hook ends it when nothing is left */
}

const struct ipc_client *ipc_client_of_send(const struct send_request *send)
{
    return send->complete == on_sent ? ((const struct ipc_request *)send)->client : NULL;
}

/* ---- submissions ---- */

static const char *refuse_message(const struct shm_slot_record *r, const struct ipc_handle *topic, int32_t *code)
{
    *code = CODE_NOT_REGISTERED;
    if (!topic || topic->kind != SHM_KIND_TOPIC || topic->parent != r->producer_h)
        return "the topic's registration was refused by this hub, or never made: start the producer again";
    *code = CODE_MESSAGE_ILLEGAL;
    if (r->properties_len > PROPERTIES_MAX_LENGTH)
        return "the properties are longer than 32767 bytes";
    return validate_body_length(r->body_len, topic->producer->settings.max_message_size);
}

static void submit_message(struct ipc_client *client, unsigned slot, const struct shm_slot_record *r, bool tainted)
{
    struct ipc_server *server = client->server;
    struct ipc_handle *topic = client->handles[r->topic_h];
    uint64_t now_ns = event_loop_now_ns(server->loop);
    uint64_t deadline_ns = r->deadline_ns + (uint64_t)client->clock_offset_ns;
    int32_t code = 0;
    const char *why = refuse_message(r, topic, &code);
    if (!why && deadline_ns <= now_ns) {
        server->counters.expired++;
        code = 10002;
        why = "the deadline passed before the hub took the message";
    }
    struct ipc_request *request = why ? NULL : ipc_request_new(server);
    if (!why && !request) {
        code = CODE_NOT_REGISTERED;
        why = "the hub is out of memory";
    }
    if (why) {
        reject(client, slot, r->flags, tainted, code, why);
        return;
    }
    request->client = client;
    request->topic = topic;
    topic->refs++;
    request->submit_ns = r->submit_ns + (uint64_t)client->clock_offset_ns;
    request->slot = (uint16_t)slot;
    request->flags = r->flags;
    request->send.producer = topic->producer->producer;
    request->send.settings = &topic->producer->settings;
    request->send.topic = topic->topic;
    request->send.properties = (const char *)client->c->arena + r->properties_off;
    request->send.properties_len = r->properties_len;
    request->send.body = client->c->arena + r->body_off;
    request->send.body_len = r->body_len;
    request->send.msg_flag = r->msg_flag;
    request->send.sys_flag = 0;
    request->send.queue_id = r->queue_id;
    request->send.mode = r->op == SHM_OP_ONEWAY ? SEND_ONEWAY : r->flags & SHM_SLOT_ASYNC ? SEND_ASYNC : SEND_SYNC;
    request->send.tainted = tainted;
    request->send.deadline_ns = deadline_ns;
    /* The loop's time stands still within a round, in which a client may well submit: then it was taken at once. */
    request->send.taken_ns = request->submit_ns > now_ns && request->submit_ns - now_ns < NS_PER_S ? request->submit_ns : now_ns;
    request->send.complete = on_sent;
    list_append(&client->requests, &request->link);
    client->in_flight++;
    server->counters.in_flight++;
    client->bytes += r->body_len;
    producer_send(&request->send);
}

/* One record from the lane, or from what the last hub left. False: no operation of this protocol. */
static bool handle_record(struct ipc_client *client, unsigned slot, const struct shm_slot_record *r, bool tainted)
{
    const char *reason = NULL;
    switch (r->op) {
    case SHM_OP_SEND:
    case SHM_OP_ONEWAY:
        submit_message(client, slot, r, tainted);
        return true;
    case SHM_OP_REGISTER: {
        enum shm_answer a = register_handle(client, r->flags & SHM_SLOT_TOPIC ? r->topic_h : r->producer_h, &reason);
        answer(client, slot, r->flags, a, reason);
        return true;
    }
    case SHM_OP_UNREGISTER:
        drop_producer(client, r->flags & SHM_SLOT_TOPIC ? r->topic_h : r->producer_h, r->flags & SHM_SLOT_FINAL);
        answer(client, slot, r->flags, SHM_ANSWER_OK, NULL);
        client_changed(client);
        return true;
    default:
        return false;
    }
}

/* ---- states ---- */

static void close_socket(struct ipc_client *client)
{
    loop_io_deinit(&client->socket_io);
    if (client->socket >= 0)
        close(client->socket);
    client->socket = -1;
}

/* Whatever stands in the lane stays there. */
static void stop_taking(struct ipc_client *client)
{
    client->lane.head = shm_load_acquire(&client->c->tail);
}

static void enter_ending(struct ipc_client *client)
{
    client->state = IPC_CLIENT_ENDING;
    loop_timer_cancel(&client->detach_timer);
    close_socket(client);
    ipc_server_mark_hot(client->server, client);
    client_changed(client);
}

static void quarantine(struct ipc_client *client, const char *why)
{
    if (client->state == IPC_CLIENT_QUARANTINED)
        return;
    LOG_WARN(who(client), "quarantined: %s", why);
    client->server->counters.quarantined++;
    client->state = IPC_CLIENT_QUARANTINED;
    snprintf(client->reason, sizeof(client->reason), "quarantined: %s", why);
    list_unlink(&client->hot);
    loop_io_deinit(&client->doorbell_io);
    loop_timer_cancel(&client->detach_timer);
    close_socket(client);
    for (unsigned i = 1; i < SHM_REGISTRATIONS; i++)
        drop_producer(client, i, false);
    if (client->is_dead) {
        stop_taking(client);
        enter_ending(client);
    }
    client_changed(client);
}

static void on_pid(void *ctx, unsigned events)
{
    (void)events;
    struct ipc_client *client = ctx;
    loop_io_stop(&client->pid_io);
    client->is_dead = true;
    client->server->counters.died++;
    LOG_INFO(who(client), "the process ended with %u messages in hand", client->in_flight);
    if (client->state == IPC_CLIENT_QUARANTINED)
        stop_taking(client);
    enter_ending(client);
}

static void on_detach_timer(void *ctx)
{
    struct ipc_client *client = ctx;
    LOG_WARN(who(client), "stayed away for 30 s after its socket hung up; its groups linger");
    stop_taking(client); /* it lives, and may be revoking what we did not take */
    enter_ending(client);
}

static void on_socket(void *ctx, unsigned events)
{
    (void)events;
    struct ipc_client *client = ctx;
    char bytes[16];
    ssize_t n = recv(client->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        quarantine(client, "it sent something after ATTACH");
        return;
    }
    if (shm_load_acquire(&client->c->header.detached)) { /* for good: what it accepted before is sent, as after its death */
        enter_ending(client);
        return;
    }
    /* The library revokes what it sees untaken once the link is down, so nothing more is taken from here on. */
    client->server->counters.detached++;
    client->state = IPC_CLIENT_DETACHED;
    list_unlink(&client->hot);
    close_socket(client);
    loop_timer_schedule(&client->detach_timer, event_loop_now_ns(client->server->loop) + DETACHED_NS);
    client_changed(client);
}

static void on_doorbell(void *ctx, unsigned events)
{
    (void)events;
    struct ipc_client *client = ctx;
    client->server->counters.doorbells++;
    if (client->state == IPC_CLIENT_ATTACHED) {
        lane_hub_disarm(&client->lane);
        ipc_server_mark_hot(client->server, client);
    }
}

bool ipc_client_take(struct ipc_client *client)
{
    struct shm_slot_record record;
    struct ipc_server *server = client->server;
    uint64_t bytes = 0;
    for (unsigned n = 0; n < TAKE_SLOTS_MAX && bytes < TAKE_BYTES_MAX; n++) {
        const char *why = NULL;
        unsigned slot = 0;
        int r = lane_hub_take(&client->lane, &record, &slot, &why);
        if (r == LANE_TAKE_NONE)
            return false;
        server->counters.revoked += r == LANE_TAKE_REVOKED;
        if (r == LANE_TAKE_REVOKED)
            continue;
        if (r == LANE_TAKE_RECORD) {
            client->taken++;
            server->counters.taken++;
            bytes += record.body_len + record.properties_len;
            why = handle_record(client, slot, &record, false) ? NULL : "slot: no such operation";
        }
        if (why) {
            quarantine(client, why);
            return false;
        }
    }
    client->last_submit_ns = event_loop_now_ns(server->loop);
    return true;
}

void ipc_client_notify(struct ipc_client *client)
{
    wake_sync_callers(client);
    shm_fence(); /* completions before the look at the wish; the client wishes before it looks for completions */
    uint64_t want = shm_load_acquire(&client->c->header.want_byte);
    if (want == client->seen_want || client->socket < 0)
        return;
    client->seen_want = want; /* one byte per wish, so a client that never reads cannot fill its socket with them */
    if (send(client->socket, "w", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
        client->server->counters.wake_bytes++;
}

void ipc_client_set_hub_state(struct ipc_client *client, enum shm_hub_state state)
{
    shm_store_release(&client->h->header.state, (uint64_t)state);
}

/* ---- attach ---- */

static const char *check_c(const struct shm_c *c, const uint8_t *nonce)
{
    struct shm_c_header header;
    memcpy(&header, &c->header, offsetof(struct shm_c_header, want_byte));
    if (header.magic != SHM_C_MAGIC || header.abi_major != SHM_ABI_MAJOR || header.total_bytes != SHM_C_BYTES)
        return "segment C: wrong magic, version or size";
    if (header.fingerprint != shm_layout_fingerprint())
        return "segment C: another layout";
    if (header.features_required != 0)
        return "segment C: requires a feature that this hub lacks";
    return memcmp(header.nonce, nonce, SHM_NONCE_BYTES) == 0 ? NULL : "segment C: nonce differs from ATTACH";
}

static int make_h(struct ipc_client *client)
{
    void *map = NULL;
    int r = shm_segment_create("rmqhub-h", SHM_H_BYTES, &client->h_fd, &map);
    if (r < 0)
        return r;
    client->h = map;
    struct shm_h_header *header = &client->h->header;
    header->abi_major = SHM_ABI_MAJOR;
    header->abi_minor = SHM_ABI_MINOR;
    header->total_bytes = SHM_H_BYTES;
    header->fingerprint = shm_layout_fingerprint();
    header->epoch = client->server->config.epoch;
    memcpy(header->nonce, client->nonce, SHM_NONCE_BYTES);
    header->magic = SHM_H_MAGIC;
    shm_store_release(&header->state, SHM_HUB_RUN);
    return 0;
}

static int map_c(struct ipc_client *client, int c_fd, const char **why)
{
    void *map = NULL;
    if (shm_segment_map_foreign(c_fd, SHM_C_BYTES, NULL, &map, why) < 0)
        return -1;
    client->c = map;
    *why = check_c(client->c, client->nonce);
    return *why ? -1 : 0;
}

/* Maps the H of the last hub; the answers in it and its head are this client's own history. */
static const struct shm_h *map_previous(const struct ipc_client *client, int fd, const char **why)
{
    void *map = NULL;
    if (shm_segment_map_foreign(fd, SHM_H_BYTES, NULL, &map, why) < 0)
        return NULL;
    const struct shm_h *old = map;
    if (old->header.magic == SHM_H_MAGIC && memcmp(old->header.nonce, client->nonce, SHM_NONCE_BYTES) == 0)
        return old;
    munmap(map, SHM_H_BYTES);
    *why = "previous segment H: made for another client";
    return NULL;
}

static int watch_client(struct ipc_client *client)
{
    struct event_loop *loop = client->server->loop;
    int r = loop_io_init(&client->doorbell_io, loop, client->doorbell, LOOP_READ | LOOP_EDGE, on_doorbell, client);
    if (r == 0)
        r = loop_io_start(&client->doorbell_io);
    if (r == 0)
        r = loop_io_init(&client->socket_io, loop, client->socket, LOOP_READ, on_socket, client);
    if (r == 0)
        r = loop_io_start(&client->socket_io);
    if (r == 0)
        r = loop_io_init(&client->pid_io, loop, client->pid_fd, LOOP_READ, on_pid, client);
    if (r == 0)
        r = loop_io_start(&client->pid_io);
    if (r == 0)
        r = loop_timer_init(&client->detach_timer, loop, on_detach_timer, client);
    return r;
}

static void free_client(struct ipc_client *client)
{
    loop_io_deinit(&client->doorbell_io);
    loop_io_deinit(&client->pid_io);
    loop_io_deinit(&client->socket_io);
    loop_timer_deinit(&client->detach_timer);
    list_unlink(&client->hot);
    list_unlink(&client->notify);
    if (client->c)
        munmap((void *)client->c, SHM_C_BYTES);
    if (client->h)
        munmap(client->h, SHM_H_BYTES);
    int fds[] = {client->h_fd, client->doorbell, client->pid_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    free(client->left_over);
    free(client);
}

int64_t ipc_clock_offset(uint64_t hub_ns, uint64_t client_ns, uint64_t unread_ns)
{
    int64_t offset = (int64_t)(hub_ns - client_ns);
    int64_t waited = unread_ns < INT64_MAX / 2 ? (int64_t)unread_ns : INT64_MAX / 2;
    return offset < -SAME_CLOCK_NS || offset > SAME_CLOCK_NS + waited ? offset : 0;
}

/* Everything that can fail, in order; the caller cleans up. */
static const char *build_client(struct ipc_client *client, const struct ipc_newcomer *n, enum attach_status *status)
{
    const char *why = NULL;
    *status = ATTACH_INVALID;
    if (client->pid_fd < 0)
        return "the descriptor of the process is no pidfd, or of another process";
    if (map_c(client, n->c_fd, &why) < 0)
        return why;
    *status = ATTACH_LIMIT;
    client->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->doorbell < 0)
        return "the hub has no descriptor left: raise its open files limit (LimitNOFILE)";
    if (make_h(client) < 0)
        return "the hub has no memory left for another client";
    *status = ATTACH_INVALID;
    if (n->previous_h_fd < 0)
        return lane_hub_init(&client->lane, client->c, client->h, &why) < 0 ? why : NULL;
    const struct shm_h *old = map_previous(client, n->previous_h_fd, &why);
    if (!old)
        return why;
    client->left_over = calloc(SHM_SLOTS, sizeof(*client->left_over));
    bool head_is_final = !(n->request.flags & ATTACH_HEAD_UNSURE);
    client->left_over_count =
        client->left_over ? lane_hub_take_over(&client->lane, client->c, client->h, old, head_is_final, client->left_over, &why) : -1;
    munmap((void *)old, SHM_H_BYTES);
    if (!client->left_over) {
        *status = ATTACH_LIMIT;
        return "the hub is out of memory";
    }
    return client->left_over_count < 0 ? why : NULL;
}

int ipc_client_new(struct ipc_client **out, struct ipc_server *server, const struct ipc_newcomer *n, enum attach_status *status, char *text,
                   size_t text_cap)
{
    struct ipc_client *client = calloc(1, sizeof(*client));
    if (!client) {
        int fds[] = {n->c_fd, n->pid_fd, n->previous_h_fd};
        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
        *status = ATTACH_LIMIT;
        snprintf(text, text_cap, "the hub is out of memory");
        return -1;
    }
    client->server = server;
    client->uid = n->uid;
    client->gid = n->gid;
    client->pid = n->pid;
    client->socket = n->socket;
    client->pid_fd = n->pid_fd;
    client->h_fd = client->doorbell = -1;
    list_init(&client->requests);
    memcpy(client->nonce, n->request.nonce, SHM_NONCE_BYTES);
    text_escape(client->command, sizeof(client->command), n->request.command, strnlen(n->request.command, sizeof(n->request.command)));
    uint64_t now_ns = mono_now_ns();
    client->clock_offset_ns = ipc_clock_offset(now_ns, n->request.monotonic_ns, now_ns - server->looked_ns);
    client->attached_ns = event_loop_now_ns(server->loop);
    const char *why = build_client(client, n, status);
    close(n->c_fd);
    if (n->previous_h_fd >= 0)
        close(n->previous_h_fd);
    if (!why && watch_client(client) < 0) {
        *status = ATTACH_LIMIT;
        why = "the hub cannot watch another client";
    }
    if (why) {
        client->socket = -1; /* the caller answers on it */
        free_client(client);
        text_copy(text, text_cap, why, strlen(why));
        return -1;
    }
    *out = client;
    return 0;
}

/* Producers before topics, whatever order of handles a long life has led to. */
static void replay_registrations(struct ipc_client *client)
{
    static const uint16_t kinds[] = {SHM_KIND_PRODUCER, SHM_KIND_TOPIC};
    const char *reason = NULL;
    for (size_t k = 0; k < 2; k++) {
        for (unsigned i = 1; i < SHM_REGISTRATIONS; i++) {
            const struct shm_registration *r = &client->c->registration[i];
            struct shm_registration_record record;
            if (shm_load_acquire(&r->state) != SHM_REGISTRATION_LIVE)
                continue;
            SHM_RECORD_LOAD(&record, r);
            if (record.kind == kinds[k])
                register_handle(client, i, &reason);
        }
    }
}

void ipc_client_begin(struct ipc_client *client)
{
    struct ipc_server *server = client->server;
    LOG_INFO(who(client), "attached, uid %u%s", (unsigned)client->uid, client->left_over ? ", from an earlier hub" : "");
    if (client->left_over) {
        server->counters.taken_over++;
        replay_registrations(client);
        for (int i = 0; i < client->left_over_count; i++) {
            const struct lane_found *f = &client->left_over[i];
            server->counters.resubmitted++;
            client->taken++;
            if (!handle_record(client, f->slot, &f->record, f->tainted)) {
                quarantine(client, "slot: no such operation");
                break;
            }
        }
        free(client->left_over);
        client->left_over = NULL;
        if (!list_is_linked(&client->notify)) /* carried-over answers may have filled the async ring */
            list_append(&server->notify, &client->notify);
    }
    if (client->state == IPC_CLIENT_ATTACHED)
        ipc_server_mark_hot(server, client);
}

int ipc_client_adopt(struct ipc_client *client, int socket)
{
    close_socket(client);
    loop_timer_cancel(&client->detach_timer);
    client->socket = socket;
    client->state = IPC_CLIENT_ATTACHED;
    int r = loop_io_init(&client->socket_io, client->server->loop, socket, LOOP_READ, on_socket, client);
    if (r == 0)
        r = loop_io_start(&client->socket_io);
    if (r < 0) {
        loop_io_deinit(&client->socket_io);
        client->socket = -1;
        return r;
    }
    list_unlink(&client->notify);
    list_append(&client->server->notify, &client->notify);
    ipc_server_mark_hot(client->server, client);
    return 0;
}

/* At the end of the hub: the next one finds these slots taken and decides. */
static void forget_request(struct send_request *send, const struct send_outcome *outcome)
{
    (void)outcome;
    release_request((struct ipc_request *)send);
}

void ipc_client_free(struct ipc_client *client)
{
    LIST_FOR_EACH_SAFE (it, next, &client->requests) {
        struct ipc_request *request = LIST_ENTRY(it, struct ipc_request, link);
        request->send.complete = forget_request;
        producer_cancel(&request->send, "the hub is stopping");
    }
    for (unsigned i = 1; i < SHM_REGISTRATIONS; i++)
        drop_producer(client, i, false);
    close_socket(client);
    free_client(client);
}
