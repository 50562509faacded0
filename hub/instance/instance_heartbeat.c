/*
 * The brokers of one instance. What differs from 4.9.3 on purpose: heartbeats are
 * sent concurrently, and also right after each connect, before anything else on that
 * connection; a master known from a route is dialled at once and kept connected.
 * A producer's client speaks to masters only, as 4.9.3's does.
 */
#include <errno.h>
#include <string.h>

#include "hub/instance/client_remoting_processor.h"
#include "hub/instance/mq_client_instance.h"
#include "hub/instance/registration.h"
#include "hub/protocol/codes.h"
#include "shm/base/log.h"

static void attach_master(struct mq_client_instance *in, struct broker *broker)
{
    const char *address = broker_master_address(broker);
    struct channel *channel = NULL;
    if (address) {
        int r = remoting_client_channel(&in->remoting, address, &channel);
        if (r == 0)
            r = registration_attach(in, broker, channel);
        if (r < 0)
            LOG_ERROR(broker->name, "cannot be reached at %s (%s)", address, strerror(-r));
    }
    broker->master = channel;
}

static bool is_master(const struct mq_client_instance *in, const struct channel *channel)
{
    for (unsigned i = 0; i < in->brokers.count; i++)
        if (in->brokers.brokers[i]->master == channel)
            return true;
    return false;
}

void mq_client_instance_update_brokers(struct mq_client_instance *in)
{
    struct registration *reg;
    if (in->draining)
        return;
    for (unsigned i = 0; i < in->brokers.count; i++)
        attach_master(in, in->brokers.brokers[i]);
    FOR_EACH_REGISTRATION (reg, in)
        if (!is_master(in, reg->channel) && !reg->retiring)
            registration_retire(reg);
    mq_client_instance_changed(in);
}

void mq_client_instance_send_heartbeat_to_all_broker(struct mq_client_instance *in)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        registration_heartbeat(reg);
}

void mq_client_instance_announce(struct mq_client_instance *in)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        registration_announce(reg);
}

/* ---- what the network client tells ---- */

static void on_channel_connected(void *ctx, struct channel *channel)
{
    (void)ctx;
    if (channel->session)
        registration_connected(channel->session);
}

static void on_channel_lost(void *ctx, struct channel *channel)
{
    (void)ctx;
    if (channel->session)
        registration_lost(channel->session);
}

static void on_probe_answer(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    (void)ctx;
    (void)channel;
    (void)result; /* what counts is that bytes came in */
}

/* Asks for a route: nameservers answer that whatever they know, and brokers that they do not know the request. */
static void probe(struct mq_client_instance *in, struct channel *channel)
{
    struct ext_field topic = {SPAN_LITERAL("topic"), span_of(in->config.create_topic_key)};
    struct invoke_request request = {.code = REQUEST_GET_ROUTEINFO_BY_TOPIC,
                                     .ext = &topic,
                                     .ext_count = 1,
                                     .timeout_ms = in->config.mq_client_api_timeout_ms,
                                     .bound = true};
    int r = remoting_client_invoke(&in->remoting, channel, &request, on_probe_answer, NULL);
    if (r < 0)
        LOG_WARN(channel->address, "could not be probed (%s)", strerror(-r));
}

/* One slow answer proves nothing, and closing fails everybody's requests: the answer to a heartbeat or a probe decides. */
static void on_channel_suspect(void *ctx, struct channel *channel)
{
    if (channel->session)
        registration_heartbeat(channel->session);
    else
        probe(ctx, channel);
}

static void on_request(void *ctx, struct channel *channel, const struct remoting_command *command)
{
    client_remoting_processor_run(ctx, channel, command);
}

static void on_channel_changed(void *ctx)
{
    mq_client_instance_changed(ctx);
}

struct remoting_client_ops mq_client_instance_remoting_ops(struct mq_client_instance *in)
{
    return (struct remoting_client_ops){.connected = on_channel_connected,
                                        .lost = on_channel_lost,
                                        .suspect = on_channel_suspect,
                                        .request = on_request,
                                        .changed = on_channel_changed,
                                        .ctx = in};
}
