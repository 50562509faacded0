/*
 * Requests that brokers send to their clients (4.9.3's ClientRemotingProcessor), as a
 * client with producers only answers them. Each is read whole before anything is done
 * about it, limited in size and rate by code and connection, and either answered as
 * 4.9.3 does, or refused with a code; nothing in it can change the state of the hub.
 */
#pragma once

#include <stdint.h>

struct channel;
struct mq_client_instance;
struct remoting_command;

enum processor_row {
    PROCESSOR_CHECK_TRANSACTION_STATE,
    PROCESSOR_NOTIFY_CONSUMER_IDS_CHANGED,
    PROCESSOR_RESET_CONSUMER_CLIENT_OFFSET,
    PROCESSOR_GET_CONSUMER_STATUS_FROM_CLIENT,
    PROCESSOR_GET_CONSUMER_RUNNING_INFO,
    PROCESSOR_CONSUME_MESSAGE_DIRECTLY,
    PROCESSOR_PUSH_REPLY_MESSAGE_TO_CLIENT,
    PROCESSOR_OTHERS, /* every other code */
    PROCESSOR_ROWS,
};

/** Connections whose rates are told apart; of more, the one that was silent longest is forgotten. */
#define PROCESSOR_CONNECTIONS 256u

struct processor_counters {
    uint64_t received;
    uint64_t answered; /* as 4.9.3 answers */
    uint64_t ignored;  /* understood, and there is nothing to do or to answer */
    uint64_t refused;  /* malformed, or a code that is not supported */
    uint64_t limited;  /* beyond the rate */
    uint64_t too_big;
};

/** What one connection sent in one second. */
struct processor_budget {
    uint32_t channel_id; /* 0: free */
    uint64_t second;
    uint32_t used[PROCESSOR_ROWS];
};

/** Part of an instance; zeroed is ready. */
struct client_remoting_processor {
    struct processor_counters counters[PROCESSOR_ROWS];
    struct processor_budget budgets[PROCESSOR_CONNECTIONS];
};

void client_remoting_processor_run(struct mq_client_instance *instance, struct channel *channel, const struct remoting_command *command);

/** Code (-1 for the row of the others) and name of a row. */
int32_t client_remoting_processor_code(enum processor_row row);
const char *client_remoting_processor_name(enum processor_row row);
