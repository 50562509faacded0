/*
 * Binary layouts of messages. Cursors from bytes.h remember a failure, so each
 * layout reads as the list of its fields, checked once at its end.
 */
#include "hub/protocol/message_codec.h"

#include "hub/remoting/wire_json.h"
#include "shm/base/text.h"

#include <errno.h>
#include <pthread.h>

#define MAGIC_V1 0xdaa320a7u /* topic length is one byte */
#define MAGIC_V2 0xdaa320abu /* 5.x: two bytes */

/* Signed byte in Java. */
#define TOPIC_MAX_V1 127u

/* Member length, magic, CRC, flag, body length, properties length. */
#define BATCH_MEMBER_FIXED_BYTES 22u

/* Everything but hosts, body, topic length and texts. */
#define STORED_FIXED_BYTES (20u + 8 + 8 + 4 + 8 + 8 + 4 + 8 + 4 + 2)

static struct span take_span(struct byte_reader *r, size_t len)
{
    const uint8_t *p = byte_reader_take(r, len);
    return (struct span){(const char *)p, p ? len : 0};
}

/* ---- batch ---- */

size_t batch_member_bytes(const struct batch_member *member)
{
    return BATCH_MEMBER_FIXED_BYTES + member->body.len + member->properties.len;
}

void batch_append(struct byte_writer *w, const struct batch_member *member)
{
    size_t bytes = batch_member_bytes(member);
    if (member->properties.len > MESSAGE_PROPERTIES_MAX || bytes > INT32_MAX) {
        w->failed = true;
        return;
    }
    byte_writer_be32(w, (uint32_t)bytes);
    byte_writer_be32(w, 0); /* magic and CRC: brokers fill in their own */
    byte_writer_be32(w, 0);
    byte_writer_be32(w, (uint32_t)member->flag);
    byte_writer_be32(w, (uint32_t)member->body.len);
    byte_writer_bytes(w, member->body.data, member->body.len);
    byte_writer_be16(w, (uint16_t)member->properties.len);
    byte_writer_bytes(w, member->properties.data, member->properties.len);
}

/* Takes one record that starts with its own length, that field included. 0, MESSAGE_END, -EPROTO. */
static int take_record(struct byte_reader *r, struct byte_reader *record)
{
    if (r->failed)
        return -EPROTO;
    if (r->pos == r->len)
        return MESSAGE_END;
    uint32_t bytes = byte_reader_be32(r);
    if (bytes < 4)
        r->failed = true;
    const uint8_t *data = byte_reader_take(r, (size_t)bytes - 4);
    if (!data)
        return -EPROTO;
    *record = byte_reader_of(data, (size_t)bytes - 4);
    return 0;
}

/* A record must be used up, or its inner lengths did not belong to it. */
static int end_record(struct byte_reader *r, const struct byte_reader *record)
{
    if (!record->failed && record->pos == record->len)
        return 0;
    r->failed = true;
    return -EPROTO;
}

int batch_next(struct byte_reader *r, struct batch_member *out)
{
    struct byte_reader record;
    int rc = take_record(r, &record);
    if (rc != 0)
        return rc;
    byte_reader_take(&record, 8); /* magic and CRC */
    out->flag = (int32_t)byte_reader_be32(&record);
    out->body = take_span(&record, byte_reader_be32(&record));
    size_t properties_len = byte_reader_be16(&record);
    if (properties_len > MESSAGE_PROPERTIES_MAX)
        record.failed = true;
    out->properties = take_span(&record, properties_len);
    return end_record(r, &record);
}

/* ---- stored message ---- */

static size_t host_bytes(const struct message_host *host)
{
    return (host->addr_len == 16 ? 16u : 4u) + 4;
}

static void put_host(struct byte_writer *w, const struct message_host *host)
{
    byte_writer_bytes(w, host->addr, host->addr_len == 16 ? 16 : 4);
    byte_writer_be32(w, host->port);
}

