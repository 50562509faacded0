/* Checks shared by the targets that read frames. */
#include "tests/fuzz/fuzz_command.h"

#include <errno.h>

/* Larger than any input that the targets are given. */
#define BUFFER_BYTES (1u << 20)

static char scratch[BUFFER_BYTES];

bool fuzz_decode(struct remoting_command *out, const void *frame, size_t len)
{
    static char small[16];
    int with_little = remoting_command_decode(out, frame, len, small, sizeof(small));
    int with_none = remoting_command_decode(out, frame, len, NULL, 0);
    int rc = remoting_command_decode(out, frame, len, scratch, sizeof(scratch));
    FUZZ_CHECK(rc == 0 || rc == -EPROTO);
    /* Less room may only mean -ENOBUFS; what is malformed may be found either way. */
    FUZZ_CHECK(with_little == rc || with_little == -ENOBUFS);
    FUZZ_CHECK(with_none == rc || with_none == -ENOBUFS);
    return rc == 0;
}

/* Keys that the binary header carries and JSON does not: they would need escapes, or are fastjson's own. */
static bool has_key_not_for_json(const struct remoting_command *c)
{
    for (unsigned i = 0; i < c->ext_count; i++) {
        if (span_equals(c->ext[i].key, SPAN_LITERAL("$ref")))
            return true;
        for (size_t k = 0; k < c->ext[i].key.len; k++) {
            unsigned char b = (unsigned char)c->ext[i].key.data[k];
            if (b < 0x20 || b == '"' || b == '\\')
                return true;
        }
    }
    return false;
}

static void compare(const struct remoting_command *a, const struct remoting_command *b)
{
    FUZZ_CHECK(a->code == b->code && a->flag == b->flag && a->opaque == b->opaque && a->version == b->version);
    FUZZ_CHECK(a->language == b->language || a->language == LANGUAGE_UNKNOWN);
    FUZZ_CHECK(span_equals(a->remark, b->remark) && span_equals(a->body, b->body));
    FUZZ_CHECK(a->ext_count == b->ext_count);
    for (unsigned i = 0; i < a->ext_count; i++)
        FUZZ_CHECK(span_equals(a->ext[i].key, b->ext[i].key) && span_equals(a->ext[i].value, b->ext[i].value));
}

static void round_trip_as(const struct remoting_command *c, enum serialize_type type)
{
    static char frame[BUFFER_BYTES * 8], scratch_2[BUFFER_BYTES * 8], key[BUFFER_BYTES];
    struct remoting_encoder e;
    struct remoting_command again;
    size_t len, text = c->remark.len;
    enum language_code language = c->language == LANGUAGE_UNKNOWN ? LANGUAGE_OTHER : c->language;
    remoting_encode_begin(&e, frame, sizeof(frame), type, c->code, language, c->version, c->opaque, c->flag);
    remoting_encode_remark(&e, c->remark);
    for (unsigned i = 0; i < c->ext_count; i++) {
        size_t n = c->ext[i].key.len < sizeof(key) ? c->ext[i].key.len : sizeof(key) - 1;
        memcpy(key, c->ext[i].key.data, n);
        key[n] = '\0';
        /* Keys of our own requests are C strings. */
        if (n != c->ext[i].key.len || strlen(key) != n || n > INT16_MAX)
            return;
        text += n + c->ext[i].value.len;
        remoting_encode_ext(&e, key, c->ext[i].value);
    }
    void *body = remoting_encode_body(&e, c->body.len, &len);
    bool narrow = c->code >= INT16_MIN && c->code <= INT16_MAX && c->version >= INT16_MIN && c->version <= INT16_MAX;
    FUZZ_CHECK((body != NULL) == (type == SERIALIZE_JSON || narrow));
    if (!body)
        return;
    FUZZ_CHECK(len <= remoting_frame_bound(type, c->ext_count, text, c->body.len));
    memcpy(body, c->body.data, c->body.len);
    FUZZ_CHECK(remoting_command_decode(&again, frame, len, scratch_2, sizeof(scratch_2)) == 0);
    struct remoting_command expected = *c;
    expected.language = language;
    if (type == SERIALIZE_ROCKETMQ && c->remark.len == 0)
        again.remark = c->remark; /* the binary header has no empty remark */
    compare(&expected, &again);
}

void fuzz_round_trip(const struct remoting_command *c)
{
    if (!has_key_not_for_json(c))
        round_trip_as(c, SERIALIZE_JSON);
    round_trip_as(c, SERIALIZE_ROCKETMQ);
}

static int64_t number_or(const struct remoting_command *c, const char *key, int64_t absent, bool *bad)
{
    int64_t v = absent;
    if (remoting_command_ext(c, key).data && !remoting_command_ext_i64(c, key, &v))
        *bad = true;
    return v;
}

void fuzz_compare_send_response(const void *frame, size_t len)
{
    static char scratch_2[BUFFER_BYTES];
    struct remoting_command c;
    struct send_response r;
    int rc = send_response_decode(frame, len, &r, scratch_2, sizeof(scratch_2));
    int general = remoting_command_decode(&c, frame, len, scratch, sizeof(scratch));
    if (general < 0) {
        FUZZ_CHECK(rc == general);
        return;
    }
    bool bad = false;
    int64_t queue_id = number_or(&c, "queueId", -1, &bad), queue_offset = number_or(&c, "queueOffset", -1, &bad);
    if (rc < 0) {
        /* Every occurrence of a repeated field is checked, the last one counts. */
        FUZZ_CHECK(rc == -EPROTO && (bad || queue_id < INT32_MIN || queue_id > INT32_MAX || c.ext_count > 1));
        return;
    }
    FUZZ_CHECK(!bad);
    FUZZ_CHECK(r.code == c.code && r.flag == c.flag && r.opaque == c.opaque && r.version == c.version);
    FUZZ_CHECK(r.queue_id == queue_id && r.queue_offset == queue_offset);
    FUZZ_CHECK(span_equals(r.remark, c.remark) && (r.remark.data == NULL) == (c.remark.data == NULL));
    FUZZ_CHECK(span_equals(r.msg_id, remoting_command_ext(&c, "msgId")));
    FUZZ_CHECK(span_equals(r.transaction_id, remoting_command_ext(&c, "transactionId")));
}

const void *fuzz_frame_of(enum serialize_type type, const void *header, size_t header_len, size_t *frame_len)
{
    static char frame[BUFFER_BYTES];
    if (header_len > sizeof(frame) - 8)
        header_len = sizeof(frame) - 8;
    be32_store(frame, (uint32_t)(4 + header_len));
    be32_store(frame + 4, (uint32_t)type << 24 | (uint32_t)header_len);
    if (header_len)
        memcpy(frame + 8, header, header_len);
    *frame_len = 8 + header_len;
    return frame;
}
