#include "hub/producer/send_frame.h"

#include <errno.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/protocol/send_message_header.h"
#include "shm/message/properties.h"
#include "shm/message/validators.h"

#define FIXED_HEADER_BYTES 21u /* code 2, language 1, version 2, opaque 4, flag 4, remark length 4, ext length 4 */
#define FIELD_BYTES 7u         /* key length 2, key 1, value length 4 */
#define NUMBER_MAX 20u
#define ADDED_FIELD_BYTES 6u /* key length 2, value length 4 */
#define JSON_GROWTH 6u       /* a byte becomes at most \u0001 */

/* j = 0, k = false, m = false: a send that is neither a retry of a consumer nor a batch. */
static const uint8_t last_fields[] = {0,   1,   'j', 0,   0, 0, 1,   '0', 0, 1, 'k', 0,   0,   0,   5,   'f',
                                      'a', 'l', 's', 'e', 0, 1, 'm', 0,   0, 0, 5,   'f', 'a', 'l', 's', 'e'};

static const struct remoting_client_settings *settings_of(const struct send_request *request)
{
    return &request->producer->instance->remoting.settings;
}

static struct send_message_header header_of(const struct send_request *request, int32_t queue_id, int64_t born_timestamp_ms,
                                            const char *properties)
{
    const struct create_topic *create = &request->settings->create;
    return (struct send_message_header){
        .producer_group = {request->producer->group, request->producer->group_len},
        .topic = {request->topic->name, request->topic->name_len},
        .default_topic = span_of(create->key),
        .properties = {properties, request->properties_len},
        .born_timestamp_ms = born_timestamp_ms,
        .default_topic_queue_nums = (int32_t)create->queue_nums,
        .queue_id = queue_id,
        .sys_flag = request->sys_flag,
        .flag = request->msg_flag,
        .max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT,
    };
}

static struct rpc_hook *hook_of(const struct send_request *request)
{
    return request->producer->instance->remoting.hook;
}

/* Bytes of the fields that a hook adds, in the binary encoding. */
static size_t added_bytes(const struct rpc_hook *hook)
{
    return hook ? hook->fields_max * ADDED_FIELD_BYTES + hook->bytes_max : 0;
}

size_t send_frame_bound(const struct send_request *request)
{
    const struct rpc_hook *hook = hook_of(request);
    if (settings_of(request)->serialize_type == SERIALIZE_JSON) {
        struct send_message_header header = header_of(request, 0, 0, "");
        return send_message_frame_bound(SERIALIZE_JSON, &header, request->body_len) + JSON_GROWTH * added_bytes(hook);
    }
    return REMOTING_PREFIX_BYTES + FIXED_HEADER_BYTES + request->settings->header_len + request->topic->header_len +
           4 * (FIELD_BYTES + NUMBER_MAX) + FIELD_BYTES + request->properties_len + sizeof(last_fields) + added_bytes(hook) +
           request->body_len;
}

static uint8_t *put_bytes(uint8_t *at, const void *src, size_t len)
{
    memcpy(at, src, len);
    return at + len;
}

static uint8_t *put_field(uint8_t *at, char key, size_t len)
{
    be16_store(at, 1);
    at[2] = (uint8_t)key;
    be32_store(at + 3, (uint32_t)len);
    return at + FIELD_BYTES;
}

static uint8_t *put_number(uint8_t *at, char key, int64_t value)
{
    char digits[NUMBER_MAX];
    size_t i = sizeof(digits);
    if (value >= 0 && value <= 9) {
        at = put_field(at, key, 1);
        *at = (uint8_t)('0' + value);
        return at + 1;
    }
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[--i] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        digits[--i] = '-';
    at = put_field(at, key, sizeof(digits) - i);
    return put_bytes(at, digits + i, sizeof(digits) - i);
}

/* The time of a round is that of many messages, so its text is kept. One loop, one thread. */
static uint8_t *put_born_timestamp(uint8_t *at, int64_t born_timestamp_ms)
{
    static struct {
        int64_t ms;
        size_t len;
        uint8_t field[FIELD_BYTES + NUMBER_MAX];
    } kept;
    if (kept.len == 0 || kept.ms != born_timestamp_ms) {
        kept.ms = born_timestamp_ms;
        kept.len = (size_t)(put_number(kept.field, 'g', born_timestamp_ms) - kept.field);
    }
    return put_bytes(at, kept.field, kept.len);
}

/* ---- what a hook adds ---- */

/* The fields of an ext block that was just written. */
static unsigned collect_fields(const uint8_t *ext, const uint8_t *end, struct ext_field *out)
{
    unsigned count = 0;
    for (const uint8_t *at = ext; at < end; count++) {
        struct ext_field *f = &out[count];
        f->key = (struct span){(const char *)at + 2, be16_load(at)};
        at += 2 + f->key.len;
        f->value = (struct span){(const char *)at + 4, be32_load(at)};
        at += 4 + f->value.len;
    }
    return count;
}

static uint8_t *put_added(uint8_t *at, const struct ext_field *field)
{
    be16_store(at, (uint16_t)field->key.len);
    at = put_bytes(at + 2, field->key.data, field->key.len);
    be32_store(at, (uint32_t)field->value.len);
    return put_bytes(at + 4, field->value.data, field->value.len);
}

/*
 * Lets the hook see the fields from @p ext to *@p end and the body, and writes what it adds. The body is copied first, to where it
 * will stand, because what is signed must be what is sent: the client can still write to its own memory.
 */
