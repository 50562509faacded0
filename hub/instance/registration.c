#include "hub/instance/registration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "hub/protocol/heartbeat_data.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define FAILURES_MAX 2 /* calls without an answer in a row before the connection is given up */
#define RETRY_NS NS_PER_S
#define REFUSALS_MAX 3        /* UNREGISTERs refused in a row before a connection that is left does without them */
#define REFUSALS_SHIFT_MAX 5u /* each refusal in a row doubles the pause: up to 32 s */
#define BUSY_CHECK_NS (100 * NS_PER_MS)
#define NO_HEARTBEAT UINT64_MAX
#define LATE_OBJECT_MAX sizeof(((struct problem *)0)->object)

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

static uint64_t now_of(const struct registration *reg)
{
    return event_loop_now_ns(reg->instance->loop);
}

static void step_at(struct registration *reg, uint64_t at_ns)
{
    if (!loop_timer_is_scheduled(&reg->step_timer) || at_ns < reg->step_timer.at_ns)
        loop_timer_schedule(&reg->step_timer, at_ns);
}

static bool is_left(const struct registration *reg)
{
    return reg->retiring || reg->instance->draining;
}

static bool is_wanted(const struct registration *reg, const struct producer *p)
{
    return p->state != PRODUCER_UNREGISTERING && !is_left(reg);
}

/* A group is not unregistered while one of its requests has no outcome. A connection that is left takes no new ones, so
 * there its own requests count; a client that ends waits for them only so long. */
static bool is_busy(const struct registration *reg, const struct producer *p)
{
    if (p->state == PRODUCER_UNREGISTERING)
        return p->outstanding > 0;
    if (reg->instance->draining && now_of(reg) >= reg->instance->drain_patience_ns)
        return false;
    return reg->channel->pending_count > 0 || reg->channel->waiting_count > 0;
}

/* To the end, too, after one without an answer: the broker may execute it late, so an UNREGISTER waits for a later one's answer. */
static bool heartbeats_go_out(const struct registration *reg)
{
    return !is_left(reg) || reg->heartbeat_unanswered;
}

/* ---- heartbeat ---- */

/* Two clients of one hub may talk to one broker. */
static const char *late_object(const struct registration *reg, char object[LATE_OBJECT_MAX])
{
    snprintf(object, LATE_OBJECT_MAX, "%.127s, client %.100s", reg->channel->address, reg->instance->client_id);
    return object;
}

static void clear_lateness(const struct registration *reg)
{
    char object[LATE_OBJECT_MAX];
    problem_clear(PROBLEM_HEARTBEAT_LATE, late_object(reg, object));
}

