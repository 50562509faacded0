/*
 * Frames recorded from the real 4.9.3 Java client, from scripts, and from 4.9.3
 * and 5.3.3 servers. Every one must decode to what the recorder noted in
 * tests/frames/index.txt, survive a round trip through both header encodings,
 * and, where we send the same kind of frame, equal what we encode.
 *
 * Not compared, because it cannot or must not be equal: language (we say CPP),
 * opaque, header encoding, time stamps, UNIQ_KEY, clientId.
 */
#include "hub/protocol/heartbeat_data.h"
#include "hub/protocol/message_codec.h"
#include "hub/protocol/send_message_header.h"
#include "hub/protocol/topic_route_data.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/frames/frames.h"

static char scratch[FRAME_MAX_BYTES];

/* ---- a recorded frame and what is known about it ---- */

struct recorded {
    char name[128];
    char bytes[FRAME_MAX_BYTES];
    size_t len;
    struct remoting_command command;
};

static void load(struct recorded *r, const char *name)
{
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->len = frame_load(name, r->bytes);
    int rc = remoting_command_decode(&r->command, r->bytes, r->len, scratch, sizeof(scratch));
    if (rc != 0)
        fail_msg("%s: decode gives %d", name, rc);
}

/* Resolves \xNN of the index in place; returns the length. */
static size_t unprintable(char *text)
{
    size_t n = 0;
    for (const char *p = text; *p;) {
        unsigned byte = (unsigned char)*p;
        int step = 1;
        if (*p == '\\')
            assert_int_equal(sscanf(p, "\\x%2x%n", &byte, &step), 1);
        text[n++] = (char)byte;
        p += step;
    }
    return n;
}

static void assert_text(const struct recorded *r, const char *what, struct span actual, char *expected)
{
    size_t len = unprintable(expected);
    if (!actual.data || !span_equals(actual, (struct span){expected, len}))
        fail_msg("%s: %s differs", r->name, what);
}

static void check_frame_line(struct recorded *r, const char *line)
{
    char name[128], language[32];
    size_t bytes;
    int type, header_bytes, code, flag, opaque, version;
    assert_int_equal(
        sscanf(line, "%127s %zu %d %d %d %d %31s %d %d", name, &bytes, &type, &header_bytes, &code, &flag, language, &opaque, &version), 9);
    load(r, name);
    assert_int_equal(r->len, bytes);
    assert_int_equal(r->command.serialize_type, type);
    assert_int_equal(r->command.code, code);
    assert_int_equal(r->command.flag, flag);
    assert_string_equal(language_code_name(r->command.language), language);
    assert_int_equal(r->command.opaque, opaque);
    assert_int_equal(r->command.version, version);
    assert_int_equal(r->len - r->command.body.len, 8 + header_bytes);
}

static void check_body_line(const struct recorded *r, const char *line)
{
    size_t len;
    unsigned crc;
    assert_int_equal(sscanf(line, "%zu %x", &len, &crc), 2);
    assert_int_equal(r->command.body.len, len);
    assert_int_equal(message_body_crc(r->command.body.data, len), crc & 0x7fffffff);
}

/* Calls each() for every recorded frame, after its lines were compared with it. Returns the number of frames. */
static unsigned for_each_recorded(void (*each)(const struct recorded *))
{
    static char line[FRAME_MAX_BYTES];
    static struct recorded r;
    unsigned frames = 0, ext = 0;
    FILE *index = fopen(RMQHUB_FRAMES_DIR "/index.txt", "r");
    assert_non_null(index);
    while (fgets(line, sizeof(line), index)) {
        char *value = line + strcspn(line, " ") + 1, *key;
        line[strcspn(line, "\n")] = '\0';
        switch (line[0]) {
        case 'f':
            check_frame_line(&r, value);
            frames++;
            ext = 0;
            break;
        case 'r':
            assert_text(&r, "remark", r.command.remark, value);
            break;
        case 'e':
            key = value;
            value = key + strcspn(key, " ");
            *value++ = '\0';
            assert_text(&r, key, remoting_command_ext(&r.command, key), value);
            ext++;
            break;
        default:
            check_body_line(&r, value);
            assert_int_equal(r.command.ext_count, ext);
            if (each)
                each(&r);
        }
    }
    fclose(index);
    return frames;
}

