/*
 * Send headers and their replies: the hot end of the codec.
 *
 * A broker's reply is JSON written by one serializer in one manner, so a scanner
 * that knows the dozen possible keys reads it several times faster than the
 * general parser. The scanner accepts only what it is sure about; at the first
 * surprise (an escape, an unknown key, white space) the general decoder starts
 * over, so that there is one definition of what is legal. A fuzz target holds
 * the two against each other.
 */
#include "hub/protocol/send_message_header.h"

#include "hub/remoting/wire_json.h"

#include <errno.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- request ---- */

enum send_field {
    FIELD_PRODUCER_GROUP,
    FIELD_TOPIC,
    FIELD_DEFAULT_TOPIC,
    FIELD_DEFAULT_TOPIC_QUEUE_NUMS,
    FIELD_QUEUE_ID,
    FIELD_SYS_FLAG,
    FIELD_BORN_TIMESTAMP,
    FIELD_FLAG,
    FIELD_PROPERTIES,
    FIELD_RECONSUME_TIMES,
    FIELD_UNIT_MODE,
    FIELD_MAX_RECONSUME_TIMES,
    FIELD_BATCH,
    FIELD_COUNT
};

/* The letter of a field is 'a' plus its index. */
static const char *const LETTERS[FIELD_COUNT] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"};
static const char *const LONG_NAMES[FIELD_COUNT] = {
    "producerGroup", "topic",          "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp", "flag",
    "properties",    "reconsumeTimes", "unitMode",     "maxReconsumeTimes",     "batch",
};

/* a to h. */
#define MANDATORY_FIELDS ((1u << FIELD_PROPERTIES) - 1)

size_t send_message_frame_bound(enum serialize_type type, const struct send_message_header *header, size_t body_len)
{
    /* The keys are one byte each, numbers at most 20, booleans 5. */
    size_t text =
        header->producer_group.len + header->topic.len + header->default_topic.len + header->properties.len + FIELD_COUNT + 7 * 20 + 2 * 5;
    return remoting_frame_bound(type, FIELD_COUNT, text, body_len);
}

static void add_text(struct send_message_fields *out, enum send_field field, struct span value)
{
    if (value.data)
        out->ext[out->count++] = (struct ext_field){{LETTERS[field], 1}, value};
}

static void add_number(struct send_message_fields *out, enum send_field field, int64_t value)
{
    char *text = out->numbers[out->count];
    add_text(out, field, (struct span){text, i64_to_text(text, value)});
}

static void add_bool(struct send_message_fields *out, enum send_field field, bool value)
{
    add_text(out, field, value ? SPAN_LITERAL("true") : SPAN_LITERAL("false"));
}

void send_message_fields_fill(struct send_message_fields *out, const struct send_message_header *header)
{
    out->count = 0;
    add_text(out, FIELD_PRODUCER_GROUP, header->producer_group);
    add_text(out, FIELD_TOPIC, header->topic);
    add_text(out, FIELD_DEFAULT_TOPIC, header->default_topic);
    add_number(out, FIELD_DEFAULT_TOPIC_QUEUE_NUMS, header->default_topic_queue_nums);
    add_number(out, FIELD_QUEUE_ID, header->queue_id);
    add_number(out, FIELD_SYS_FLAG, header->sys_flag);
    add_number(out, FIELD_BORN_TIMESTAMP, header->born_timestamp_ms);
    add_number(out, FIELD_FLAG, header->flag);
    add_text(out, FIELD_PROPERTIES, header->properties);
    add_number(out, FIELD_RECONSUME_TIMES, header->reconsume_times);
    add_bool(out, FIELD_UNIT_MODE, header->unit_mode);
    if (header->max_reconsume_times != MAX_RECONSUME_TIMES_ABSENT)
        add_number(out, FIELD_MAX_RECONSUME_TIMES, header->max_reconsume_times);
    add_bool(out, FIELD_BATCH, header->batch);
    _Static_assert(FIELD_COUNT == SEND_MESSAGE_FIELDS_MAX, "a field more");
}

