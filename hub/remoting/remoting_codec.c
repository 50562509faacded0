/*
 * Splitting, decoding and encoding of frames. The header encoding is chosen by
 * each frame: a server answers a binary header with a JSON one, so both must be
 * read on one connection.
 */
#include "hub/remoting/remoting_codec.h"

#include <errno.h>
#include <strings.h>

#define HEADER_LEN_MASK 0x00ffffffu

/* Smallest total: the packed word alone. */
#define TOTAL_MIN 4u

static const char *const LANGUAGE_NAMES[] = {"JAVA",  "CPP",  "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY",
                                             "OTHER", "HTTP", "GO",     "PHP",    "OMS",    "RUST",   "NODE_JS"};
#define LANGUAGE_COUNT (sizeof(LANGUAGE_NAMES) / sizeof(LANGUAGE_NAMES[0]))

const char *language_code_name(enum language_code language)
{
    return (unsigned)language < LANGUAGE_COUNT ? LANGUAGE_NAMES[language] : NULL;
}

int remoting_frame_split(const void *data, size_t len, size_t *frame_len)
{
    const uint8_t *bytes = data;
    *frame_len = 0;
    if (len < 4)
        return -EAGAIN;
    uint32_t total = be32_load(bytes);
    if (total < TOTAL_MIN || total > REMOTING_FRAME_MAX - 4)
        return -EPROTO;
    if (len >= REMOTING_PREFIX_BYTES) {
        uint32_t packed = be32_load(bytes + 4);
        if (packed >> 24 > SERIALIZE_ROCKETMQ || (packed & HEADER_LEN_MASK) > total - 4)
            return -EPROTO;
    }
    *frame_len = (size_t)total + 4;
    return len < *frame_len ? -EAGAIN : 0;
}

/* ---- decoding ---- */

static enum language_code language_from_number(int64_t number)
{
    return number >= 0 && number < (int64_t)LANGUAGE_COUNT ? (enum language_code)number : LANGUAGE_UNKNOWN;
}

/* A name in any case, or the ordinal; what is unknown is still a legal header. */
static enum language_code language_from_text(struct span text)
{
    int64_t number;
    if (!text.data)
        return LANGUAGE_JAVA;
    if (span_to_i64(text, &number))
        return language_from_number(number);
    for (size_t i = 0; i < LANGUAGE_COUNT; i++)
        if (strlen(LANGUAGE_NAMES[i]) == text.len && strncasecmp(LANGUAGE_NAMES[i], text.data, text.len) == 0)
            return (enum language_code)i;
    return LANGUAGE_UNKNOWN;
}

static bool add_ext(struct remoting_command *out, struct span key, struct span value)
{
    if (out->ext_count == REMOTING_MAX_EXT_FIELDS)
        return false;
    out->ext[out->ext_count++] = (struct ext_field){key, value};
    return true;
}

static void read_ext_fields(struct json_reader *r, struct remoting_command *out)
{
    struct span key;
    out->ext_count = 0;
    if (!json_enter_object(r))
        return;
    while (json_next_key(r, &key)) {
        struct span value = json_read_text(r);
        if (value.data && !add_ext(out, key, value))
            json_fail(r);
    }
}

static int header_from_json(struct remoting_command *out, const void *data, size_t len, char *scratch, size_t scratch_cap)
{
    struct json_reader r, remark;
    struct span key;
    bool has_remark = false;
    json_reader_init(&r, data, len, scratch, scratch_cap);
    if (!json_enter_object(&r))
        json_fail(&r);
    while (json_next_key(&r, &key)) {
        if (span_equals(key, SPAN_LITERAL("code"))) {
            out->code = json_read_i32(&r);
        } else if (span_equals(key, SPAN_LITERAL("extFields"))) {
            read_ext_fields(&r, out);
        } else if (span_equals(key, SPAN_LITERAL("flag"))) {
            out->flag = json_read_i32(&r);
        } else if (span_equals(key, SPAN_LITERAL("language"))) {
            out->language = language_from_text(json_read_text(&r));
        } else if (span_equals(key, SPAN_LITERAL("opaque"))) {
            out->opaque = json_read_i32(&r);
        } else if (span_equals(key, SPAN_LITERAL("version"))) {
            out->version = json_read_i32(&r);
        } else {
            /* The remark is read last, so that a long one cannot take the scratch from fields that matter. */
            if (span_equals(key, SPAN_LITERAL("remark"))) {
                has_remark = true;
                remark = r;
            }
            json_skip(&r);
        }
    }
    int rc = json_finish(&r);
    if (rc < 0 || !has_remark)
        return rc;
    remark.scratch = r.scratch;
    out->remark = json_read_text_cut(&remark, &out->remark_cut);
    return remark.error;
}