static void test_every_recorded_frame_decodes(void **state)
{
    (void)state;
    assert_int_equal(for_each_recorded(NULL), 128);
}

/* ---- round trips ---- */

static size_t encode_again(const struct remoting_command *c, enum serialize_type type, char *buf, size_t cap)
{
    struct remoting_encoder e;
    size_t len = 0;
    remoting_encode_begin(&e, buf, cap, type, c->code, c->language, c->version, c->opaque, c->flag);
    remoting_encode_remark(&e, c->remark);
    for (unsigned i = 0; i < c->ext_count; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)c->ext[i].key.len, c->ext[i].key.data);
        remoting_encode_ext(&e, key, c->ext[i].value);
    }
    void *body = remoting_encode_body(&e, c->body.len, &len);
    assert_non_null(body);
    memcpy(body, c->body.data, c->body.len);
    return len;
}

static void assert_same_command(const struct remoting_command *a, const struct remoting_command *b)
{
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->flag, b->flag);
    assert_int_equal(a->language, b->language);
    assert_int_equal(a->opaque, b->opaque);
    assert_int_equal(a->version, b->version);
    assert_true(span_equals(a->remark, b->remark));
    assert_true(span_equals(a->body, b->body));
    assert_int_equal(a->ext_count, b->ext_count);
    for (unsigned i = 0; i < a->ext_count; i++) {
        assert_true(span_equals(a->ext[i].key, b->ext[i].key));
        assert_true(span_equals(a->ext[i].value, b->ext[i].value));
    }
}

/* The Java client's frames, and all replies: those come from Java servers. The rest is from scripts. */
static bool written_by_java(const struct recorded *r)
{
    return strncmp(r->name, "java_", 5) == 0 || strstr(r->name, "_resp.bin");
}

static void round_trip(const struct recorded *r)
{
    static char buf[4 * FRAME_MAX_BYTES], scratch_2[FRAME_MAX_BYTES];
    struct remoting_command again;
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        size_t len = encode_again(&r->command, (enum serialize_type)type, buf, sizeof(buf));
        assert_int_equal(remoting_command_decode(&again, buf, len, scratch_2, sizeof(scratch_2)), 0);
        assert_int_equal(again.serialize_type, type);
        assert_same_command(&r->command, &again);
        /* What Java wrote we write byte for byte; an empty map ({}) is the one thing that we leave out. */
        if (type == SERIALIZE_JSON && written_by_java(r) && !strstr(r->bytes + 8, "\"extFields\":{}")) {
            assert_int_equal(len, r->len);
            assert_memory_equal(buf, r->bytes, len);
        }
    }
}

static void test_round_trips(void **state)
{
    (void)state;
    for_each_recorded(round_trip);
}

static void split_everywhere(const struct recorded *r)
{
    size_t len;
    for (size_t have = 0; have < r->len; have++) {
        assert_int_equal(remoting_frame_split(r->bytes, have, &len), -EAGAIN);
        assert_int_equal(len, have < 4 ? 0 : r->len);
    }
    assert_int_equal(remoting_frame_split(r->bytes, r->len, &len), 0);
}

static void test_a_cut_frame_waits_for_the_rest(void **state)
{
    (void)state;
    for_each_recorded(split_everywhere);
}

static void truncate_header(const struct recorded *r)
{
    static char buf[FRAME_MAX_BYTES];
    size_t header_len = r->len - 8 - r->command.body.len;
    struct remoting_command c;
    for (size_t cut = 0; cut < header_len; cut++) {
        memcpy(buf, r->bytes, 8 + cut);
        be32_store(buf, (uint32_t)(4 + cut));
        be32_store(buf + 4, (uint32_t)r->command.serialize_type << 24 | (uint32_t)cut);
        assert_int_equal(remoting_command_decode(&c, buf, 8 + cut, scratch, sizeof(scratch)), -EPROTO);
    }
}

static void test_a_truncated_header_is_refused(void **state)
{
    (void)state;
    for_each_recorded(truncate_header);
}

