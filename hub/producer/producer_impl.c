/*
 * A request moves: producer_send() -> (parked at its topic until there is a route)
 * -> a queue and its broker's channel -> write_request() when the channel can take
 * it -> reply, deadline or loss -> finish(). It is taken back to the first step
 * when it waited for a route; in every other case the way is one way, because this
 * version never sends twice.
 */
#include "hub/producer/producer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/instance/registration.h"
#include "hub/producer/send_frame.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"

#define REASON_MAX 640

static struct send_request *request_of(struct response_future *future)
{
    return LIST_ENTRY(future, struct send_request, future);
}

static struct event_loop *loop_of(const struct send_request *rq)
{
    return rq->producer->instance->loop;
}

/* ---- outcomes ---- */

static void count(struct send_request *rq, uint8_t outcome)
{
    struct producer *p = rq->producer;
    struct broker *b = rq->broker;
    p->stored += outcome == SEND_STORED;
    p->not_stored += outcome == SEND_NOT_STORED;
    p->unknown += outcome == SEND_UNKNOWN;
    if (!b)
        return;
    b->stored += outcome == SEND_STORED;
    b->not_stored += outcome == SEND_NOT_STORED;
    b->unknown += outcome == SEND_UNKNOWN;
}

/* Fills in what every outcome has, applies the rule of tainted requests, hands it over. */
static void finish(struct send_request *rq, struct send_outcome *o)
{
    uint64_t now = event_loop_now_ns(loop_of(rq));
    uint64_t written = rq->attempts > 0 ? rq->future.written_ns : now;
    o->attempts = rq->attempts;
    o->broker_name = rq->broker ? rq->broker->name : NULL;
    o->broker_ix = rq->broker ? rq->broker->index : UINT16_MAX;
    o->queue_us = us_between(rq->taken_ns, written);
    o->connect_us = rq->connect_from_ns ? us_between(rq->connect_from_ns, written) : 0;
    o->wire_us = rq->attempts > 0 ? us_between(written, now) : 0;
    if (rq->tainted) {
        if (o->outcome == SEND_NOT_STORED)
            o->outcome = SEND_UNKNOWN;
        if (o->outcome == SEND_STORED)
            o->flags |= SEND_FLAG_MAYBE_DUPLICATED;
    }
    count(rq, o->outcome);
    producer_request_end(rq->producer);
    rq->complete(rq, o);
}

static void finish_with(struct send_request *rq, uint8_t outcome, int32_t code, const char *reason)
{
    struct send_outcome o = {.outcome = outcome, .code = code, .queue_id = rq->chosen_queue_id, .queue_offset = -1, .reason = reason};
    finish(rq, &o);
}

/* '0'..'9', 'A'..'F', 'a'..'f'; letters have bit 6 set. Anything else gives some digit. */
static uint8_t hex_digit(char c)
{
    return (uint8_t)(((c & 15) + (c >> 6 & 1) * 9) & 15);
}

/* "7F000001..." -> bytes; an id of another length than 16 or 28 bytes is left out. */
static void set_offset_msg_id(struct send_outcome *o, struct span hex)
{
    if (hex.len != 32 && hex.len != 2 * OFFSET_MSG_ID_BYTES_MAX)
        return;
    for (size_t i = 0; i < hex.len; i += 2)
        o->offset_msg_id[i / 2] = (uint8_t)(hex_digit(hex.data[i]) << 4 | hex_digit(hex.data[i + 1]));
    o->offset_msg_id_len = (uint8_t)(hex.len / 2);
}

static uint8_t send_status_of(int32_t code)
{
    switch (code) {
    case RESPONSE_FLUSH_DISK_TIMEOUT:
        return SEND_STATUS_FLUSH_DISK_TIMEOUT;
    case RESPONSE_FLUSH_SLAVE_TIMEOUT:
        return SEND_STATUS_FLUSH_SLAVE_TIMEOUT;
    case RESPONSE_SLAVE_NOT_AVAILABLE:
        return SEND_STATUS_SLAVE_NOT_AVAILABLE;
    default:
        return SEND_STATUS_OK;
    }
}

static void finish_replied(struct send_request *rq, const struct send_response *response)
{
    char reason[REASON_MAX];
    struct send_outcome o = {.code = response->code, .queue_id = rq->chosen_queue_id, .queue_offset = -1};
    if (response_code_is_stored(response->code)) {
        o.outcome = SEND_STORED;
        o.send_status = send_status_of(response->code);
        o.queue_offset = response->queue_offset;
        if (response->queue_id >= 0)
            o.queue_id = response->queue_id;
        set_offset_msg_id(&o, response->msg_id);
    } else {
        struct span remark = span_first_line(response->remark);
        snprintf(reason, sizeof(reason), "broker %s answered %d: %.*s", rq->broker->name, response->code,
                 (int)(remark.len < 500 ? remark.len : 500), remark.data ? remark.data : "");
        o.outcome = SEND_NOT_STORED;
        o.reason = reason;
    }
    finish(rq, &o);
}

