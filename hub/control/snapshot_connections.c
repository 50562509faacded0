/*
 * The connections of one instance, and the requests in their hands.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "hub/control/snapshot_rows.h"
#include "hub/ipc/ipc_client.h"
#include "hub/producer/producer_impl.h"
#include "hub/remoting/tls_context.h"
#include "hub/remoting/tls_session.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

_Static_assert((int)TABLE_CHANNEL_IDLE == CHANNEL_IDLE && (int)TABLE_CHANNEL_RESOLVING == CHANNEL_RESOLVING &&
                   (int)TABLE_CHANNEL_CONNECTING == CHANNEL_CONNECTING && (int)TABLE_CHANNEL_CONNECTED == CHANNEL_CONNECTED &&
                   (int)TABLE_CHANNEL_BACKOFF == CHANNEL_BACKOFF && (int)TABLE_CHANNEL_CLOSED == CHANNEL_CLOSED,
               "channel states are copied");

static const struct broker *broker_of_channel(const struct mq_client_instance *instance, const struct channel *channel)
{
    for (unsigned i = 0; i < instance->brokers.count; i++)
        if (instance->brokers.brokers[i] && instance->brokers.brokers[i]->master == channel)
            return instance->brokers.brokers[i];
    return NULL;
}

static void name_local_address(char *dst, size_t cap, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t len = sizeof(address);
    char host[INET6_ADDRSTRLEN];
    if (fd < 0 || getsockname(fd, &address.any, &len) < 0)
        return;
    if (address.any.sa_family == AF_INET && inet_ntop(AF_INET, &address.v4.sin_addr, host, sizeof(host)))
        snprintf(dst, cap, "%s:%u", host, ntohs(address.v4.sin_port));
    else if (address.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &address.v6.sin6_addr, host, sizeof(host)))
        snprintf(dst, cap, "[%s]:%u", host, ntohs(address.v6.sin6_port));
}

enum table_tls snapshot_tls_of_instance(const struct mq_client_instance *instance)
{
    if (!instance->config.tls.enable)
        return TABLE_TLS_OFF;
    if (!instance->remoting.tls)
        return TABLE_TLS_NO_CONTEXT;
    return tls_context_settings(instance->remoting.tls)->insecure ? TABLE_TLS_INSECURE : TABLE_TLS_VERIFIED;
}

/* What holds for this connection, whatever the settings say by now. */
static enum table_tls tls_of_channel(const struct mq_client_instance *instance, const struct channel *channel)
{
    if (channel->state == CHANNEL_CONNECTED)
        return !channel->tls ? TABLE_TLS_OFF : tls_session_is_verified(channel->tls) ? TABLE_TLS_VERIFIED : TABLE_TLS_INSECURE;
    enum table_tls wanted = snapshot_tls_of_instance(instance);
    return wanted == TABLE_TLS_VERIFIED ? TABLE_TLS_NOT_YET : wanted;
}

static void fill_tls(struct table_connection *row, const struct tls_session *tls)
{
    SNAPSHOT_TEXT(row->tls_protocol, tls_session_protocol(tls));
    SNAPSHOT_TEXT(row->tls_cipher, tls_session_cipher(tls));
    tls_session_peer(tls, row->tls_peer, sizeof(row->tls_peer));
    row->tls_resumed = tls_session_is_resumed(tls);
}