static void compare_fast_and_general(const struct recorded *r)
{
    static char scratch_2[FRAME_MAX_BYTES];
    struct send_response fast;
    int64_t n;
    assert_int_equal(send_response_decode(r->bytes, r->len, &fast, scratch_2, sizeof(scratch_2)), 0);
    assert_int_equal(fast.code, r->command.code);
    assert_int_equal(fast.opaque, r->command.opaque);
    assert_int_equal(fast.flag, r->command.flag);
    assert_int_equal(fast.version, r->command.version);
    assert_true(span_equals(fast.remark, r->command.remark));
    assert_true(span_equals(fast.msg_id, remoting_command_ext(&r->command, "msgId")));
    assert_true(span_equals(fast.transaction_id, remoting_command_ext(&r->command, "transactionId")));
    assert_true(fast.queue_id == (remoting_command_ext_i64(&r->command, "queueId", &n) ? n : -1));
    assert_true(fast.queue_offset == (remoting_command_ext_i64(&r->command, "queueOffset", &n) ? n : -1));
}

static void test_every_frame_reads_as_a_send_response(void **state)
{
    (void)state;
    for_each_recorded(compare_fast_and_general);
}

/* ---- what we encode equals what the Java client sent ---- */

/* Fields in which our frame may differ from Java's; everything else must be equal, in both directions. */
static const char *const FREE_EXT_FIELDS[] = {"clientID", "g"}; /* g: born timestamp */
static const char FREE_PROPERTY[] = "UNIQ_KEY";

static bool is_free(struct span key)
{
    for (size_t i = 0; i < sizeof(FREE_EXT_FIELDS) / sizeof(FREE_EXT_FIELDS[0]); i++)
        if (span_equals(key, span_of(FREE_EXT_FIELDS[i])))
            return true;
    return false;
}

static void assert_same_fields(const struct remoting_command *ours, const struct remoting_command *java)
{
    assert_int_equal(ours->code, java->code);
    assert_int_equal(ours->flag, java->flag);
    assert_int_equal(ours->version, java->version);
    assert_true(span_equals(ours->remark, java->remark));
    assert_int_equal(ours->ext_count, java->ext_count);
    for (unsigned i = 0; i < java->ext_count; i++) {
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)java->ext[i].key.len, java->ext[i].key.data);
        struct span value = remoting_command_ext(ours, key);
        assert_non_null(value.data);
        if (!is_free(java->ext[i].key) && !span_equals(value, java->ext[i].value))
            fail_msg("ext field %s differs", key);
    }
}

static void begin_ours(struct remoting_encoder *e, char *buf, enum serialize_type type, int32_t code)
{
    remoting_encode_begin(e, buf, FRAME_MAX_BYTES, type, code, LANGUAGE_CPP, PROTOCOL_VERSION_4_9_3, 4711, 0);
}

static void decode_ours(struct remoting_command *c, struct remoting_encoder *e, char *buf)
{
    static char own_scratch[FRAME_MAX_BYTES];
    size_t len;
    assert_non_null(remoting_encode_body(e, 0, &len));
    assert_int_equal(remoting_command_decode(c, buf, len, own_scratch, sizeof(own_scratch)), 0);
}

static void test_route_request_equals_java(void **state)
{
    (void)state;
    static struct recorded java;
    load(&java, "java_route_existing_req.bin");
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        char buf[FRAME_MAX_BYTES];
        struct remoting_encoder e;
        struct remoting_command ours;
        begin_ours(&e, buf, (enum serialize_type)type, REQUEST_GET_ROUTEINFO_BY_TOPIC);
        remoting_encode_ext(&e, "topic", SPAN_LITERAL("SpecJava"));
        decode_ours(&ours, &e, buf);
        assert_same_fields(&ours, &java.command);
        assert_int_equal(java.command.body.len, 0);
    }
}

static void unregister_equals(const char *file, struct span group)
{
    static struct recorded java;
    load(&java, file);
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        char buf[FRAME_MAX_BYTES];
        struct remoting_encoder e;
        struct remoting_command ours;
        begin_ours(&e, buf, (enum serialize_type)type, REQUEST_UNREGISTER_CLIENT);
        remoting_encode_ext(&e, "clientID", SPAN_LITERAL("10.0.0.1@ours"));
        remoting_encode_ext(&e, "producerGroup", group);
        decode_ours(&ours, &e, buf);
        assert_same_fields(&ours, &java.command);
        assert_int_equal(java.command.body.len, 0);
    }
}

