/* Frames: splitting, both header encodings both ways, and every kind of bad input of the protocol's description. */
#include "hub/remoting/remoting_codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char scratch[REMOTING_SCRATCH_BYTES];

/* A frame with the given encoding byte, header and body. */
struct frame {
    char bytes[8192];
    size_t len;
};

static void frame_make(struct frame *f, int type, const void *header, size_t header_len, const char *body)
{
    size_t body_len = strlen(body);
    be32_store(f->bytes, (uint32_t)(4 + header_len + body_len));
    be32_store(f->bytes + 4, (uint32_t)type << 24 | (uint32_t)header_len);
    memcpy(f->bytes + 8, header, header_len);
    memcpy(f->bytes + 8 + header_len, body, body_len);
    f->len = 8 + header_len + body_len;
}

static int decode(struct remoting_command *c, const struct frame *f)
{
    return remoting_command_decode(c, f->bytes, f->len, scratch, sizeof(scratch));
}

static int decode_json(struct remoting_command *c, const char *header)
{
    static struct frame f; /* static: the spans of c point into it */
    frame_make(&f, SERIALIZE_JSON, header, strlen(header), "");
    return decode(c, &f);
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

/* ---- splitting ---- */

static int split_words(uint32_t total, uint32_t packed, size_t len, size_t *frame_len)
{
    char bytes[8];
    be32_store(bytes, total);
    be32_store(bytes + 4, packed);
    return remoting_frame_split(bytes, len, frame_len);
}

static void test_split_waits_for_more(void **state)
{
    (void)state;
    size_t len = 99;
    for (size_t have = 0; have < 4; have++) {
        assert_int_equal(split_words(100, 90, have, &len), -EAGAIN);
        assert_int_equal(len, 0);
    }
    for (size_t have = 4; have <= 8; have++) {
        assert_int_equal(split_words(100, 90, have, &len), -EAGAIN);
        assert_int_equal(len, 104);
    }
    assert_int_equal(split_words(4, 0, 8, &len), 0);
    assert_int_equal(len, 8);
}

static void test_split_finds_the_first_of_many(void **state)
{
    (void)state;
    struct frame f;
    size_t len;
    frame_make(&f, SERIALIZE_JSON, "{}", 2, "body");
    memset(f.bytes + f.len, 0xff, 16);
    assert_int_equal(remoting_frame_split(f.bytes, f.len + 16, &len), 0);
    assert_int_equal(len, f.len);
}

static void test_split_refuses_lengths_nobody_sends(void **state)
{
    (void)state;
    size_t len;
    assert_int_equal(split_words(0, 0, 4, &len), -EPROTO);
    assert_int_equal(split_words(3, 0, 4, &len), -EPROTO);
    assert_int_equal(split_words(0xffffffff, 0, 4, &len), -EPROTO);
    assert_int_equal(split_words(0x80000000, 0, 4, &len), -EPROTO);
    assert_int_equal(split_words(16777213, 0, 4, &len), -EPROTO);
    assert_int_equal(split_words(16777212, 0, 4, &len), -EAGAIN); /* the largest legal one */
    assert_int_equal(len, REMOTING_FRAME_MAX);
    assert_int_equal(split_words(100, 97, 8, &len), -EPROTO); /* header longer than the frame */
    assert_int_equal(split_words(100, 96, 8, &len), -EAGAIN);
    assert_int_equal(split_words(100, 2u << 24 | 50, 8, &len), -EPROTO); /* unknown encoding */
    assert_int_equal(remoting_frame_split("HTTP/1.1 400 Bad Request", 24, &len), -EPROTO);
    assert_int_equal(remoting_frame_split("\x16\x03\x01\x02\x00\x01\x00\x01", 8, &len), -EPROTO); /* TLS ClientHello */
}

static void test_decode_wants_exactly_one_frame(void **state)
{
    (void)state;
    struct frame f;
    struct remoting_command c;
    frame_make(&f, SERIALIZE_JSON, "{\"code\":1}", 10, "abc");
    assert_int_equal(decode(&c, &f), 0);
    for (size_t len = 0; len < f.len; len++)
        assert_int_equal(remoting_command_decode(&c, f.bytes, len, scratch, sizeof(scratch)), -EPROTO);
    assert_int_equal(remoting_command_decode(&c, f.bytes, f.len + 1, scratch, sizeof(scratch)), -EPROTO);
}

/* ---- JSON header ---- */

static void test_json_header(void **state)
{
    (void)state;
    struct frame f;
    struct remoting_command c;
    const char *header = "{\"code\":17,\"extFields\":{\"TRACE_ON\":\"true\",\"n\":\"-5\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":-7,"
                         "\"remark\":\"topic[T] not exist\\nSee\",\"serializeTypeCurrentRPC\":\"ROCKETMQ\",\"version\":399}";
    frame_make(&f, SERIALIZE_JSON, header, strlen(header), "the body");
    assert_int_equal(decode(&c, &f), 0);
    assert_int_equal(c.code, 17);
    assert_int_equal(c.flag, 1);
    assert_true(remoting_command_is_response(&c));
    assert_false(remoting_command_is_oneway(&c));
    assert_int_equal(c.language, LANGUAGE_JAVA);
    assert_int_equal(c.opaque, -7);
    assert_int_equal(c.version, 399);
    assert_int_equal(c.serialize_type, SERIALIZE_JSON); /* the packed byte decides, not the member */
    assert_span(c.remark, "topic[T] not exist\nSee");
    assert_false(c.remark_cut);
    assert_span(c.body, "the body");
    assert_int_equal(c.ext_count, 2);
    assert_span(remoting_command_ext(&c, "TRACE_ON"), "true");
    assert_null(remoting_command_ext(&c, "TRACE").data);
    int64_t n = 0;
    assert_true(remoting_command_ext_i64(&c, "n", &n));
    assert_int_equal(n, -5);
    assert_false(remoting_command_ext_i64(&c, "TRACE_ON", &n));
    assert_false(remoting_command_ext_i64(&c, "none", &n));
    assert_int_equal(n, -5);
}

static void test_json_header_defaults(void **state)
{
    (void)state;
    struct remoting_command c;
    assert_int_equal(decode_json(&c, "{}"), 0);
    assert_int_equal(c.code | c.flag | c.opaque | c.version, 0);
    assert_int_equal(c.language, LANGUAGE_JAVA);
    assert_null(c.remark.data);
    assert_int_equal(c.ext_count, 0);
    assert_int_equal(c.body.len, 0);
    assert_int_equal(decode_json(&c, "{\"extFields\":null,\"remark\":null,\"language\":null,\"code\":null}"), 0);
    assert_null(c.remark.data);
    assert_int_equal(decode_json(&c, "{\"extFields\":{}}"), 0);
    assert_int_equal(c.ext_count, 0);
}

static void test_json_header_tolerates(void **state)
{
    (void)state;
    struct remoting_command c;
    /* Unknown members of any shape, any order, white space, quoted integers, unquoted ext values, nulls. */
    assert_int_equal(decode_json(&c, "{ \"new\":{\"x\":[1,{}]}, \"version\" : \"479\", \"opaque\":\"-3\",\"language\":\"rust\",\n"
                                     "\"extFields\":{\"i\":1,\"b\":true,\"none\":null,\"i\":2,\"d\":0.5} }"),
                     0);
    assert_int_equal(c.version, 479);
    assert_int_equal(c.opaque, -3);
    assert_int_equal(c.language, LANGUAGE_RUST);
    assert_int_equal(c.ext_count, 4);
    assert_span(remoting_command_ext(&c, "b"), "true");
    assert_span(remoting_command_ext(&c, "i"), "2"); /* the last one counts */
    assert_span(remoting_command_ext(&c, "d"), "0.5");
    assert_null(remoting_command_ext(&c, "none").data);
    assert_int_equal(decode_json(&c, "{\"language\":9}"), 0);
    assert_int_equal(c.language, LANGUAGE_GO);
    assert_int_equal(decode_json(&c, "{\"language\":\"COBOL\"}"), 0);
    assert_int_equal(c.language, LANGUAGE_UNKNOWN);
    assert_int_equal(decode_json(&c, "{\"language\":14}"), 0);
    assert_int_equal(c.language, LANGUAGE_UNKNOWN);
}

static void test_json_header_refuses(void **state)
{
    (void)state;
    struct remoting_command c;
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "7",
                                      "{",
                                      "{\"code\":1",
                                      "{\"code\":1}x",
                                      "{\"code\":1}{}",
                                      "{\"code\":2147483648}",
                                      "{\"opaque\":4294967296}",
                                      "{\"opaque\":-2147483649}",
                                      "{\"flag\":1.5}",
                                      "{\"code\":\"x\"}",
                                      "{\"code\":{}}",
                                      "{\"extFields\":[]}",
                                      "{\"extFields\":{\"a\":{}}}",
                                      "{\"extFields\":{\"a\":[1]}}",
                                      "{\"extFields\":{\"$ref\":\"$\"}}",
                                      "{\"remark\":{}}",
                                      "{\"remark\":\"\\q\"}",
                                      "not json at all",
                                      "{\"extFields\":{\"a\":\"b\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode_json(&c, bad[i]), -EPROTO);
}

static void test_json_ext_fields_are_counted(void **state)
{
    (void)state;
    struct remoting_command c;
    char header[2048];
    for (int fields = REMOTING_MAX_EXT_FIELDS; fields <= REMOTING_MAX_EXT_FIELDS + 1; fields++) {
        int n = sprintf(header, "{\"extFields\":{");
        for (int i = 0; i < fields; i++)
            n += sprintf(header + n, "%s\"k%d\":\"%d\"", i ? "," : "", i, i);
        sprintf(header + n, "}}");
        assert_int_equal(decode_json(&c, header), fields == REMOTING_MAX_EXT_FIELDS ? 0 : -EPROTO);
    }
    /* A second extFields replaces the first, so that the two together cannot overflow. */
    assert_int_equal(decode_json(&c, "{\"extFields\":{\"a\":\"1\",\"b\":\"2\"},\"extFields\":{\"c\":\"3\"}}"), 0);
    assert_int_equal(c.ext_count, 1);
}

static void test_a_long_remark_is_cut_not_refused(void **state)
{
    (void)state;
    struct frame f;
    struct remoting_command c;
    /* The remark comes first, and still leaves room for the field that matters. */
    const char *header = "{\"remark\":\"line\\nline\\nline\",\"extFields\":{\"msgId\":\"\\u0041B\"}}";
    frame_make(&f, SERIALIZE_JSON, header, strlen(header), "");
    assert_int_equal(remoting_command_decode(&c, f.bytes, f.len, scratch, 9), 0);
    assert_span(remoting_command_ext(&c, "msgId"), "AB");
    assert_span(c.remark, "line\nli");
    assert_true(c.remark_cut);
    assert_int_equal(remoting_command_decode(&c, f.bytes, f.len, scratch, 1), -ENOBUFS); /* an ext value is not cut */
    const char *plain = "{\"remark\":\"no escapes\"}";
    frame_make(&f, SERIALIZE_JSON, plain, strlen(plain), "");
    assert_int_equal(remoting_command_decode(&c, f.bytes, f.len, NULL, 0), 0);
    assert_span(c.remark, "no escapes");
}

/* ---- binary header ---- */

struct binary {
    char bytes[4096];
    struct byte_writer w;
};

static void binary_begin(struct binary *b, uint16_t code, uint8_t language, int32_t remark_len, const char *remark)
{
    b->w = byte_writer_of(b->bytes, sizeof(b->bytes));
    byte_writer_be16(&b->w, code);
    byte_writer_u8(&b->w, language);
    byte_writer_be16(&b->w, 399);
    byte_writer_be32(&b->w, 1024);
    byte_writer_be32(&b->w, 1);
    byte_writer_be32(&b->w, (uint32_t)remark_len);
    byte_writer_bytes(&b->w, remark, strlen(remark));
}

static void binary_ext(struct binary *b, int32_t key_len, const char *key, int32_t value_len, const char *value)
{
    byte_writer_be16(&b->w, (uint16_t)key_len);
    byte_writer_bytes(&b->w, key, strlen(key));
    byte_writer_be32(&b->w, (uint32_t)value_len);
    byte_writer_bytes(&b->w, value, strlen(value));
}

static int decode_binary(struct remoting_command *c, struct binary *b)
{
    static struct frame f;
    frame_make(&f, SERIALIZE_ROCKETMQ, b->bytes, b->w.pos, "");
    return decode(c, &f);
}

static void test_binary_header(void **state)
{
    (void)state;
    struct binary b;
    struct remoting_command c;
    binary_begin(&b, 17, 200, 4, "gone");
    byte_writer_be32(&b.w, 2 + 5 + 4 + 1 + 2 + 0 + 4 + 0);
    binary_ext(&b, 5, "topic", 1, "T");
    binary_ext(&b, 0, "", 0, "");
    assert_int_equal(decode_binary(&c, &b), 0);
    assert_int_equal(c.code, 17);
    assert_int_equal(c.language, LANGUAGE_UNKNOWN);
    assert_int_equal(c.version, 399);
    assert_int_equal(c.opaque, 1024);
    assert_int_equal(c.serialize_type, SERIALIZE_ROCKETMQ);
    assert_span(c.remark, "gone");
    assert_int_equal(c.ext_count, 2);
    assert_span(remoting_command_ext(&c, "topic"), "T");
    assert_span(remoting_command_ext(&c, ""), "");
    binary_begin(&b, 0xffff, LANGUAGE_GO, 0, "");
    byte_writer_be32(&b.w, 0);
    assert_int_equal(decode_binary(&c, &b), 0);
    assert_int_equal(c.code, -1); /* int16 */
    assert_null(c.remark.data);
    assert_int_equal(c.ext_count, 0);
}

static void test_binary_header_refuses(void **state)
{
    (void)state;
    static const struct {
        int32_t remark_len, block_len, key_len, value_len;
    } bad[] = {
        {-1, 0, 5, 1},        {100, 12, 5, 1},       {INT32_MAX, 12, 5, 1}, {0, -1, 5, 1},   {0, 13, 5, 1},
        {0, INT32_MAX, 5, 1}, {0, 12, -1, 1},        {0, 12, 6, 1},         {0, 12, 300, 1}, {0, 12, 5, 2},
        {0, 12, 5, -1},       {0, 12, 5, INT32_MAX}, {0, 11, 5, 1},         {0, 1, 5, 1},    {0, 3, 5, 1},
    };
    struct remoting_command c;
    struct binary b;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        binary_begin(&b, 0, 0, bad[i].remark_len, "");
        byte_writer_be32(&b.w, (uint32_t)bad[i].block_len);
        binary_ext(&b, bad[i].key_len, "topic", bad[i].value_len, "T");
        assert_int_equal(decode_binary(&c, &b), -EPROTO);
    }
    /* Cut short at every byte. */
    binary_begin(&b, 0, 0, 2, "rr");
    byte_writer_be32(&b.w, 12);
    binary_ext(&b, 5, "topic", 1, "T");
    for (size_t whole = b.w.pos; b.w.pos > 0; b.w.pos--)
        assert_int_equal(decode_binary(&c, &b), b.w.pos == whole ? 0 : -EPROTO);
}

