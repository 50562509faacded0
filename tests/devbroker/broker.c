/*
 * One broker's requests, by code.
 */
#include "tests/devbroker/devbroker.h"

struct broker_command {
    int32_t code;
    void (*handle)(struct request *r);
};

static const struct broker_command commands[] = {
    {REQUEST_SEND_MESSAGE_V2, broker_send},
    {REQUEST_SEND_MESSAGE, broker_send},
    {REQUEST_SEND_BATCH_MESSAGE, broker_send},
    {REQUEST_PULL_MESSAGE, broker_pull},
    {REQUEST_QUERY_CONSUMER_OFFSET, broker_query_offset},
    {REQUEST_UPDATE_CONSUMER_OFFSET, broker_update_offset},
    {REQUEST_CONSUMER_SEND_MSG_BACK, broker_send_back},
    {REQUEST_HEART_BEAT, broker_heartbeat},
    {REQUEST_UNREGISTER_CLIENT, broker_unregister},
    {REQUEST_GET_CONSUMER_LIST_BY_GROUP, broker_list_consumers},
    {REQUEST_LOCK_BATCH_MQ, broker_lock_queues},
    {REQUEST_UNLOCK_BATCH_MQ, broker_unlock_queues},
    {REQUEST_CHECK_CLIENT_CONFIG, broker_check_client_config},
    {REQUEST_SEARCH_OFFSET_BY_TIMESTAMP, broker_search_offset},
    {REQUEST_GET_MAX_OFFSET, broker_max_offset},
    {REQUEST_GET_MIN_OFFSET, broker_min_offset},
    {REQUEST_GET_EARLIEST_MSG_STORETIME, broker_earliest_time},
    {REQUEST_VIEW_MESSAGE_BY_ID, broker_view_message},
    {REQUEST_UPDATE_AND_CREATE_TOPIC, broker_create_topic},
    {REQUEST_GET_PRODUCER_CONNECTION_LIST, broker_list_producers},
    {REQUEST_GET_CONSUMER_CONNECTION_LIST, broker_list_consumer_connections},
};

void broker_handle(struct request *r)
{
    for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (commands[i].code == r->command->code) {
            commands[i].handle(r);
            return;
        }
    replyf(r, RESPONSE_REQUEST_CODE_NOT_SUPPORTED, " request type %d not supported", r->command->code);
}