static void test_unregister_request_equals_java(void **state)
{
    (void)state;
    unregister_equals("java_unregister_producer_req.bin", SPAN_LITERAL("SpecGroup"));
    unregister_equals("java_unregister_inner_producer_req.bin", SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER));
}

static void test_heartbeat_equals_java(void **state)
{
    (void)state;
    static struct recorded java;
    char buf[FRAME_MAX_BYTES], body[512];
    const struct span groups[] = {SPAN_LITERAL("SpecGroup"), SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER)};
    struct remoting_encoder e;
    struct remoting_command ours;
    size_t len;
    load(&java, "java_heartbeat_producer_req.bin");
    begin_ours(&e, buf, SERIALIZE_ROCKETMQ, REQUEST_HEART_BEAT);
    decode_ours(&ours, &e, buf);
    assert_same_fields(&ours, &java.command);
    /* With the client id of the recording the body is the same byte for byte. */
    assert_int_equal(heartbeat_data_encode(SPAN_LITERAL("192.0.2.2@specInst"), groups, 2, body, sizeof(body), &len), 0);
    assert_true(span_equals((struct span){body, len}, java.command.body));
}

/* Java's properties without UNIQ_KEY, which is ours to choose. */
static size_t drop_free_property(struct span properties, char *dst)
{
    size_t n = 0;
    for (const char *p = properties.data, *end = p + properties.len; p < end;) {
        const char *stop = memchr(p, PROPERTY_SEPARATOR, (size_t)(end - p));
        stop = stop ? stop : end;
        if (strncmp(p, FREE_PROPERTY, sizeof(FREE_PROPERTY) - 1) != 0) {
            if (n)
                dst[n++] = PROPERTY_SEPARATOR;
            memcpy(dst + n, p, (size_t)(stop - p));
            n += (size_t)(stop - p);
        }
        p = stop + 1;
    }
    return n;
}

/* Encodes what the recorded message says, as the hub would, and compares the frames. */
static void send_equals(const char *file, const struct send_message_header *ours, const char *expected_properties)
{
    static struct recorded java;
    char without[FRAME_MAX_BYTES];
    load(&java, file);
    struct span properties = remoting_command_ext(&java.command, "i");
    struct span rest = {without, drop_free_property(properties, without)};
    assert_true(span_equals(rest, span_of(expected_properties)));
    for (int type = SERIALIZE_JSON; type <= SERIALIZE_ROCKETMQ; type++) {
        static char buf[FRAME_MAX_BYTES], own_scratch[FRAME_MAX_BYTES];
        struct remoting_identity identity = {(enum serialize_type)type, LANGUAGE_CPP, PROTOCOL_VERSION_4_9_3, 4711, java.command.flag};
        struct send_message_header header = *ours;
        struct remoting_command decoded;
        size_t len;
        header.properties = properties;
        void *body = send_message_encode(buf, sizeof(buf), &identity, &header, java.command.body.len, &len);
        assert_non_null(body);
        assert_true(len <= send_message_frame_bound((enum serialize_type)type, &header, java.command.body.len));
        memcpy(body, java.command.body.data, java.command.body.len);
        assert_int_equal(remoting_command_decode(&decoded, buf, len, own_scratch, sizeof(own_scratch)), 0);
        assert_same_fields(&decoded, &java.command);
        assert_true(span_equals(decoded.body, java.command.body));
    }
}

