#include "hub/instance/client_remoting_processor.h"

#include "hub/instance/mq_client_instance.h"
#include "hub/protocol/codes.h"
#include "shm/base/log.h"

void client_remoting_processor_run(struct mq_client_instance *instance, struct channel *channel, const struct remoting_command *command)
{
    static const struct span nothing = {"", 0};
    instance->requests_from_brokers++;
    switch (command->code) {
    case REQUEST_CHECK_TRANSACTION_STATE:     /* nobody here can tell: the broker asks again, then rolls back */
    case REQUEST_NOTIFY_CONSUMER_IDS_CHANGED: /* no consumers to rebalance */
    case REQUEST_RESET_CONSUMER_CLIENT_OFFSET:
        return;
    case REQUEST_GET_CONSUMER_STATUS_FROM_CLIENT:
    case REQUEST_GET_CONSUMER_RUNNING_INFO:
    case REQUEST_CONSUME_MESSAGE_DIRECTLY:
        remoting_client_reply(channel, command, RESPONSE_SYSTEM_ERROR, SPAN_LITERAL("the consumer group is not in this client"), nothing);
        return;
    default:
        instance->unsupported_requests++;
        LOG_WARN(channel->address, "request code %d is not supported", command->code);
        remoting_client_reply(channel, command, RESPONSE_REQUEST_CODE_NOT_SUPPORTED,
                              SPAN_LITERAL("request code not supported by this client"), nothing);
    }
}
