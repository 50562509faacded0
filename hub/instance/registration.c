#include "hub/instance/registration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/protocol/codes.h"
#include "hub/protocol/heartbeat_data.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define FAILURES_MAX 2 /* calls without an answer in a row before the connection is given up */
#define RETRY_NS NS_PER_S

const char *registration_step_name(enum registration_step step)
{
    static const char *const names[] = {"IDLE", "HEARTBEAT", "UNREGISTER", "MARKER"};
    return names[step];
}

static bool bit_get(const uint64_t *bits, unsigned i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, unsigned i, bool value)
{
    uint64_t mask = UINT64_C(1) << (i % 64);
    bits[i / 64] = value ? bits[i / 64] | mask : bits[i / 64] & ~mask;
}

bool registration_knows(const struct registration *reg, const struct producer *producer)
{
    return bit_get(reg->announced, producer->index);
}

static bool is_wanted(const struct registration *reg, const struct producer *p)
{
    return p->state != PRODUCER_UNREGISTERING && !reg->retiring && !reg->instance->draining;
}

/* ---- heartbeat ---- */

static void note_heartbeat(struct registration *reg, const struct invoke_result *result)
{
    struct heartbeat_record none = {0}, *h = reg->broker ? &reg->broker->heartbeat : &none;
    bool ok = result->error == 0 && result->response->code == RESPONSE_SUCCESS;
    h->last_20 = (h->last_20 << 1 | ok) & 0xfffff;
    h->last_20_count += h->last_20_count < 20;
    if (ok) {
        h->ok++;
        h->last_ok_ms = event_loop_now_ms(reg->instance->loop);
        h->last_rt_us = result->rt_us;
        h->broker_version = result->response->version;
        return;
    }
    h->failed++;
    if (result->error < 0) {
        text_copy(h->last_error, sizeof(h->last_error), result->reason, strlen(result->reason));
    } else {
        struct span remark = result->response->remark;
        text_copy(h->last_error, sizeof(h->last_error), remark.data ? remark.data : "refused", remark.data ? remark.len : 7);
    }
    LOG_WARN(reg->channel->address, "heartbeat failed (%s)", h->last_error);
}

/* Counts silence. Twice in a row is evidence enough that the connection is dead. True when it was given up. */
static bool note_silence(struct registration *reg, const struct invoke_result *result)
{
    if (result->error == 0) {
        reg->failures = 0;
        return false;
    }
    if (++reg->failures < FAILURES_MAX)
        return false;
    reg->failures = 0;
    channel_fail(reg->channel, ETIMEDOUT, "heartbeats unanswered");
    return true;
}

static void on_heartbeat(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct registration *reg = ctx;
    reg->step = REGISTRATION_IDLE;
    if (result->error == -ECANCELED)
        return;
    note_heartbeat(reg, result);
    mq_client_instance_changed(reg->instance);
    if (channel->state != CHANNEL_CONNECTED || note_silence(reg, result))
        return;
    if (result->error < 0) {
        reg->heartbeat_due = true;
        loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop) + RETRY_NS);
        return;
    }
    registration_step(reg);
}

/* The body, allocated; *groups are those it names. */
static char *encode_heartbeat(struct registration *reg, size_t *len)
{
    const struct producer_table *table = &reg->instance->producers;
    struct span *groups = malloc(PRODUCER_GROUPS_MAX * sizeof(*groups));
    unsigned count = 0;
    char *body = NULL;
    for (unsigned i = 0; groups && i < table->high; i++) {
        const struct producer *p = table->producers[i];
        if (p && is_wanted(reg, p))
            groups[count++] = (struct span){p->group, p->group_len};
    }
    *len = 0;
    struct span client_id = span_of(reg->instance->client_id);
    if (groups && heartbeat_data_encode(client_id, groups, count, NULL, 0, len) == -ENOBUFS)
        body = malloc(*len);
    if (body && heartbeat_data_encode(client_id, groups, count, body, *len, len) < 0) {
        free(body);
        body = NULL;
    }
    free(groups);
    return body;
}

static int send_heartbeat(struct registration *reg)
{
    struct mq_client_instance *in = reg->instance;
    size_t len;
    char *body = encode_heartbeat(reg, &len);
    struct invoke_request request = {
        .code = REQUEST_HEART_BEAT, .body = {body, len}, .timeout_ms = in->config.mq_client_api_timeout_ms, .bound = true};
    int r = body ? remoting_client_invoke(&in->remoting, reg->channel, &request, on_heartbeat, reg) : -ENOMEM;
    free(body);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < in->producers.high; i++)
        if (in->producers.producers[i] && is_wanted(reg, in->producers.producers[i]))
            bit_set(reg->announced, i, true);
    reg->step = REGISTRATION_HEARTBEAT;
    reg->heartbeat_due = false;
    reg->heartbeats++;
    if (reg->broker)
        reg->broker->heartbeat.last_sent_ms = event_loop_now_ms(in->loop);
    return 0;
}

/* ---- unregister ---- */

static void on_unregister(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct registration *reg = ctx;
    bool was_marker = reg->step == REGISTRATION_MARKER;
    reg->step = REGISTRATION_IDLE;
    if (result->error == -ECANCELED || channel->state != CHANNEL_CONNECTED || note_silence(reg, result))
        return;
    if (result->error < 0) { /* it may have been executed or not: say it again */
        loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop) + RETRY_NS);
        return;
    }
    bit_set(reg->announced, reg->step_group, false);
    reg->marker_due = !was_marker;
    reg->heartbeat_due |= was_marker;
    mq_client_instance_forget_producers(reg->instance);
    mq_client_instance_changed(reg->instance);
    registration_step(reg);
}