static void test_send_v2_equals_java(void **state)
{
    (void)state;
    struct send_message_header header = {.producer_group = SPAN_LITERAL("SpecGroup"),
                                         .topic = SPAN_LITERAL("SpecJava"),
                                         .default_topic = SPAN_LITERAL(TOPIC_AUTO_CREATE),
                                         .born_timestamp_ms = 1,
                                         .default_topic_queue_nums = 4,
                                         .max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT};
    send_equals("java_send_v2_req.bin", &header,
                "KEYS\x01key1 key2\x02u1\x01v1\x02WAIT\x01true\x02TAGS\x01"
                "TagA");
    header.queue_id = 1;
    send_equals("java_send_oneway_req.bin", &header, "WAIT\x01true");
    header.queue_id = 3;
    send_equals("java_send_v2_delay_req.bin", &header,
                "WAIT\x01true\x02"
                "DELAY\x01"
                "1\x02TAGS\x01"
                "delay");
    header.producer_group = SPAN_LITERAL("SpecTxGroup");
    header.sys_flag = SYS_FLAG_TRANSACTION_PREPARED;
    send_equals("java_tx_prepare_req.bin", &header, "KEYS\x01k\x02TRAN_MSG\x01true\x02WAIT\x01true\x02PGROUP\x01SpecTxGroup\x02TAGS\x01tx");
    header.producer_group = SPAN_LITERAL("SpecGroup");
    header.sys_flag = 0;
    header.queue_id = 0;
    header.batch = true;
    send_equals("java_send_batch_req.bin", &header, "WAIT\x01true");
}

/* Every send that Java made reads back into a header from which the same frame is written. */
static void resend(const struct recorded *r)
{
    struct send_message_header header;
    const char *missing;
    if (r->command.language != LANGUAGE_JAVA || r->command.flag & REMOTING_FLAG_RESPONSE ||
        (r->command.code != REQUEST_SEND_MESSAGE_V2 && r->command.code != REQUEST_SEND_BATCH_MESSAGE))
        return;
    assert_int_equal(send_message_header_decode(&r->command, &header, &missing), 0);
    struct remoting_identity identity = {SERIALIZE_JSON, r->command.language, r->command.version, r->command.opaque, r->command.flag};
    static char buf[2 * FRAME_MAX_BYTES];
    size_t len;
    void *body = send_message_encode(buf, sizeof(buf), &identity, &header, r->command.body.len, &len);
    assert_non_null(body);
    memcpy(body, r->command.body.data, r->command.body.len);
    assert_int_equal(len, r->len);
    assert_memory_equal(buf, r->bytes, len);
}

static void test_java_sends_are_written_byte_for_byte(void **state)
{
    (void)state;
    for_each_recorded(resend);
}

/* ---- bodies ---- */

static void route_body(const struct recorded *r)
{
    if (!strstr(r->name, "route") || r->command.body.len == 0)
        return;
    struct topic_route_data *route = NULL;
    char buf[FRAME_MAX_BYTES];
    size_t len;
    assert_int_equal(topic_route_data_decode(&route, r->command.body.data, r->command.body.len), 0);
    assert_int_equal(route->queue_data_count, 1);
    assert_int_equal(route->broker_data_count, 1);
    assert_int_equal(topic_route_data_encode(route, false, buf, sizeof(buf), &len), 0);
    /* A 4.9.3 nameserver writes the same bytes; 5.x adds members. */
    if (r->command.version == PROTOCOL_VERSION_4_9_3)
        assert_true(span_equals((struct span){buf, len}, r->command.body));
    topic_route_data_free(route);
}

static void test_route_bodies(void **state)
{
    (void)state;
    for_each_recorded(route_body);
}

static void test_batch_body(void **state)
{
    (void)state;
    static struct recorded r;
    struct batch_member member;
    char rebuilt[FRAME_MAX_BYTES];
    struct byte_writer w = byte_writer_of(rebuilt, sizeof(rebuilt));
    unsigned members = 0;
    load(&r, "java_send_batch_req.bin");
    struct byte_reader reader = byte_reader_of(r.command.body.data, r.command.body.len);
    while (batch_next(&reader, &member) == 0) {
        char body[16];
        snprintf(body, sizeof(body), "batch%u", members++);
        assert_true(span_equals(member.body, span_of(body)));
        assert_true(span_equals(message_property(member.properties, SPAN_LITERAL("TAGS")), SPAN_LITERAL("TagB")));
        assert_int_equal(member.flag, 0);
        assert_int_equal(batch_member_bytes(&member), 0x7a);
        batch_append(&w, &member);
    }
    assert_int_equal(members, 2);
    assert_false(w.failed);
    assert_true(span_equals((struct span){rebuilt, w.pos}, r.command.body));
}