/* Says where a passed deadline went. */
static void finish_expired(struct send_request *rq, bool maybe_written)
{
    char reason[REASON_MAX];
    const struct topic_entry *topic = rq->topic;
    const struct channel *ch = rq->future.channel;
    if (rq->attempts > 0) {
        snprintf(reason, sizeof(reason), "broker %s (%s) did not answer before the deadline%s", rq->broker->name, ch->address,
                 maybe_written ? "" : "; it took no bytes either");
    } else if (rq->broker) {
        snprintf(reason, sizeof(reason), "the deadline passed while waiting for broker %s (%s, %s)%s%s", rq->broker->name,
                 ch ? ch->address : "no address", ch ? channel_state_name(ch->state) : "offline", ch && ch->last_error[0] ? ": " : "",
                 ch ? ch->last_error : "");
    } else {
        const struct name_server *ns = topic->table->name_server;
        const char *asked = topic->fetching ? name_server_chosen(ns) : NULL;
        const char *last = topic->last_error[0] ? topic->last_error : ns->last_error;
        if (asked && !last[0])
            snprintf(reason, sizeof(reason), "the deadline passed while waiting for the route of topic %s: nameserver %s has not answered",
                     topic->name, asked);
        else
            snprintf(reason, sizeof(reason), "the deadline passed while waiting for the route of topic %s%s%s", topic->name,
                     last[0] ? ": " : "", last);
    }
    finish_with(rq, maybe_written ? SEND_UNKNOWN : SEND_NOT_STORED, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, reason);
}

static void finish_connection(struct send_request *rq, const struct future_result *result)
{
    char reason[REASON_MAX];
    const struct channel *ch = rq->future.channel;
    bool never = result->end == FUTURE_CONNECT_FAILED;
    snprintf(reason, sizeof(reason), "%s broker %s (%s): %s", never ? "cannot connect to" : "lost the connection to", rq->broker->name,
             ch->address, ch->last_error);
    finish_with(rq, result->maybe_written ? SEND_UNKNOWN : SEND_NOT_STORED, CLIENT_ERROR_CONNECT_BROKER, reason);
}

static void on_done(struct response_future *future, const struct future_result *result)
{
    struct send_request *rq = request_of(future);
    if (rq->parked) {
        rq->parked = false;
        topic_entry_forget_waiting(rq->topic);
    }
    switch (result->end) {
    case FUTURE_REPLIED:
        finish_replied(rq, result->response);
        break;
    case FUTURE_WRITTEN:
        rq->producer->oneway++;
        finish_with(rq, SEND_UNKNOWN, 0, "oneway: written, no answer is asked for");
        break;
    case FUTURE_EXPIRED:
        finish_expired(rq, result->maybe_written);
        break;
    case FUTURE_CONNECT_FAILED:
    case FUTURE_CHANNEL_LOST:
        finish_connection(rq, result);
        break;
    case FUTURE_CANCELLED:
        finish_with(rq, result->maybe_written ? SEND_UNKNOWN : SEND_NOT_STORED, -1,
                    rq->cancel_reason ? rq->cancel_reason : "the hub stops");
        break;
    }
}

/* ---- writing ---- */

static void refuse_encoding(struct send_request *rq, int error)
{
    char reason[REASON_MAX];
    const struct rpc_hook *hook = rq->producer->instance->remoting.hook;
    if (error == -EACCES && hook) {
        snprintf(reason, sizeof(reason), "not sent, because it could not be signed: %s", hook->reason);
        finish_with(rq, SEND_NOT_STORED, -1, reason);
        return;
    }
    finish_with(rq, SEND_NOT_STORED, RESPONSE_MESSAGE_ILLEGAL,
                error == -EINVAL ? "the message's properties are malformed" : "the message does not fit a frame of 16 MiB");
}

static int write_request(struct response_future *future, struct channel *channel)
{
    struct send_request *rq = request_of(future);
    struct remoting_client *client = channel->client;
    bool oneway = rq->mode == SEND_ONEWAY;
    size_t frame_len, bound = send_frame_bound(rq);
    void *at = channel_reserve(channel, bound);
    if (!at)
        return -EAGAIN;
    if (oneway ? remoting_client_take_oneway(client, future) < 0 : response_table_add(&client->responses, future) < 0)
        return -EAGAIN;
    int r = send_frame_encode(rq, future->opaque, rq->chosen_queue_id, event_loop_now_ms(client->loop), at, bound, &frame_len);
    if (r < 0) {
        if (oneway)
            response_table_release_oneway(&client->responses);
        else
            response_table_remove(&client->responses, future);
        remoting_client_unpark(future);
        refuse_encoding(rq, r);
        return r;
    }
    rq->attempts++;
    channel_commit_future(channel, future, frame_len, oneway);
    return 0;
}