static int run_hook(const struct send_request *request, const uint8_t *ext, uint8_t **end)
{
    struct ext_field fields[SEND_MESSAGE_FIELDS_MAX];
    struct rpc_hook *hook = hook_of(request);
    uint8_t *body = *end + added_bytes(hook);
    if (request->body_len)
        memcpy(body, request->body, request->body_len);
    struct rpc_request hooked = {.code = REQUEST_SEND_MESSAGE_V2,
                                 .ext = fields,
                                 .ext_count = collect_fields(ext, *end, fields),
                                 .body = {(const char *)body, request->body_len}};
    int r = rpc_hook_before_request(hook, &hooked);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < hooked.added_count; i++)
        *end = put_added(*end, &hooked.added[i]);
    if (*end != body)
        memmove(*end, body, request->body_len);
    return 0;
}

/* ---- the frame ---- */

static int encode_binary(const struct send_request *request, int32_t opaque, int32_t queue_id, int64_t born_timestamp_ms, uint8_t *frame,
                         size_t *frame_len)
{
    uint8_t *header = frame + REMOTING_PREFIX_BYTES, *ext = header + FIXED_HEADER_BYTES, *at = ext;
    at = put_bytes(at, request->settings->header, request->settings->header_len);
    at = put_bytes(at, request->topic->header, request->topic->header_len);
    at = put_number(at, 'e', queue_id);
    at = put_number(at, 'f', request->sys_flag);
    at = put_born_timestamp(at, born_timestamp_ms);
    at = put_number(at, 'h', request->msg_flag);
    at = put_field(at, 'i', request->properties_len);
    const char *properties = (const char *)at;
    if (request->properties_len)
        at = put_bytes(at, request->properties, request->properties_len);
    if (properties_validate(properties, request->properties_len) != 0)
        return -EINVAL;
    at = put_bytes(at, last_fields, sizeof(last_fields));
    bool hooked = hook_of(request) != NULL;
    int r = hooked ? run_hook(request, ext, &at) : 0;
    if (r < 0)
        return r;

    be16_store(header, REQUEST_SEND_MESSAGE_V2);
    header[2] = LANGUAGE_CPP;
    be16_store(header + 3, (uint16_t)settings_of(request)->version);
    be32_store(header + 5, (uint32_t)opaque);
    be32_store(header + 9, request->mode == SEND_ONEWAY ? REMOTING_FLAG_ONEWAY : 0);
    be32_store(header + 13, 0);
    be32_store(header + 17, (uint32_t)(at - ext));
    size_t header_len = (size_t)(at - header);
    be32_store(frame, (uint32_t)(4 + header_len + request->body_len));
    be32_store(frame + 4, (uint32_t)SERIALIZE_ROCKETMQ << 24 | (uint32_t)header_len);
    if (request->body_len && !hooked)
        memcpy(at, request->body, request->body_len);
    *frame_len = (size_t)(at - frame) + request->body_len;
    return 0;
}

static int encode_json(const struct send_request *request, int32_t opaque, int32_t queue_id, int64_t born_timestamp_ms, void *frame,
                       size_t cap, size_t *frame_len)
{
    char properties[PROPERTIES_MAX_LENGTH];
    if (request->properties_len)
        memcpy(properties, request->properties, request->properties_len);
    if (properties_validate(properties, request->properties_len) != 0)
        return -EINVAL;
    struct send_message_header header = header_of(request, queue_id, born_timestamp_ms, properties);
    struct remoting_identity identity = {.serialize_type = SERIALIZE_JSON,
                                         .language = LANGUAGE_CPP,
                                         .version = settings_of(request)->version,
                                         .opaque = opaque,
                                         .flag = request->mode == SEND_ONEWAY ? REMOTING_FLAG_ONEWAY : 0};
    struct send_message_fields fields;
    send_message_fields_fill(&fields, &header);
    /* At the end of the room there is, until it is known how long the header gets; see run_hook(). */
    char *copy = (char *)frame + cap - request->body_len;
    if (request->body_len)
        memcpy(copy, request->body, request->body_len);
    struct rpc_request hooked = {
        .code = REQUEST_SEND_MESSAGE_V2, .ext = fields.ext, .ext_count = fields.count, .body = {copy, request->body_len}};
    int r = rpc_hook_before_request(hook_of(request), &hooked);
    if (r < 0)
        return r;
    void *body = send_message_encode_fields(frame, cap, &identity, REQUEST_SEND_MESSAGE_V2, &fields, hooked.added, hooked.added_count,
                                            request->body_len, frame_len);
    if (!body)
        return -EMSGSIZE;
    if (request->body_len)
        memmove(body, copy, request->body_len);
    return 0;
}

int send_frame_encode(const struct send_request *request, int32_t opaque, int32_t queue_id, int64_t born_timestamp_ms, void *buf,
                      size_t bound, size_t *frame_len)
{
    if (request->properties_len > PROPERTIES_MAX_LENGTH)
        return -EINVAL;
    if (bound > REMOTING_FRAME_MAX)
        return -EMSGSIZE;
    if (settings_of(request)->serialize_type == SERIALIZE_JSON)
        return encode_json(request, opaque, queue_id, born_timestamp_ms, buf, bound, frame_len);
    return encode_binary(request, opaque, queue_id, born_timestamp_ms, buf, frame_len);
}