void *send_message_encode_fields(void *buf, size_t cap, const struct remoting_identity *identity, int32_t code,
                                 const struct send_message_fields *fields, const struct ext_field *added, unsigned added_count,
                                 size_t body_len, size_t *frame_len)
{
    struct remoting_encoder e;
    remoting_encode_begin(&e, buf, cap, identity->serialize_type, code, identity->language, identity->version, identity->opaque,
                          identity->flag);
    for (unsigned i = 0; i < fields->count; i++)
        remoting_encode_field(&e, fields->ext[i].key, fields->ext[i].value);
    for (unsigned i = 0; i < added_count; i++)
        remoting_encode_field(&e, added[i].key, added[i].value);
    return remoting_encode_body(&e, body_len, frame_len);
}

void *send_message_encode(void *buf, size_t cap, const struct remoting_identity *identity, const struct send_message_header *header,
                          size_t body_len, size_t *frame_len)
{
    struct send_message_fields fields;
    send_message_fields_fill(&fields, header);
    return send_message_encode_fields(buf, cap, identity, header->batch ? REQUEST_SEND_BATCH_MESSAGE : REQUEST_SEND_MESSAGE_V2, &fields,
                                      NULL, 0, body_len, frame_len);
}

static bool to_i32(struct span text, int32_t *out)
{
    int64_t v = 0;
    if (!span_to_i64(text, &v) || v < INT32_MIN || v > INT32_MAX)
        return false;
    *out = (int32_t)v;
    return true;
}

static bool to_bool(struct span text)
{
    return text.len == 4 && strncasecmp(text.data, "true", 4) == 0;
}

/* Stores one field. False when its text is not of its type. */
static bool set_field(struct send_message_header *out, enum send_field field, struct span value)
{
    switch (field) {
    case FIELD_PRODUCER_GROUP:
        out->producer_group = value;
        return true;
    case FIELD_TOPIC:
        out->topic = value;
        return true;
    case FIELD_DEFAULT_TOPIC:
        out->default_topic = value;
        return true;
    case FIELD_DEFAULT_TOPIC_QUEUE_NUMS:
        return to_i32(value, &out->default_topic_queue_nums);
    case FIELD_QUEUE_ID:
        return to_i32(value, &out->queue_id);
    case FIELD_SYS_FLAG:
        return to_i32(value, &out->sys_flag);
    case FIELD_BORN_TIMESTAMP:
        return span_to_i64(value, &out->born_timestamp_ms);
    case FIELD_FLAG:
        return to_i32(value, &out->flag);
    case FIELD_PROPERTIES:
        out->properties = value;
        return true;
    case FIELD_RECONSUME_TIMES:
        return to_i32(value, &out->reconsume_times);
    case FIELD_UNIT_MODE:
        out->unit_mode = to_bool(value);
        return true;
    case FIELD_MAX_RECONSUME_TIMES:
        return to_i32(value, &out->max_reconsume_times);
    case FIELD_BATCH:
        out->batch = to_bool(value);
        return true;
    case FIELD_COUNT:
        break;
    }
    return true;
}

static enum send_field field_by_letter(struct span key)
{
    return key.len == 1 && key.data[0] >= 'a' && key.data[0] < 'a' + FIELD_COUNT ? (enum send_field)(key.data[0] - 'a') : FIELD_COUNT;
}

static enum send_field field_by_long_name(struct span key)
{
    unsigned i = 0;
    while (i < FIELD_COUNT && !span_equals(key, span_of(LONG_NAMES[i])))
        i++;
    return (enum send_field)i;
}