/* ---- route and queue ---- */

static const struct message_queue *select_queue(struct send_request *rq)
{
    struct topic_publish_info *info = &rq->topic->info;
    if (rq->queue_id < 0)
        return topic_publish_info_select(info);
    for (uint32_t i = 0; i < info->count; i++) {
        const struct message_queue *queue = topic_publish_info_select(info);
        if (queue->queue_id == rq->queue_id)
            return queue;
    }
    return NULL;
}

static void send_on(struct send_request *rq, const struct message_queue *queue)
{
    struct channel *channel = queue->broker->master;
    rq->broker = queue->broker;
    rq->chosen_queue_id = queue->queue_id;
    if (!channel) {
        finish_with(rq, SEND_NOT_STORED, CLIENT_ERROR_BROKER_NOT_EXIST, "the queue's broker has no master address");
        return;
    }
    queue->broker->sends++;
    if (channel->state != CHANNEL_CONNECTED)
        rq->connect_from_ns = event_loop_now_ns(loop_of(rq));
    registration_before_send(channel, rq->producer);
    remoting_client_submit(channel->client, channel, &rq->future, rq->deadline_ns);
}

static void refuse_without_queue(struct send_request *rq, int error)
{
    char reason[REASON_MAX];
    const struct topic_entry *topic = rq->topic;
    if (error == -ENOENT)
        snprintf(reason, sizeof(reason), "no route for topic %s: create it, or let brokers do so (autoCreateTopicEnable); %s", topic->name,
                 topic->last_error);
    else if (error < 0)
        snprintf(reason, sizeof(reason), "no route for topic %s: %s", topic->name, topic->last_error);
    else if (rq->queue_id >= 0)
        snprintf(reason, sizeof(reason), "topic %s has no writable queue %d", topic->name, rq->queue_id);
    else
        snprintf(reason, sizeof(reason), "topic %s has no writable queue", topic->name);
    finish_with(rq, SEND_NOT_STORED, CLIENT_ERROR_NOT_FOUND_TOPIC, reason);
}

/* The route that was waited for has come, or will not. */
static void on_resume(struct response_future *future, int error)
{
    struct send_request *rq = request_of(future);
    const struct message_queue *queue = error == 0 ? select_queue(rq) : NULL;
    rq->parked = false;
    if (queue)
        send_on(rq, queue);
    else
        refuse_without_queue(rq, error);
}

static const struct future_ops send_ops = {.write = write_request, .done = on_done, .resume = on_resume, .kind = "send"};

const struct send_request *send_request_of(const struct response_future *future)
{
    return future->ops == &send_ops ? LIST_ENTRY(future, const struct send_request, future) : NULL;
}

void producer_send(struct send_request *rq)
{
    uint64_t now = event_loop_now_ns(loop_of(rq));
    rq->future.ops = &send_ops;
    rq->future.code = REQUEST_SEND_MESSAGE_V2;
    rq->future.begin_ns = rq->taken_ns;
    rq->future.channel = NULL;
    rq->broker = NULL;
    rq->chosen_queue_id = -1;
    rq->connect_from_ns = 0;
    rq->attempts = 0;
    rq->parked = false;
    rq->cancel_reason = NULL;
    rq->producer->sends++;
    producer_request_begin(rq->producer);
    rq->topic->sends++;
    rq->topic->last_used_ns = now;
    if (now >= rq->deadline_ns) {
        finish_with(rq, SEND_NOT_STORED, CLIENT_ERROR_ACCESS_BROKER_TIMEOUT, "the deadline had passed before the hub took the message");
        return;
    }
    const struct message_queue *queue = select_queue(rq);
    if (queue) {
        send_on(rq, queue);
        return;
    }
    if (rq->topic->info.count > 0) {
        refuse_without_queue(rq, 0);
        return;
    }
    rq->parked = true;
    topic_entry_park(rq->topic, &rq->future, rq->deadline_ns, &rq->settings->create);
}

void producer_cancel(struct send_request *rq, const char *reason)
{
    rq->cancel_reason = reason;
    remoting_client_finish(&rq->producer->instance->remoting, &rq->future, FUTURE_CANCELLED, -ECANCELED);
}

/* ---- groups ---- */

int producer_acquire(struct mq_client_instance *instance, struct span group, uid_t uid, struct producer **out, const char **reason)
{
    const char *ignored;
    return mq_client_instance_register_producer(instance, group, uid, out, reason ? reason : &ignored);
}

void producer_release(struct producer *producer, bool final)
{
    mq_client_instance_unregister_producer(producer, final);
}
