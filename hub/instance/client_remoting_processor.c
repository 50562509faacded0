/*
 * The allow list is the table below: what is not in it is refused. A handler gets a
 * request that was within its limits and decodes all of it before it decides; without
 * consumers and transactions in this client, what it decides is an answer or nothing.
 */
#include "hub/instance/client_remoting_processor.h"

#include <errno.h>
#include <stdio.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/protocol/broker_request.h"
#include "hub/protocol/codes.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define NO_BODY_MAX 4096u                 /* where there should be none */
#define MESSAGE_MAX ((4u << 20) + 65536u) /* one stored record */
#define OFFSETS_MAX (8u << 20)            /* BROKER_REQUEST_MAX_OFFSETS entries */
#define REMARK_MAX 400

struct answer {
    bool none; /* 4.9.3 sends nothing either */
    int32_t code;
    char remark[REMARK_MAX];
    struct span body;
};

/* ---- what to do about each; 0, or -EPROTO for a request that cannot be read ---- */

/* The producer of the group would be asked for the state of its transaction. There are none; the broker asks again, then rolls back. */
static int check_transaction_state(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct check_transaction_state_request request;
    int r = check_transaction_state_decode(&request, command);
    if (r == 0 && !producer_table_find(&in->producers, request.producer_group.data, request.producer_group.len))
        LOG_WARN(in->client_id, "a broker asks for a transaction of group %.*s, which is not here", (int)request.producer_group.len,
                 request.producer_group.data ? request.producer_group.data : "");
    answer->none = true;
    return r;
}

/* A hint for the rebalance of consumers. */
static int notify_consumer_ids_changed(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct notify_consumer_ids_changed_request request;
    (void)in;
    answer->none = true;
    return notify_consumer_ids_changed_decode(&request, command);
}

static int reset_offset(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct reset_offset_request request;
    int r = reset_offset_decode(&request, command);
    if (r == 0)
        LOG_INFO(in->client_id, "a broker resets offsets of group %.*s, which has no consumer here", (int)request.group.len,
                 request.group.data);
    answer->none = true;
    return r;
}

/* 4.9.3 answers with empty tables for a group that it does not have. */
static int get_consumer_status(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct get_consumer_status_request request;
    (void)in;
    answer->body = SPAN_LITERAL("{\"consumerTable\":{},\"messageQueueTable\":{}}");
    return get_consumer_status_decode(&request, command);
}

static void say_not_here(struct answer *answer, struct span group)
{
    answer->code = RESPONSE_SYSTEM_ERROR;
    snprintf(answer->remark, sizeof(answer->remark), "consumer group <%.*s> is not in this client", (int)group.len, group.data);
}

static int get_consumer_running_info(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct get_consumer_running_info_request request;
    int r = get_consumer_running_info_decode(&request, command);
    (void)in;
    if (r == 0)
        say_not_here(answer, request.consumer_group);
    return r;
}

static int consume_message_directly(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct consume_message_directly_request request;
    int r = consume_message_directly_decode(&request, command);
    (void)in;
    if (r == 0)
        say_not_here(answer, request.consumer_group);
    return r;
}

/* A reply that nobody awaits (any more) is logged and acknowledged by 4.9.3: the broker could do nothing else with it. */
static int push_reply_message(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer)
{
    struct push_reply_message_request request;
    int r = push_reply_message_decode(&request, command);
    (void)answer;
    if (r == 0)
        LOG_WARN(in->client_id, "a reply to correlation id %.*s came, and no request awaits it", (int)request.correlation_id.len,
                 request.correlation_id.data ? request.correlation_id.data : "");
    return r;
}

/* ---- the table ---- */

static const struct {
    int32_t code;
    const char *name;
    uint32_t body_max, per_second;
    int (*handle)(struct mq_client_instance *in, const struct remoting_command *command, struct answer *answer);
} rows[PROCESSOR_ROWS] = {
    [PROCESSOR_CHECK_TRANSACTION_STATE] = {REQUEST_CHECK_TRANSACTION_STATE, "check transaction state", MESSAGE_MAX, 1000,
                                           check_transaction_state},
    [PROCESSOR_NOTIFY_CONSUMER_IDS_CHANGED] = {REQUEST_NOTIFY_CONSUMER_IDS_CHANGED, "notify consumer ids changed", NO_BODY_MAX, 1000,
                                               notify_consumer_ids_changed},
    [PROCESSOR_RESET_CONSUMER_CLIENT_OFFSET] = {REQUEST_RESET_CONSUMER_CLIENT_OFFSET, "reset consumer client offset", OFFSETS_MAX, 10,
                                                reset_offset},
    [PROCESSOR_GET_CONSUMER_STATUS_FROM_CLIENT] = {REQUEST_GET_CONSUMER_STATUS_FROM_CLIENT, "get consumer status from client", NO_BODY_MAX,
                                                   100, get_consumer_status},
    [PROCESSOR_GET_CONSUMER_RUNNING_INFO] = {REQUEST_GET_CONSUMER_RUNNING_INFO, "get consumer running info", NO_BODY_MAX, 100,
                                             get_consumer_running_info},
    [PROCESSOR_CONSUME_MESSAGE_DIRECTLY] = {REQUEST_CONSUME_MESSAGE_DIRECTLY, "consume message directly", MESSAGE_MAX, 100,
                                            consume_message_directly},
    [PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT] = {REQUEST_PUSH_REPLY_MESSAGE_TO_CLIENT, "push reply message to client", MESSAGE_MAX, 10000,
                                                push_reply_message},
    [PROCESSOR_OTHERS] = {-1, "others", UINT32_MAX, 10, NULL},
};