static void test_binary_ext_fields_are_counted(void **state)
{
    (void)state;
    struct remoting_command c;
    struct binary b;
    for (int fields = REMOTING_MAX_EXT_FIELDS; fields <= REMOTING_MAX_EXT_FIELDS + 1; fields++) {
        binary_begin(&b, 0, 0, 0, "");
        byte_writer_be32(&b.w, (uint32_t)fields * 8);
        for (int i = 0; i < fields; i++)
            binary_ext(&b, 1, "k", 1, "v");
        assert_int_equal(decode_binary(&c, &b), fields == REMOTING_MAX_EXT_FIELDS ? 0 : -EPROTO);
    }
}

/* ---- encoding ---- */

static void *encode_all(void *buf, size_t cap, enum serialize_type type, size_t body_len, size_t *frame_len)
{
    struct remoting_encoder e;
    remoting_encode_begin(&e, buf, cap, type, 310, LANGUAGE_CPP, 399, -2, REMOTING_FLAG_ONEWAY);
    remoting_encode_remark(&e, SPAN_LITERAL("r\n\xc3\xa9"));
    remoting_encode_ext(&e, "i", SPAN_LITERAL("K\x01v\x02"));
    remoting_encode_ext(&e, "null", (struct span){NULL, 0});
    remoting_encode_ext(&e, "empty", SPAN_LITERAL(""));
    remoting_encode_ext_i64(&e, "g", 1795462867134);
    remoting_encode_ext_bool(&e, "k", false);
    remoting_encode_ext_bool(&e, "m", true);
    return remoting_encode_body(&e, body_len, frame_len);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        char buf[1024];
        size_t len = 0, split;
        struct remoting_command c;
        void *body = encode_all(buf, sizeof(buf), (enum serialize_type)type, 4, &len);
        assert_non_null(body);
        memcpy(body, "BODY", 4);
        assert_int_equal(remoting_frame_split(buf, len, &split), 0);
        assert_int_equal(split, len);
        assert_int_equal(remoting_command_decode(&c, buf, len, scratch, sizeof(scratch)), 0);
        assert_int_equal(c.code, 310);
        assert_int_equal(c.language, LANGUAGE_CPP);
        assert_int_equal(c.version, 399);
        assert_int_equal(c.opaque, -2);
        assert_true(remoting_command_is_oneway(&c));
        assert_int_equal(c.serialize_type, type);
        assert_span(c.remark, "r\n\xc3\xa9");
        assert_int_equal(c.ext_count, 5);
        assert_span(remoting_command_ext(&c, "i"), "K\x01v\x02");
        assert_span(remoting_command_ext(&c, "empty"), "");
        assert_span(remoting_command_ext(&c, "g"), "1795462867134");
        assert_span(remoting_command_ext(&c, "k"), "false");
        assert_span(remoting_command_ext(&c, "m"), "true");
        assert_span(c.body, "BODY");
    }
}