static void note_heartbeat(struct registration *reg, const struct invoke_result *result)
{
    struct heartbeat_record none = {0}, *h = reg->broker ? &reg->broker->heartbeat : &none;
    bool ok = result->error == 0 && result->response->code == RESPONSE_SUCCESS;
    h->last_20 = (h->last_20 << 1 | ok) & 0xfffff;
    h->last_20_count += h->last_20_count < 20;
    if (ok) {
        h->ok++;
        reg->heartbeat_ok_ns = now_of(reg);
        clear_lateness(reg);
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

/* Counts silence. Twice in a row is evidence enough that the connection is dead, and once if it was suspected before. True when
 * it was given up. */
static bool note_silence(struct registration *reg, const struct invoke_result *result)
{
    if (result->error == 0) {
        reg->failures = 0;
        return false;
    }
    if (++reg->failures < FAILURES_MAX && !remoting_client_is_suspect(reg->channel))
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
    reg->heartbeat_unanswered = result->error < 0;
    note_heartbeat(reg, result);
    mq_client_instance_changed(reg->instance);
    if (channel->state != CHANNEL_CONNECTED || note_silence(reg, result))
        return;
    if (result->error < 0) {
        reg->heartbeat_at_ns = now_of(reg) + RETRY_NS;
        step_at(reg, reg->heartbeat_at_ns);
        return;
    }
    registration_step(reg);
}

/* Every group that is used, and every one that this connection knows and has not been told to forget. */
static bool is_announced(const struct registration *reg, const struct producer *p)
{
    return p && (is_wanted(reg, p) || registration_knows(reg, p));
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
        if (is_announced(reg, p))
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

static void note_sent(struct registration *reg)
{
    uint64_t now = now_of(reg);
    uint64_t late_ms = now > reg->heartbeat_at_ns ? (now - reg->heartbeat_at_ns) / NS_PER_MS : 0;
    reg->heartbeat_at_ns = NO_HEARTBEAT;
    reg->heartbeat_sent_ns = now;
    reg->heartbeats++;
    if (!reg->broker)
        return;
    struct heartbeat_record *h = &reg->broker->heartbeat;
    h->last_sent_ms = event_loop_now_ms(reg->instance->loop);
    h->last_late_ms = late_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)late_ms;
    if (h->last_late_ms > h->worst_late_ms)
        h->worst_late_ms = h->last_late_ms;
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
        if (is_announced(reg, in->producers.producers[i]))
            bit_set(reg->announced, i, true);
    reg->step = REGISTRATION_HEARTBEAT;
    note_sent(reg);
    return 0;
}

/* ---- unregister ---- */

/* The broker has forgotten nothing. It is asked again after a pause, in which heartbeats go on naming the group. True when a
 * connection that is left has been refused often enough. */
static bool note_refusal(struct registration *reg, const struct send_response *response)
{
    struct span remark = response->remark;
    reg->refusals += reg->refusals < REFUSALS_MAX + REFUSALS_SHIFT_MAX;
    LOG_WARN(reg->channel->address, "refuses to unregister %s (code %d, %.*s)", reg->instance->producers.producers[reg->step_group]->group,
             response->code, (int)remark.len, remark.data ? remark.data : "");
    if (is_left(reg) && reg->refusals >= REFUSALS_MAX)
        return true;
    unsigned shift = reg->refusals - 1u < REFUSALS_SHIFT_MAX ? reg->refusals - 1u : REFUSALS_SHIFT_MAX;
    uint64_t again_ns = now_of(reg) + (RETRY_NS << shift);
    reg->refused_group = reg->step_group;
    reg->unregister_at_ns = again_ns;
    if (!loop_timer_is_scheduled(&reg->repair_timer))
        loop_timer_schedule(&reg->repair_timer, again_ns);
    return false;
}

static void on_unregister(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct registration *reg = ctx;
    bool was_marker = reg->step == REGISTRATION_MARKER;
    reg->step = REGISTRATION_IDLE;
    if (result->error == -ECANCELED || channel->state != CHANNEL_CONNECTED || note_silence(reg, result))
        return;
    if (result->error < 0) { /* it may have been executed or not: say it again, or repair if the group came back meanwhile */
        reg->marker_due = true;
        step_at(reg, now_of(reg) + RETRY_NS);
        return;
    }
    if (result->response->code != RESPONSE_SUCCESS) {
        if (!note_refusal(reg, result->response)) {
            registration_step(reg);
            return;
        }
    } else if (!was_marker) {
        reg->refusals = 0;
    }
    bit_set(reg->announced, reg->step_group, false);
    reg->marker_due = !was_marker;
    if (was_marker) {
        reg->repairs++;
        reg->heartbeat_at_ns = now_of(reg);
    }
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

/* From the last to the first, which are the client's own: 4.9.3's inner producer goes last as well. After a refusal it is the
 * others' turn first. *waits: there is one, but it must wait. */
static struct producer *next_to_unregister(const struct registration *reg, bool *waits)
{
    const struct producer_table *table = &reg->instance->producers;
    unsigned after = reg->refusals > 0 && reg->refused_group < table->high ? reg->refused_group : table->high;
    bool may_ask = !reg->heartbeat_unanswered && now_of(reg) >= reg->unregister_at_ns;
    *waits = false;
    for (unsigned n = 1; n <= table->high; n++) {
        unsigned i = (after + table->high - n) % table->high;
        struct producer *p = table->producers[i];
        if (!p || !bit_get(reg->announced, i) || is_wanted(reg, p))
            continue;
        if (may_ask && !is_busy(reg, p))
            return p;
        *waits = true;
    }
    return NULL;
}

/* ---- what comes next ---- */

static bool wants_repair(const struct registration *reg)
{
    const struct producer *marker = reg->instance->marker;
    return reg->marker_due && !reg->heartbeat_unanswered && marker && is_wanted(reg, marker) && registration_knows(reg, marker);
}

static void finish_retiring(struct registration *reg)
{
    if (reg->channel->pending_count > 0 || reg->channel->waiting_count > 0) {
        step_at(reg, now_of(reg) + BUSY_CHECK_NS);
        return;
    }
    struct mq_client_instance *in = reg->instance;
    struct channel *channel = reg->channel;
    if (channel->state != CHANNEL_CONNECTED && reg->connects > 0)
        in->has_predecessors = true; /* was lost, and nothing could be unregistered */
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
    bool waits;
    struct producer *gone;
    if (reg->step != REGISTRATION_IDLE)
        return;
    if (reg->channel->state != CHANNEL_CONNECTED) {
        if (reg->retiring)
            finish_retiring(reg);
        return;
    }
    if (reg->unregister_at_ns > now_of(reg))
        step_at(reg, reg->unregister_at_ns);
    if ((gone = next_to_unregister(reg, &waits)) != NULL) {
        r = send_unregister(reg, gone, REGISTRATION_UNREGISTER);
    } else if (wants_repair(reg)) {
        reg->marker_due = false;
        r = send_unregister(reg, reg->instance->marker, REGISTRATION_MARKER);
    } else if (heartbeats_go_out(reg) && reg->heartbeat_at_ns <= now_of(reg)) {
        r = send_heartbeat(reg);
    } else if (heartbeats_go_out(reg) && reg->heartbeat_at_ns != NO_HEARTBEAT) {
        step_at(reg, reg->heartbeat_at_ns);
    } else if (reg->retiring && waits) {
        step_at(reg, now_of(reg) + BUSY_CHECK_NS);
    } else if (reg->retiring) {
        finish_retiring(reg);
        return;
    }
    if (r < 0) {
        LOG_ERROR(reg->channel->address, "cannot announce (%s)", strerror(-r));
        step_at(reg, now_of(reg) + RETRY_NS);
    }
}

static void heartbeat_at(struct registration *reg, uint64_t at_ns)
{
    if (at_ns < reg->heartbeat_at_ns)
        reg->heartbeat_at_ns = at_ns;
    registration_step(reg);
}

static void note_lateness(const struct registration *reg)
{
    char object[LATE_OBJECT_MAX];
    uint64_t silent_ns = now_of(reg) - reg->heartbeat_ok_ns;
    if (reg->broker && silent_ns > 2 * reg->instance->config.heartbeat_broker_interval_ms * NS_PER_MS)
        problem_raise(PROBLEM_HEARTBEAT_LATE, late_object(reg, object), TABLE_SEVERITY_WARN,
                      "broker %s has confirmed no heartbeat of %s for %" PRIu64 " s; it forgets a client after 120 s", reg->broker->name,
                      reg->instance->client_id, silent_ns / NS_PER_S);
}

void registration_heartbeat(struct registration *reg)
{
    note_lateness(reg);
    if (reg->broker && reg->step == REGISTRATION_HEARTBEAT)
        reg->broker->heartbeat.coalesced++;
    if (reg->channel->state != CHANNEL_CONNECTED && !reg->retiring)
        channel_want(reg->channel); /* announces once it is up */
    else
        heartbeat_at(reg, now_of(reg));
}

void registration_announce(struct registration *reg)
{
    if (reg->channel->state != CHANNEL_CONNECTED)
        return; /* announces everything once it is up */
    uint64_t now = now_of(reg), soon = reg->heartbeat_sent_ns + HEARTBEAT_COALESCE_NS;
    heartbeat_at(reg, reg->heartbeat_sent_ns == 0 || soon < now ? now : soon);
}

void registration_announce_now(struct registration *reg)
{
    if (reg->channel->state == CHANNEL_CONNECTED && reg->step == REGISTRATION_IDLE && heartbeats_go_out(reg))
        heartbeat_at(reg, now_of(reg));
}

void registration_step_soon(struct registration *reg)
{
    step_at(reg, now_of(reg));
}

/* A new connection knows nothing. */
static void forget_connection(struct registration *reg)
{
    memset(reg->announced, 0, sizeof(reg->announced));
    reg->step = REGISTRATION_IDLE;
    reg->failures = 0;
    reg->refusals = 0;
    reg->unregister_at_ns = 0;
    reg->marker_due = reg->duplicate_seen = reg->heartbeat_unanswered = false;
    reg->heartbeat_at_ns = NO_HEARTBEAT;
    reg->heartbeat_sent_ns = 0;
    loop_timer_cancel(&reg->step_timer);
    loop_timer_cancel(&reg->repair_timer);
}

bool registration_has_predecessors(const struct registration *reg)
{
    return reg->connects > 1 || reg->instance->has_predecessors;
}

void registration_connected(struct registration *reg)
{
    forget_connection(reg);
    reg->connects++;
    if (registration_has_predecessors(reg))
        loop_timer_schedule(&reg->repair_timer, now_of(reg) + REPAIR_AFTER_RECONNECT_NS);
    heartbeat_at(reg, now_of(reg));
}

void registration_lost(struct registration *reg)
{
    forget_connection(reg);
    mq_client_instance_forget_producers(reg->instance);
    if (reg->retiring)
        registration_step_soon(reg);
}

void registration_retire(struct registration *reg)
{
    reg->retiring = true;
    reg->broker = NULL;
    reg->channel->keep_connected = false;
    clear_lateness(reg);
    /* From the timer: whoever retires it is walking the list it leaves. */
    registration_step_soon(reg);
}

/* ---- life ---- */

static void on_step_timer(void *ctx)
{
    registration_step(ctx);
}

static void on_repair_timer(void *ctx)
{
    struct registration *reg = ctx;
    reg->marker_due = true;
    registration_step(reg);
}

static int create(struct mq_client_instance *instance, struct channel *channel, struct registration **out)
{
    struct registration *reg = calloc(1, sizeof(*reg));
    if (!reg)
        return -ENOMEM;
    reg->instance = instance;
    reg->channel = channel;
    reg->heartbeat_at_ns = NO_HEARTBEAT;
    reg->heartbeat_ok_ns = event_loop_now_ns(instance->loop);
    int r = loop_timer_init(&reg->step_timer, instance->loop, on_step_timer, reg);
    if (r == 0)
        r = loop_timer_init(&reg->repair_timer, instance->loop, on_repair_timer, reg);
    if (r < 0) {
        loop_timer_deinit(&reg->step_timer);
        free(reg);
        return r;
    }
    list_append(&instance->registrations, &reg->link);
    channel->session = reg;
    *out = reg;
    return 0;
}

int registration_attach(struct mq_client_instance *instance, struct broker *broker, struct channel *channel)
{
    struct registration *reg = channel->session;
    bool is_news = !reg || reg->retiring;
    int r = reg ? 0 : create(instance, channel, &reg);
    if (r < 0)
        return r;
    reg->retiring = false;
    reg->broker = broker;
    channel->keep_connected = true;
    if (channel->state != CHANNEL_CONNECTED)
        channel_want(channel);
    else if (is_news) /* a new one too: RocketMQ 5's proxy is nameserver and broker on one connection */
        heartbeat_at(reg, now_of(reg));
    return 0;
}

void registration_free(struct registration *reg)
{
    clear_lateness(reg);
    list_unlink(&reg->link);
    loop_timer_deinit(&reg->step_timer);
    loop_timer_deinit(&reg->repair_timer);
    reg->channel->session = NULL;
    reg->channel->keep_connected = false;
    free(reg);
}