static void take_host(struct byte_reader *r, bool v6, struct message_host *out)
{
    out->addr_len = v6 ? 16 : 4;
    memset(out->addr, 0, sizeof(out->addr));
    const uint8_t *addr = byte_reader_take(r, out->addr_len);
    if (addr)
        memcpy(out->addr, addr, out->addr_len);
    uint32_t port = byte_reader_be32(r);
    if (port > UINT16_MAX)
        r->failed = true;
    out->port = (uint16_t)port;
}

size_t stored_message_bytes(const struct stored_message *m)
{
    size_t topic_len_bytes = m->topic.len > TOPIC_MAX_V1 ? 2 : 1;
    return STORED_FIXED_BYTES + host_bytes(&m->born_host) + host_bytes(&m->store_host) + topic_len_bytes + m->body.len + m->topic.len +
           m->properties.len;
}

static int32_t sys_flag_with_hosts(const struct stored_message *m)
{
    int32_t flag = m->sys_flag & ~(SYS_FLAG_BORN_HOST_V6 | SYS_FLAG_STORE_HOST_V6);
    if (m->born_host.addr_len == 16)
        flag |= SYS_FLAG_BORN_HOST_V6;
    if (m->store_host.addr_len == 16)
        flag |= SYS_FLAG_STORE_HOST_V6;
    return flag;
}

void stored_message_encode(struct byte_writer *w, const struct stored_message *m)
{
    size_t bytes = stored_message_bytes(m);
    bool v2 = m->topic.len > TOPIC_MAX_V1;
    if (bytes > INT32_MAX || m->topic.len > INT16_MAX || m->properties.len > MESSAGE_PROPERTIES_MAX) {
        w->failed = true;
        return;
    }
    byte_writer_be32(w, (uint32_t)bytes);
    byte_writer_be32(w, v2 ? MAGIC_V2 : MAGIC_V1);
    byte_writer_be32(w, m->body_crc);
    byte_writer_be32(w, (uint32_t)m->queue_id);
    byte_writer_be32(w, (uint32_t)m->flag);
    byte_writer_be64(w, (uint64_t)m->queue_offset);
    byte_writer_be64(w, (uint64_t)m->commit_log_offset);
    byte_writer_be32(w, (uint32_t)sys_flag_with_hosts(m));
    byte_writer_be64(w, (uint64_t)m->born_timestamp_ms);
    put_host(w, &m->born_host);
    byte_writer_be64(w, (uint64_t)m->store_timestamp_ms);
    put_host(w, &m->store_host);
    byte_writer_be32(w, (uint32_t)m->reconsume_times);
    byte_writer_be64(w, (uint64_t)m->prepared_transaction_offset);
    byte_writer_be32(w, (uint32_t)m->body.len);
    byte_writer_bytes(w, m->body.data, m->body.len);
    if (v2)
        byte_writer_be16(w, (uint16_t)m->topic.len);
    else
        byte_writer_u8(w, (uint8_t)m->topic.len);
    byte_writer_bytes(w, m->topic.data, m->topic.len);
    byte_writer_be16(w, (uint16_t)m->properties.len);
    byte_writer_bytes(w, m->properties.data, m->properties.len);
}

int stored_message_next(struct byte_reader *r, struct stored_message *out)
{
    struct byte_reader record;
    int rc = take_record(r, &record);
    if (rc != 0)
        return rc;
    uint32_t magic = byte_reader_be32(&record);
    if (magic != MAGIC_V1 && magic != MAGIC_V2)
        record.failed = true;
    out->body_crc = byte_reader_be32(&record);
    out->queue_id = (int32_t)byte_reader_be32(&record);
    out->flag = (int32_t)byte_reader_be32(&record);
    out->queue_offset = (int64_t)byte_reader_be64(&record);
    out->commit_log_offset = (int64_t)byte_reader_be64(&record);
    out->sys_flag = (int32_t)byte_reader_be32(&record);
    out->born_timestamp_ms = (int64_t)byte_reader_be64(&record);
    take_host(&record, out->sys_flag & SYS_FLAG_BORN_HOST_V6, &out->born_host);
    out->store_timestamp_ms = (int64_t)byte_reader_be64(&record);
    take_host(&record, out->sys_flag & SYS_FLAG_STORE_HOST_V6, &out->store_host);
    out->reconsume_times = (int32_t)byte_reader_be32(&record);
    out->prepared_transaction_offset = (int64_t)byte_reader_be64(&record);
    out->body = take_span(&record, byte_reader_be32(&record));
    size_t topic_len = magic == MAGIC_V2 ? byte_reader_be16(&record) : byte_reader_u8(&record);
    if (topic_len > (magic == MAGIC_V2 ? (size_t)INT16_MAX : TOPIC_MAX_V1))
        record.failed = true;
    out->topic = take_span(&record, topic_len);
    size_t properties_len = byte_reader_be16(&record);
    if (properties_len > MESSAGE_PROPERTIES_MAX)
        record.failed = true;
    out->properties = take_span(&record, properties_len);
    return end_record(r, &record);
}