static void test_json_text_is_that_of_fastjson(void **state)
{
    (void)state;
    char buf[512];
    size_t len;
    static const char expected[] =
        "{\"code\":310,\"extFields\":{\"i\":\"K\\u0001v\\u0002\",\"empty\":\"\",\"g\":\"1795462867134\",\"k\":\"false\","
        "\"m\":\"true\"},\"flag\":2,\"language\":\"CPP\",\"opaque\":-2,\"remark\":\"r\\n\xc3\xa9\","
        "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":399}";
    assert_non_null(encode_all(buf, sizeof(buf), SERIALIZE_JSON, 0, &len));
    assert_int_equal(len, 8 + sizeof(expected) - 1);
    assert_memory_equal(buf + 8, expected, sizeof(expected) - 1);
}

static void test_encoder_stays_in_its_buffer(void **state)
{
    (void)state;
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        size_t whole, len;
        char *buf = malloc(1024);
        assert_non_null(encode_all(buf, 1024, (enum serialize_type)type, 10, &whole));
        assert_true(whole <= remoting_frame_bound((enum serialize_type)type, 5, 64, 10));
        free(buf);
        for (size_t cap = 0; cap < whole; cap++) {
            buf = malloc(cap ? cap : 1); /* so that AddressSanitizer sees the end */
            assert_null(encode_all(buf, cap, (enum serialize_type)type, 10, &len));
            free(buf);
        }
    }
}