static void add_connection(struct place *p, const struct channel *channel)
{
    struct table_connection *row = table_writer_add(p->writer, TABLE_CONNECTIONS);
    const struct broker *broker = broker_of_channel(p->instance, channel);
    if (!row)
        return;
    row->instance = p->index;
    row->state = (uint8_t)channel->state;
    row->role = !broker && name_server_owns(&p->instance->name_server, channel) ? TABLE_ROLE_NAMESERVER : TABLE_ROLE_BROKER;
    row->fd = channel->fd;
    row->pending = channel->waiting_count + channel->pending_count;
    row->state_age_ms = age_of_ns(p->now, channel->state_since_ns);
    row->last_in_age_ms = channel->state == CHANNEL_CONNECTED ? age_of_ns(p->now, channel->last_read_ns) : TABLE_NEVER;
    row->bytes_in = channel->counters.bytes_in;
    row->bytes_out = channel->counters.bytes_out;
    row->frames_in = channel->counters.frames_in;
    row->frames_out = channel->counters.frames_out;
    row->send_queue_bytes = channel->out.tail - channel->out.head;
    row->connects = channel->counters.connects;
    row->reconnects = channel->counters.connects ? channel->counters.connects - 1 : 0;
    row->connect_failures = channel->counters.connect_failures;
    row->next_try_ms = TABLE_NEVER;
    if (channel->state == CHANNEL_BACKOFF && loop_timer_is_scheduled(&channel->timer))
        row->next_try_ms = left_until_ns(p->now, channel->timer.at_ns);
    row->closes = channel->counters.events[CHANNEL_EVENT_CLOSE];
    row->exceptions = channel->counters.events[CHANNEL_EVENT_EXCEPTION];
    row->idle_closes = channel->counters.events[CHANNEL_EVENT_IDLE];
    row->held_back = channel->counters.held_back;
    row->is_held_back = channel->held_back;
    row->is_suspect = remoting_client_is_suspect(channel);
    row->tls_resumptions = channel->counters.tls_resumed;
    row->tls = (uint8_t)tls_of_channel(p->instance, channel);
    SNAPSHOT_TEXT(row->peer_name, broker ? broker->name : "");
    SNAPSHOT_TEXT(row->peer_address, channel->address);
    SNAPSHOT_TEXT(row->last_error, channel->last_error);
    if (channel->state == CHANNEL_CONNECTED && channel->tls)
        fill_tls(row, channel->tls);
    if (channel->state == CHANNEL_CONNECTED)
        name_local_address(row->local_address, sizeof(row->local_address), channel->fd);
}

static void add_pending(struct place *p, const struct response_future *future, const struct channel *channel, const struct broker *broker)
{
    struct table_pending *row = table_writer_add(p->writer, TABLE_PENDING);
    if (!row)
        return;
    const struct send_request *send = send_request_of(future);
    const struct ipc_client *client = send ? ipc_client_of_send(send) : NULL;
    row->client = client ? client->number : 0;
    row->pid = client ? (uint32_t)client->pid : 0;
    row->instance = p->index;
    row->opaque = future->opaque;
    row->code = future->code;
    row->state = future->state == FUTURE_PARKED    ? TABLE_REQUEST_WAITS_FOR_ROUTE
                 : future->state == FUTURE_WAITING ? TABLE_REQUEST_WAITS_FOR_CHANNEL
                                                   : TABLE_REQUEST_ON_WIRE;
    row->mode = send ? send->mode : TABLE_MODE_INTERNAL;
    row->age_ms = age_of_ns(p->now, future->begin_ns);
    row->deadline_in_ms = ((int64_t)future->deadline.at_ns - (int64_t)p->now->mono_ns) / (int64_t)NS_PER_MS;
    SNAPSHOT_TEXT(row->broker_name, broker ? broker->name : "");
    SNAPSHOT_TEXT(row->address, channel ? channel->address : "");
    SNAPSHOT_TEXT(row->topic, send && send->topic ? send->topic->name : "");
    SNAPSHOT_TEXT(row->group, send && send->producer ? send->producer->group : "");
}

void snapshot_add_pending(struct place *p, const struct list_link *list, const struct channel *channel, const struct broker *broker)
{
    for (const struct list_link *it = list->next; it != list; it = it->next)
        add_pending(p, LIST_ENTRY(it, const struct response_future, link), channel, broker);
}

unsigned snapshot_add_channels(struct place *p)
{
    const struct list_link *channels = &p->instance->remoting.channels;
    unsigned connected = 0;
    for (const struct list_link *it = channels->next; it != channels; it = it->next) {
        const struct channel *channel = LIST_ENTRY(it, const struct channel, link);
        const struct broker *broker = broker_of_channel(p->instance, channel);
        connected += channel->state == CHANNEL_CONNECTED;
        add_connection(p, channel);
        snapshot_add_pending(p, &channel->pending, channel, broker);
        snapshot_add_pending(p, &channel->oneways, channel, broker);
        snapshot_add_pending(p, &channel->waiting, channel, broker);
    }
    return connected;
}