/* ---- CRC ---- */

/* Eight tables, so that eight bytes are taken in one step. */
static uint32_t crc_tables[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_fill_tables(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_tables[0][n] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int n = 0; n < 256; n++) {
            uint32_t c = crc_tables[t - 1][n];
            crc_tables[t][n] = crc_tables[0][c & 0xff] ^ c >> 8;
        }
}

uint32_t message_body_crc(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = 0xffffffffu;
    pthread_once(&crc_once, crc_fill_tables);
    for (; len >= 8; p += 8, len -= 8) {
        crc ^= __builtin_bswap32(be32_load(p));
        crc = crc_tables[7][crc & 0xff] ^ crc_tables[6][crc >> 8 & 0xff] ^ crc_tables[5][crc >> 16 & 0xff] ^ crc_tables[4][crc >> 24] ^
              crc_tables[3][p[4]] ^ crc_tables[2][p[5]] ^ crc_tables[1][p[6]] ^ crc_tables[0][p[7]];
    }
    for (; len > 0; p++, len--)
        crc = crc_tables[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    return ~crc & 0x7fffffffu;
}

/* ---- ids ---- */

size_t offset_message_id_format(char dst[OFFSET_MESSAGE_ID_MAX + 1], const struct offset_message_id *id)
{
    uint8_t bytes[OFFSET_MESSAGE_ID_MAX / 2];
    struct byte_writer w = byte_writer_of(bytes, sizeof(bytes));
    put_host(&w, &id->store_host);
    byte_writer_be64(&w, (uint64_t)id->commit_log_offset);
    text_hex_upper(dst, bytes, w.pos);
    return 2 * w.pos;
}

int offset_message_id_parse(struct span text, struct offset_message_id *out)
{
    uint8_t bytes[OFFSET_MESSAGE_ID_MAX / 2];
    if (text.len != 32 && text.len != OFFSET_MESSAGE_ID_MAX)
        return -EPROTO;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_digit_value(text.data[i]), low = hex_digit_value(text.data[i + 1]);
        if (high < 0 || low < 0)
            return -EPROTO;
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    struct byte_reader r = byte_reader_of(bytes, text.len / 2);
    take_host(&r, text.len == OFFSET_MESSAGE_ID_MAX, &out->store_host);
    out->commit_log_offset = (int64_t)byte_reader_be64(&r);
    return r.failed ? -EPROTO : 0;
}

/* ---- properties ---- */

struct span message_property(struct span properties, struct span name)
{
    struct span found = {NULL, 0};
    const char *p = properties.data, *end = p + properties.len;
    while (p < end) {
        const char *stop = memchr(p, PROPERTY_SEPARATOR, (size_t)(end - p));
        if (!stop)
            stop = end;
        const char *separator = memchr(p, PROPERTY_NAME_VALUE_SEPARATOR, (size_t)(stop - p));
        if (separator && separator > p && separator + 1 < stop && span_equals((struct span){p, (size_t)(separator - p)}, name))
            found = (struct span){separator + 1, (size_t)(stop - separator - 1)};
        p = stop + 1;
    }
    return found;
}
