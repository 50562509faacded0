/*
 * Replies and pushes, written straight into a connection's output buffer.
 */
#include "tests/devbroker/devbroker.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool reply_begin(struct request *r, struct reply_writer *w, int32_t code, const char *remark, size_t ext_bytes, size_t body_len)
{
    if (remoting_command_is_oneway(r->command))
        return false;
    enum serialize_type type = r->dev->options.binary_replies ? SERIALIZE_ROCKETMQ : SERIALIZE_JSON;
    size_t remark_len = remark ? strlen(remark) : 0;
    size_t bound = remoting_frame_bound(type, 8, ext_bytes + remark_len, body_len);
    uint8_t *room = connection_reserve(r->connection, bound);
    if (!room)
        return false;
    w->connection = r->connection;
    remoting_encode_begin(&w->encoder, room, bound, type, code, LANGUAGE_JAVA, PROTOCOL_VERSION_4_9_3, r->opaque, REMOTING_FLAG_RESPONSE);
    if (remark)
        remoting_encode_remark(&w->encoder, (struct span){remark, remark_len});
    return true;
}

void reply_end(struct reply_writer *w, struct span body)
{
    size_t frame_len;
    void *place = remoting_encode_body(&w->encoder, body.len, &frame_len);
    if (!place)
        return;
    if (body.len)
        memcpy(place, body.data, body.len);
    connection_commit(w->connection, frame_len);
}

void reply(struct request *r, int32_t code, const char *remark)
{
    struct reply_writer w;
    if (reply_begin(r, &w, code, remark, 0, 0))
        reply_end(&w, (struct span){0});
}

void replyf(struct request *r, int32_t code, const char *fmt, ...)
{
    char remark[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(remark, sizeof(remark), fmt, args);
    va_end(args);
    reply(r, code, remark);
}

void reply_body(struct request *r, struct span body)
{
    struct reply_writer w;
    if (reply_begin(r, &w, RESPONSE_SUCCESS, NULL, 0, body.len))
        reply_end(&w, body);
}

void reply_ext_i64(struct request *r, const char *key, int64_t value)
{
    struct reply_writer w;
    if (!reply_begin(r, &w, RESPONSE_SUCCESS, NULL, 64, 0))
        return;
    remoting_encode_ext_i64(&w.encoder, key, value);
    reply_end(&w, (struct span){0});
}

void write_separator(struct json_writer *w, bool *first)
{
    if (!*first)
        json_write_raw(w, SPAN_LITERAL(","));
    *first = false;
}

void push_oneway(struct devbroker *dev, struct connection *c, int32_t code, const char *key, struct span value)
{
    size_t bound = remoting_frame_bound(SERIALIZE_JSON, 1, strlen(key) + value.len, 0);
    uint8_t *room = connection_reserve(c, bound);
    if (!room)
        return;
    struct reply_writer w = {.connection = c};
    remoting_encode_begin(&w.encoder, room, bound, SERIALIZE_JSON, code, LANGUAGE_JAVA, PROTOCOL_VERSION_4_9_3, ++dev->push_opaque,
                          REMOTING_FLAG_ONEWAY);
    remoting_encode_ext(&w.encoder, key, value);
    reply_end(&w, (struct span){0});
}

const char *connection_peer(const struct connection *c)
{
    static char text[32];
    snprintf(text, sizeof(text), "%u.%u.%u.%u:%u", c->peer_ip >> 24, c->peer_ip >> 16 & 255, c->peer_ip >> 8 & 255, c->peer_ip & 255,
             c->peer_port);
    return text;
}

int64_t request_i64(const struct request *r, const char *key, int64_t absent)
{
    int64_t value = absent;
    remoting_command_ext_i64(r->command, key, &value);
    return value;
}