int32_t client_remoting_processor_code(enum processor_row row)
{
    return rows[row].code;
}

const char *client_remoting_processor_name(enum processor_row row)
{
    return rows[row].name;
}

static enum processor_row row_of(int32_t code)
{
    unsigned row = 0;
    while (row < PROCESSOR_OTHERS && rows[row].code != code)
        row++;
    return (enum processor_row)row;
}

/* ---- limits ---- */

static struct processor_budget *budget_of(struct client_remoting_processor *p, uint32_t channel_id, uint64_t second)
{
    struct processor_budget *oldest = &p->budgets[0];
    for (unsigned i = 0; i < PROCESSOR_CONNECTIONS; i++) {
        struct processor_budget *b = &p->budgets[i];
        if (b->channel_id == channel_id) {
            if (b->second != second)
                *b = (struct processor_budget){.channel_id = channel_id, .second = second};
            return b;
        }
        if (b->channel_id == 0 || b->second < oldest->second)
            oldest = b;
        if (b->channel_id == 0)
            break;
    }
    *oldest = (struct processor_budget){.channel_id = channel_id, .second = second};
    return oldest;
}

static bool is_within_rate(struct mq_client_instance *in, const struct channel *channel, enum processor_row row)
{
    struct processor_budget *b = budget_of(&in->processor, channel->id, event_loop_now_ns(in->loop) / NS_PER_S);
    return b->used[row] < rows[row].per_second && ++b->used[row];
}

/* ---- answers ---- */

static void refuse(struct channel *channel, const struct remoting_command *command, int32_t code, const char *why)
{
    static const struct span nothing = {"", 0};
    LOG_WARN(channel->address, "request %d refused: %s", command->code, why);
    remoting_client_reply(channel, command, code, span_of(why), nothing);
}

/* 4.9.3 answers a code without a processor even where no answer is asked for. */
static void refuse_code(struct channel *channel, const struct remoting_command *command)
{
    struct remoting_command answered = *command;
    answered.flag &= ~REMOTING_FLAG_ONEWAY;
    refuse(channel, &answered, RESPONSE_REQUEST_CODE_NOT_SUPPORTED, "request code not supported by this client");
}

static void handle(struct mq_client_instance *in, struct channel *channel, const struct remoting_command *command, enum processor_row row)
{
    struct processor_counters *c = &in->processor.counters[row];
    struct answer answer = {.code = RESPONSE_SUCCESS, .body = {"", 0}};
    if (rows[row].handle(in, command, &answer) < 0) {
        c->refused++;
        refuse(channel, command, RESPONSE_SYSTEM_ERROR, "the request is malformed");
        return;
    }
    if (answer.none || remoting_command_is_oneway(command)) {
        c->ignored++;
        return;
    }
    c->answered++;
    remoting_client_reply(channel, command, answer.code, answer.remark[0] ? span_of(answer.remark) : (struct span){NULL, 0}, answer.body);
}

void client_remoting_processor_run(struct mq_client_instance *in, struct channel *channel, const struct remoting_command *command)
{
    enum processor_row row = row_of(command->code);
    struct processor_counters *c = &in->processor.counters[row];
    c->received++;
    if (!is_within_rate(in, channel, row)) {
        c->limited++;
        refuse(channel, command, RESPONSE_SYSTEM_BUSY, "more of these than this client takes in a second");
    } else if (command->body.len > rows[row].body_max) {
        c->too_big++;
        refuse(channel, command, RESPONSE_SYSTEM_ERROR, "the body is larger than this client takes");
    } else if (!rows[row].handle) {
        c->refused++;
        refuse_code(channel, command);
    } else {
        handle(in, channel, command, row);
    }
}