int send_message_header_decode(const struct remoting_command *command, struct send_message_header *out, const char **missing)
{
    bool long_names = command->code == REQUEST_SEND_MESSAGE || command->code == REQUEST_SEND_REPLY_MESSAGE;
    const char *const *names = long_names ? LONG_NAMES : LETTERS;
    unsigned seen = 0;
    *missing = NULL;
    *out = (struct send_message_header){.max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT};
    for (unsigned i = 0; i < command->ext_count; i++) {
        enum send_field field = long_names ? field_by_long_name(command->ext[i].key) : field_by_letter(command->ext[i].key);
        if (field == FIELD_COUNT)
            continue;
        if (!set_field(out, field, command->ext[i].value)) {
            *missing = names[field];
            return -EBADMSG;
        }
        seen |= 1u << field;
    }
    unsigned absent = MANDATORY_FIELDS & ~seen;
    if (absent) {
        *missing = names[__builtin_ctz(absent)];
        return -EBADMSG;
    }
    return 0;
}

/* ---- reply, the general way ---- */

static const struct send_response EMPTY_RESPONSE = {.queue_id = -1, .queue_offset = -1};

enum response_field { RESPONSE_MSG_ID, RESPONSE_QUEUE_ID, RESPONSE_QUEUE_OFFSET, RESPONSE_TRANSACTION_ID, RESPONSE_OTHER };

static enum response_field response_field_of(struct span key)
{
    switch (key.len) {
    case 5:
        return memcmp(key.data, "msgId", 5) == 0 ? RESPONSE_MSG_ID : RESPONSE_OTHER;
    case 7:
        return memcmp(key.data, "queueId", 7) == 0 ? RESPONSE_QUEUE_ID : RESPONSE_OTHER;
    case 11:
        return memcmp(key.data, "queueOffset", 11) == 0 ? RESPONSE_QUEUE_OFFSET : RESPONSE_OTHER;
    case 13:
        return memcmp(key.data, "transactionId", 13) == 0 ? RESPONSE_TRANSACTION_ID : RESPONSE_OTHER;
    default:
        return RESPONSE_OTHER;
    }
}

static bool set_response_field(struct send_response *out, struct span key, struct span value)
{
    switch (response_field_of(key)) {
    case RESPONSE_MSG_ID:
        out->msg_id = value;
        return true;
    case RESPONSE_QUEUE_ID:
        return to_i32(value, &out->queue_id);
    case RESPONSE_QUEUE_OFFSET:
        return span_to_i64(value, &out->queue_offset);
    case RESPONSE_TRANSACTION_ID:
        out->transaction_id = value;
        return true;
    case RESPONSE_OTHER:
        break;
    }
    return true;
}

static int decode_generally(const void *frame, size_t frame_len, struct send_response *out, char *scratch, size_t scratch_cap)
{
    struct remoting_command command;
    int rc = remoting_command_decode(&command, frame, frame_len, scratch, scratch_cap);
    if (rc < 0)
        return rc;
    *out = EMPTY_RESPONSE;
    out->opaque = command.opaque;
    out->code = command.code;
    out->flag = command.flag;
    out->version = command.version;
    out->remark = command.remark;
    for (unsigned i = 0; i < command.ext_count; i++)
        if (!set_response_field(out, command.ext[i].key, command.ext[i].value))
            return -EPROTO;
    return 0;
}

/* ---- reply, the usual way ---- */

/* First '"' at or after p; NULL when an escape or the end comes first. Never looks beyond the end. */
static const char *plain_string_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned hit = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)));
        if (hit) {
            p += __builtin_ctz(hit);
            return *p == '"' ? p : NULL;
        }
    }
#endif
    for (; p < end && *p != '\\'; p++)
        if (*p == '"')
            return p;
    return NULL;
}

/* A string without escapes at *p. */
static bool scan_string(const char **p, const char *end, struct span *out)
{
    if (*p == end || **p != '"')
        return false;
    const char *start = *p + 1, *stop = plain_string_end(start, end);
    if (!stop)
        return false;
    *out = (struct span){start, (size_t)(stop - start)};
    *p = stop + 1;
    return true;
}