static void test_stored_message(void **state)
{
    (void)state;
    static struct recorded r;
    struct stored_message m;
    char rebuilt[FRAME_MAX_BYTES];
    load(&r, "py_view_message_resp.bin");
    struct byte_reader reader = byte_reader_of(r.command.body.data, r.command.body.len);
    assert_int_equal(stored_message_next(&reader, &m), 0);
    assert_int_equal(m.body_crc, 0x15e0fc68);
    assert_int_equal(m.queue_id, 0);
    assert_int_equal(m.queue_offset, 12);
    assert_int_equal(m.commit_log_offset, 0x20f567d3);
    assert_true(m.born_timestamp_ms == 0x1a209ed2d17);
    assert_true(m.store_timestamp_ms == 0x1a209ed2d17);
    assert_int_equal(m.born_host.port, 0xe4dc);
    assert_int_equal(m.store_host.port, 20911);
    assert_memory_equal(m.store_host.addr, "\x7f\0\0\1", 4);
    assert_true(span_equals(m.body, SPAN_LITERAL("binary header")));
    assert_true(span_equals(m.topic, SPAN_LITERAL("SpecPy")));
    assert_int_equal(m.properties.len, 0x55);
    assert_true(span_equals(message_property(m.properties, SPAN_LITERAL("CLUSTER")), SPAN_LITERAL("DefaultCluster")));
    assert_int_equal(message_body_crc(m.body.data, m.body.len), m.body_crc);
    assert_int_equal(stored_message_next(&reader, &m), MESSAGE_END);

    reader = byte_reader_of(r.command.body.data, r.command.body.len);
    stored_message_next(&reader, &m);
    struct byte_writer w = byte_writer_of(rebuilt, sizeof(rebuilt));
    stored_message_encode(&w, &m);
    assert_false(w.failed);
    assert_true(span_equals((struct span){rebuilt, w.pos}, r.command.body));
}

static void test_stored_messages_in_pushes_and_pulls(void **state)
{
    (void)state;
    static struct recorded r;
    static const char *const files[] = {"java_push_check_transaction_state.bin", "java_pull_found_resp.bin"};
    for (size_t i = 0; i < 2; i++) {
        struct stored_message m;
        load(&r, files[i]);
        struct byte_reader reader = byte_reader_of(r.command.body.data, r.command.body.len);
        assert_int_equal(stored_message_next(&reader, &m), 0);
        assert_int_equal(message_body_crc(m.body.data, m.body.len), m.body_crc);
        assert_int_equal(stored_message_next(&reader, &m), MESSAGE_END);
    }
}

static void test_heartbeat_bodies(void **state)
{
    (void)state;
    static struct recorded r;
    static struct heartbeat_data data;
    load(&r, "java_heartbeat_consumer_req.bin");
    assert_int_equal(heartbeat_data_decode(&data, r.command.body.data, r.command.body.len, scratch, sizeof(scratch)), 0);
    assert_true(span_equals(data.client_id, SPAN_LITERAL("192.0.2.2@specC")));
    assert_int_equal(data.producer_group_count, 1);
    assert_true(span_equals(data.producer_groups[0], SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER)));
    assert_int_equal(data.consumer_group_count, 1);
    assert_true(span_equals(data.consumer_groups[0], SPAN_LITERAL("SpecReqConsumer")));
    load(&r, "v5_heartbeat_req.bin");
    assert_int_equal(heartbeat_data_decode(&data, r.command.body.data, r.command.body.len, scratch, sizeof(scratch)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_recorded_frame_decodes),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_a_cut_frame_waits_for_the_rest),
        cmocka_unit_test(test_a_truncated_header_is_refused),
        cmocka_unit_test(test_every_frame_reads_as_a_send_response),
        cmocka_unit_test(test_route_request_equals_java),
        cmocka_unit_test(test_unregister_request_equals_java),
        cmocka_unit_test(test_heartbeat_equals_java),
        cmocka_unit_test(test_send_v2_equals_java),
        cmocka_unit_test(test_java_sends_are_written_byte_for_byte),
        cmocka_unit_test(test_route_bodies),
        cmocka_unit_test(test_batch_body),
        cmocka_unit_test(test_stored_message),
        cmocka_unit_test(test_stored_messages_in_pushes_and_pulls),
        cmocka_unit_test(test_heartbeat_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