static int send_unregister(struct registration *reg, const struct producer *producer, enum registration_step step)
{
    struct mq_client_instance *in = reg->instance;
    struct ext_field ext[] = {{SPAN_LITERAL("clientID"), span_of(in->client_id)},
                              {SPAN_LITERAL("producerGroup"), {producer->group, producer->group_len}}};
    struct invoke_request request = {
        .code = REQUEST_UNREGISTER_CLIENT, .ext = ext, .ext_count = 2, .timeout_ms = in->config.mq_client_api_timeout_ms, .bound = true};
    int r = remoting_client_invoke(&in->remoting, reg->channel, &request, on_unregister, reg);
    if (r < 0)
        return r;
    reg->step = step;
    reg->step_group = producer->index;
    reg->unregisters++;
    return 0;
}

static struct producer *next_to_unregister(const struct registration *reg)
{
    const struct producer_table *table = &reg->instance->producers;
    for (unsigned i = 0; i < table->high; i++)
        if (table->producers[i] && bit_get(reg->announced, i) && !is_wanted(reg, table->producers[i]))
            return table->producers[i];
    return NULL;
}

/* ---- what comes next ---- */

static bool wants_marker_dance(const struct registration *reg)
{
    const struct producer *inner = reg->instance->inner_producer;
    return reg->marker_due && inner && is_wanted(reg, inner) && registration_knows(reg, inner);
}

static void finish_retiring(struct registration *reg)
{
    if (reg->channel->pending_count > 0 || reg->channel->waiting_count > 0) {
        loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop) + RETRY_NS / 10);
        return;
    }
    struct mq_client_instance *in = reg->instance;
    struct channel *channel = reg->channel;
    for (unsigned i = 0; i < in->brokers.count; i++)
        if (in->brokers.brokers[i]->master == channel)
            in->brokers.brokers[i]->master = NULL;
    registration_free(reg);
    if (!name_server_owns(&in->name_server, channel))
        remoting_client_drop(&in->remoting, channel);
    mq_client_instance_forget_producers(in);
    mq_client_instance_changed(in);
}

void registration_step(struct registration *reg)
{
    int r = 0;
    struct producer *gone;
    if (reg->step != REGISTRATION_IDLE)
        return;
    if (reg->channel->state != CHANNEL_CONNECTED) {
        if (reg->retiring)
            finish_retiring(reg);
        return;
    }
    if ((gone = next_to_unregister(reg)) != NULL) {
        r = send_unregister(reg, gone, REGISTRATION_UNREGISTER);
    } else if (wants_marker_dance(reg)) {
        reg->marker_due = false;
        r = send_unregister(reg, reg->instance->inner_producer, REGISTRATION_MARKER);
    } else if (reg->heartbeat_due && !reg->retiring && !reg->instance->draining) {
        r = send_heartbeat(reg);
    } else if (reg->retiring) {
        finish_retiring(reg);
        return;
    }
    if (r < 0) {
        LOG_ERROR(reg->channel->address, "cannot announce (%s)", strerror(-r));
        loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop) + RETRY_NS);
    }
}

void registration_heartbeat(struct registration *reg)
{
    reg->heartbeat_due = true;
    if (reg->channel->state != CHANNEL_CONNECTED && !reg->retiring)
        channel_want(reg->channel); /* announces once it is up */
    registration_step(reg);
}

void registration_connected(struct registration *reg)
{
    memset(reg->announced, 0, sizeof(reg->announced));
    reg->step = REGISTRATION_IDLE;
    reg->failures = 0;
    reg->marker_due = false;
    registration_heartbeat(reg);
}

void registration_lost(struct registration *reg)
{
    memset(reg->announced, 0, sizeof(reg->announced));
    reg->step = REGISTRATION_IDLE;
    reg->marker_due = reg->heartbeat_due = false;
    loop_timer_cancel(&reg->retry_timer);
    mq_client_instance_forget_producers(reg->instance);
    if (reg->retiring)
        loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop));
}

void registration_retire(struct registration *reg)
{
    reg->retiring = true;
    reg->broker = NULL;
    reg->channel->keep_connected = false;
    /* From the timer: whoever retires it is walking the list it leaves. */
    loop_timer_schedule(&reg->retry_timer, event_loop_now_ns(reg->instance->loop));
}

/* ---- life ---- */

static void on_retry(void *ctx)
{
    registration_step(ctx);
}

int registration_attach(struct mq_client_instance *instance, struct broker *broker, struct channel *channel)
{
    struct registration *reg = channel->session;
    bool is_news = !reg || reg->retiring;
    if (!reg) {
        reg = calloc(1, sizeof(*reg));
        if (!reg)
            return -ENOMEM;
        reg->instance = instance;
        reg->channel = channel;
        int r = loop_timer_init(&reg->retry_timer, instance->loop, on_retry, reg);
        if (r < 0) {
            free(reg);
            return r;
        }
        list_append(&instance->registrations, &reg->link);
        channel->session = reg;
    }
    reg->retiring = false;
    reg->broker = broker;
    channel->keep_connected = true;
    if (channel->state != CHANNEL_CONNECTED)
        channel_want(channel);
    else if (is_news) /* a new one too: RocketMQ 5's proxy is nameserver and broker on one connection */
        registration_heartbeat(reg);
    return 0;
}

void registration_free(struct registration *reg)
{
    list_unlink(&reg->link);
    loop_timer_deinit(&reg->retry_timer);
    reg->channel->session = NULL;
    reg->channel->keep_connected = false;
    free(reg);
}