static bool scan_i32(const char **p, const char *end, int32_t *out)
{
    const char *s = *p;
    bool negative = s < end && *s == '-';
    s += negative;
    const char *digits = s;
    int64_t v = 0;
    for (; s < end && *s >= '0' && *s <= '9' && s - digits < 11; s++)
        v = v * 10 + (*s - '0');
    v = negative ? -v : v;
    if (s == digits || v < INT32_MIN || v > INT32_MAX)
        return false;
    *out = (int32_t)v;
    *p = s;
    return true;
}

/* A key and its colon. A key that starts with '$' might be a back reference. */
static bool scan_key(const char **p, const char *end, struct span *key)
{
    if (!scan_string(p, end, key) || *p == end || **p != ':' || (key->len && key->data[0] == '$'))
        return false;
    ++*p;
    return true;
}

/* After a value: true and *more, or false for anything but ',' and '}'. */
static bool scan_separator(const char **p, const char *end, bool *more)
{
    if (*p == end || (**p != ',' && **p != '}'))
        return false;
    *more = *(*p)++ == ',';
    return true;
}

static bool scan_ext_fields(const char **p, const char *end, struct send_response *out)
{
    if (*p == end || *(*p)++ != '{')
        return false;
    out->msg_id = out->transaction_id = (struct span){NULL, 0};
    out->queue_id = -1;
    out->queue_offset = -1;
    if (*p < end && **p == '}') {
        ++*p;
        return true;
    }
    bool more = true;
    for (unsigned count = 0; more; count++) {
        struct span key, value;
        if (count == REMOTING_MAX_EXT_FIELDS || !scan_key(p, end, &key) || !scan_string(p, end, &value) ||
            !set_response_field(out, key, value) || !scan_separator(p, end, &more))
            return false;
    }
    return true;
}

static bool key_is(struct span key, const char *name)
{
    return memcmp(key.data, name, key.len) == 0;
}

/* One member of the header; false for one that is not understood at once. */
static bool scan_member(const char **p, const char *end, struct send_response *out)
{
    struct span key, ignored;
    if (!scan_key(p, end, &key))
        return false;
    switch (key.len) {
    case 4:
        if (key_is(key, "code"))
            return scan_i32(p, end, &out->code);
        return key_is(key, "flag") && scan_i32(p, end, &out->flag);
    case 6:
        if (key_is(key, "opaque"))
            return scan_i32(p, end, &out->opaque);
        return key_is(key, "remark") && scan_string(p, end, &out->remark);
    case 7:
        return key_is(key, "version") && scan_i32(p, end, &out->version);
    case 8:
        return key_is(key, "language") && scan_string(p, end, &ignored);
    case 9:
        return key_is(key, "extFields") && scan_ext_fields(p, end, out);
    case 23:
        return key_is(key, "serializeTypeCurrentRPC") && scan_string(p, end, &ignored);
    default:
        return false;
    }
}

static bool scan_response(const char *p, const char *end, struct send_response *out)
{
    *out = EMPTY_RESPONSE;
    if (p == end || *p++ != '{')
        return false;
    for (bool more = true; more;)
        if (!scan_member(&p, end, out) || !scan_separator(&p, end, &more))
            return false;
    return p == end;
}

int send_response_decode(const void *frame, size_t frame_len, struct send_response *out, char *scratch, size_t scratch_cap)
{
    size_t whole;
    if (remoting_frame_split(frame, frame_len, &whole) < 0 || whole != frame_len)
        return -EPROTO;
    /* The encoding byte is 0 for JSON, so the packed word is the header's length. */
    uint32_t packed = be32_load((const char *)frame + 4);
    const char *header = (const char *)frame + REMOTING_PREFIX_BYTES;
    if (packed >> 24 == SERIALIZE_JSON && scan_response(header, header + packed, out))
        return 0;
    return decode_generally(frame, frame_len, out, scratch, scratch_cap);
}