static void test_encoder_refuses(void **state)
{
    (void)state;
    char buf[4096];
    size_t len;
    struct remoting_encoder e;
    /* What the binary header cannot carry. */
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_ROCKETMQ, 200050, LANGUAGE_CPP, 399, 1, 0);
    assert_null(remoting_encode_body(&e, 0, &len));
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_ROCKETMQ, 10, LANGUAGE_CPP, 40000, 1, 0);
    assert_null(remoting_encode_body(&e, 0, &len));
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_JSON, 200050, LANGUAGE_CPP, 399, 1, 0);
    assert_non_null(remoting_encode_body(&e, 0, &len));
    /* A language without a name. */
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_JSON, 10, LANGUAGE_UNKNOWN, 399, 1, 0);
    assert_null(remoting_encode_body(&e, 0, &len));
    /* Too many ext fields. */
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_JSON, 10, LANGUAGE_CPP, 399, 1, 0);
    for (int i = 0; i <= REMOTING_MAX_EXT_FIELDS; i++)
        remoting_encode_ext_i64(&e, "k", i);
    assert_null(remoting_encode_body(&e, 0, &len));
    /* A frame beyond the protocol's limit, however large the buffer claims to be. */
    remoting_encode_begin(&e, buf, SIZE_MAX, SERIALIZE_ROCKETMQ, 10, LANGUAGE_CPP, 399, 1, 0);
    assert_null(remoting_encode_body(&e, REMOTING_FRAME_MAX - 8 - 21 + 1, &len));
    remoting_encode_begin(&e, buf, SIZE_MAX, SERIALIZE_ROCKETMQ, 10, LANGUAGE_CPP, 399, 1, 0);
    assert_non_null(remoting_encode_body(&e, REMOTING_FRAME_MAX - 8 - 21, &len));
    assert_int_equal(len, REMOTING_FRAME_MAX);
}