static int header_from_binary(struct remoting_command *out, const void *data, size_t len)
{
    struct byte_reader r = byte_reader_of(data, len);
    out->code = (int16_t)byte_reader_be16(&r);
    out->language = language_from_number(byte_reader_u8(&r));
    out->version = (int16_t)byte_reader_be16(&r);
    out->opaque = (int32_t)byte_reader_be32(&r);
    out->flag = (int32_t)byte_reader_be32(&r);
    size_t remark_len = byte_reader_be32(&r);
    const uint8_t *remark = byte_reader_take(&r, remark_len);
    if (remark_len)
        out->remark = (struct span){(const char *)remark, remark_len};
    size_t block_len = byte_reader_be32(&r);
    const uint8_t *block = byte_reader_take(&r, block_len);
    if (r.failed)
        return -EPROTO;

    struct byte_reader ext = byte_reader_of(block, block_len);
    while (ext.pos < ext.len) {
        size_t key_len = byte_reader_be16(&ext);
        const uint8_t *key = byte_reader_take(&ext, key_len);
        size_t value_len = byte_reader_be32(&ext);
        const uint8_t *value = byte_reader_take(&ext, value_len);
        if (ext.failed || !add_ext(out, (struct span){(const char *)key, key_len}, (struct span){(const char *)value, value_len}))
            return -EPROTO;
    }
    return 0;
}

int remoting_command_decode(struct remoting_command *out, const void *frame, size_t frame_len, char *scratch, size_t scratch_cap)
{
    size_t whole;
    if (remoting_frame_split(frame, frame_len, &whole) < 0 || whole != frame_len)
        return -EPROTO;
    const char *bytes = frame;
    uint32_t packed = be32_load(bytes + 4);
    size_t header_len = packed & HEADER_LEN_MASK;

    out->code = out->version = out->opaque = out->flag = 0;
    out->language = LANGUAGE_JAVA;
    out->serialize_type = (enum serialize_type)(packed >> 24);
    out->remark_cut = false;
    out->remark = (struct span){NULL, 0};
    out->ext_count = 0;
    const char *header = bytes + REMOTING_PREFIX_BYTES;
    out->body = (struct span){header + header_len, frame_len - REMOTING_PREFIX_BYTES - header_len};
    return out->serialize_type == SERIALIZE_JSON ? header_from_json(out, header, header_len, scratch, scratch_cap)
                                                 : header_from_binary(out, header, header_len);
}

/* ---- encoding ---- */

static char *reserve(struct remoting_encoder *e, size_t n)
{
    if (e->failed || n > e->cap - e->pos) {
        e->failed = true;
        return NULL;
    }
    char *p = e->data + e->pos;
    e->pos += n;
    return p;
}

static void put_bytes(struct remoting_encoder *e, struct span bytes)
{
    char *p = reserve(e, bytes.len);
    if (p && bytes.data)
        memcpy(p, bytes.data, bytes.len);
}

static void put_json_string(struct remoting_encoder *e, struct span text)
{
    if (e->failed)
        return;
    struct json_writer w = {e->data, e->cap, e->pos};
    json_write_string(&w, text);
    e->failed = !json_writer_fits(&w);
    e->pos = e->failed ? e->pos : w.len;
}

static void put_decimal(struct remoting_encoder *e, int64_t value)
{
    char text[20];
    put_bytes(e, (struct span){text, i64_to_text(text, value)});
}

static bool fits_int16(int32_t v)
{
    return v >= INT16_MIN && v <= INT16_MAX;
}

static void begin_binary(struct remoting_encoder *e, int32_t code)
{
    char *p = reserve(e, 13);
    if (!p || !fits_int16(code) || !fits_int16(e->version)) {
        e->failed = true;
        return;
    }
    be16_store(p, (uint16_t)code);
    p[2] = (char)e->language;
    be16_store(p + 3, (uint16_t)e->version);
    be32_store(p + 5, (uint32_t)e->opaque);
    be32_store(p + 9, (uint32_t)e->flag);
}

