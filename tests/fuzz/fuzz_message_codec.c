/* The same bytes as a batch body, as stored records, as an offset message id and as properties. */
#include "hub/protocol/message_codec.h"
#include "tests/fuzz/fuzz.h"

#define OUT_BYTES (1u << 20)

static uint8_t out[OUT_BYTES];

static void check_batch(const uint8_t *data, size_t len)
{
    struct byte_reader r = byte_reader_of(data, len), back;
    struct batch_member member, again;
    int rc;
    for (size_t start = 0; (rc = batch_next(&r, &member)) == 0; start = r.pos) {
        struct byte_writer w = byte_writer_of(out, sizeof(out));
        FUZZ_CHECK(batch_member_bytes(&member) == r.pos - start);
        batch_append(&w, &member);
        FUZZ_CHECK(!w.failed && w.pos == r.pos - start);
        back = byte_reader_of(out, w.pos);
        FUZZ_CHECK(batch_next(&back, &again) == 0 && again.flag == member.flag);
        FUZZ_CHECK(span_equals(again.body, member.body) && span_equals(again.properties, member.properties));
    }
    FUZZ_CHECK(rc == MESSAGE_END ? r.pos == len : r.failed);
}

static void check_stored(const uint8_t *data, size_t len)
{
    struct byte_reader r = byte_reader_of(data, len), back;
    struct stored_message m, again;
    int rc;
    while ((rc = stored_message_next(&r, &m)) == 0) {
        struct byte_writer w = byte_writer_of(out, sizeof(out));
        stored_message_encode(&w, &m);
        FUZZ_CHECK(!w.failed && w.pos == stored_message_bytes(&m));
        back = byte_reader_of(out, w.pos);
        FUZZ_CHECK(stored_message_next(&back, &again) == 0);
        FUZZ_CHECK(again.sys_flag == m.sys_flag && again.commit_log_offset == m.commit_log_offset);
        FUZZ_CHECK(span_equals(again.body, m.body) && span_equals(again.topic, m.topic) && span_equals(again.properties, m.properties));
        message_body_crc(m.body.data, m.body.len);
        message_property(m.properties, SPAN_LITERAL("UNIQ_KEY"));
    }
    FUZZ_CHECK(rc == MESSAGE_END ? r.pos == len : r.failed);
}

static void check_id(const uint8_t *data, size_t len)
{
    struct offset_message_id id, again;
    char text[OFFSET_MESSAGE_ID_MAX + 1];
    if (offset_message_id_parse((struct span){(const char *)data, len}, &id) < 0)
        return;
    FUZZ_CHECK(offset_message_id_format(text, &id) == len);
    FUZZ_CHECK(offset_message_id_parse((struct span){text, len}, &again) == 0);
    FUZZ_CHECK(again.commit_log_offset == id.commit_log_offset && again.store_host.port == id.store_host.port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len > OUT_BYTES)
        return 0;
    check_batch(data, len);
    check_stored(data, len);
    check_id(data, len);
    message_property((struct span){(const char *)data, len}, SPAN_LITERAL("KEYS"));
    return 0;
}