static void test_language_names(void **state)
{
    (void)state;
    assert_string_equal(language_code_name(LANGUAGE_CPP), "CPP");
    assert_string_equal(language_code_name(LANGUAGE_NODE_JS), "NODE_JS");
    assert_null(language_code_name(LANGUAGE_UNKNOWN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split_waits_for_more),
        cmocka_unit_test(test_split_finds_the_first_of_many),
        cmocka_unit_test(test_split_refuses_lengths_nobody_sends),
        cmocka_unit_test(test_decode_wants_exactly_one_frame),
        cmocka_unit_test(test_json_header),
        cmocka_unit_test(test_json_header_defaults),
        cmocka_unit_test(test_json_header_tolerates),
        cmocka_unit_test(test_json_header_refuses),
        cmocka_unit_test(test_json_ext_fields_are_counted),
        cmocka_unit_test(test_a_long_remark_is_cut_not_refused),
        cmocka_unit_test(test_binary_header),
        cmocka_unit_test(test_binary_header_refuses),
        cmocka_unit_test(test_binary_ext_fields_are_counted),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_json_text_is_that_of_fastjson),
        cmocka_unit_test(test_encoder_stays_in_its_buffer),
        cmocka_unit_test(test_encoder_refuses),
        cmocka_unit_test(test_language_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