void remoting_encode_begin(struct remoting_encoder *e, void *buf, size_t cap, enum serialize_type type, int32_t code,
                           enum language_code language, int32_t version, int32_t opaque, int32_t flag)
{
    *e = (struct remoting_encoder){.data = buf,
                                   .cap = cap,
                                   .serialize_type = type,
                                   .version = version,
                                   .opaque = opaque,
                                   .flag = flag,
                                   .language = language,
                                   .failed = language_code_name(language) == NULL};
    reserve(e, REMOTING_PREFIX_BYTES);
    if (type == SERIALIZE_ROCKETMQ) {
        begin_binary(e, code);
    } else {
        put_bytes(e, SPAN_LITERAL("{\"code\":"));
        put_decimal(e, code);
    }
}

void remoting_encode_remark(struct remoting_encoder *e, struct span remark)
{
    e->remark = remark;
}

/* Binary: the remark stands before the ext block, so it is written when the first ext field, or the body, comes. */
static void open_binary_ext(struct remoting_encoder *e)
{
    char *p = reserve(e, 4);
    if (p)
        be32_store(p, (uint32_t)e->remark.len);
    put_bytes(e, e->remark);
    e->ext_pos = e->pos;
    reserve(e, 4);
}

static void put_json_ext(struct remoting_encoder *e, struct span key, struct span value)
{
    put_bytes(e, e->ext_count == 0 ? SPAN_LITERAL(",\"extFields\":{\"") : SPAN_LITERAL(",\""));
    put_bytes(e, key);
    put_bytes(e, SPAN_LITERAL("\":"));
    put_json_string(e, value);
}

static void put_binary_ext(struct remoting_encoder *e, struct span key, struct span value)
{
    if (e->ext_count == 0)
        open_binary_ext(e);
    char *p = key.len <= INT16_MAX && value.len <= INT32_MAX ? reserve(e, 2 + key.len + 4 + value.len) : NULL;
    if (!p) {
        e->failed = true;
        return;
    }
    be16_store(p, (uint16_t)key.len);
    memcpy(p + 2, key.data, key.len);
    p += 2 + key.len;
    be32_store(p, (uint32_t)value.len);
    memcpy(p + 4, value.data, value.len);
}

void remoting_put_binary_field(struct byte_writer *w, char key, struct span value)
{
    byte_writer_be16(w, 1);
    byte_writer_u8(w, (uint8_t)key);
    byte_writer_be32(w, (uint32_t)value.len);
    byte_writer_bytes(w, value.data, value.len);
}

void remoting_encode_field(struct remoting_encoder *e, struct span key, struct span value)
{
    if (!value.data)
        return;
    if (e->ext_count == REMOTING_MAX_EXT_FIELDS)
        e->failed = true;
    if (e->serialize_type == SERIALIZE_JSON)
        put_json_ext(e, key, value);
    else
        put_binary_ext(e, key, value);
    e->ext_count++;
}

/* The members after extFields, in fastjson's alphabetical order. */
static void end_json(struct remoting_encoder *e)
{
    if (e->ext_count)
        put_bytes(e, SPAN_LITERAL("}"));
    put_bytes(e, SPAN_LITERAL(",\"flag\":"));
    put_decimal(e, e->flag);
    put_bytes(e, SPAN_LITERAL(",\"language\":\""));
    const char *language = language_code_name(e->language);
    if (language)
        put_bytes(e, span_of(language));
    put_bytes(e, SPAN_LITERAL("\",\"opaque\":"));
    put_decimal(e, e->opaque);
    if (e->remark.data) {
        put_bytes(e, SPAN_LITERAL(",\"remark\":"));
        put_json_string(e, e->remark);
    }
    put_bytes(e, SPAN_LITERAL(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":"));
    put_decimal(e, e->version);
    put_bytes(e, SPAN_LITERAL("}"));
}

static void end_binary(struct remoting_encoder *e)
{
    if (e->ext_count == 0)
        open_binary_ext(e);
    if (!e->failed)
        be32_store(e->data + e->ext_pos, (uint32_t)(e->pos - e->ext_pos - 4));
}

void *remoting_encode_body(struct remoting_encoder *e, size_t body_len, size_t *frame_len)
{
    if (e->serialize_type == SERIALIZE_JSON)
        end_json(e);
    else
        end_binary(e);
    if (e->failed)
        return NULL;
    /* A header that fits a legal frame also fits the 24 bits of its length. */
    size_t header_end = e->pos;
    if (header_end > REMOTING_FRAME_MAX || body_len > REMOTING_FRAME_MAX - header_end || !reserve(e, body_len))
        return NULL;
    be32_store(e->data, (uint32_t)(e->pos - 4));
    be32_store(e->data + 4, (uint32_t)e->serialize_type << 24 | (uint32_t)(header_end - REMOTING_PREFIX_BYTES));
    *frame_len = e->pos;
    return e->data + header_end;
}
