/*
 * Frames of the remoting protocol, both header encodings, both ways. Pure: bytes
 * in, values out; no socket, no clock, no allocation. Nothing read from the wire
 * is trusted: each length is checked against the bytes that are really there.
 *
 *   offset 0   int32   total = bytes after this field = 4 + H + B
 *          4   uint8   header encoding (0 JSON, 1 ROCKETMQ), then uint24 H
 *          8   H bytes header
 *      8 + H   B bytes body
 *
 * A function that fails with -EPROTO means: this peer does not speak the
 * protocol, close the connection. There is no way to find the next frame.
 */
#pragma once

#include "hub/remoting/remoting_command.h"
#include "hub/remoting/wire_json.h"

#include <stddef.h>

/** Bytes before the header. */
#define REMOTING_PREFIX_BYTES 8

/** A scratch buffer of this size holds every header that today's servers send: long remarks with stack traces, the longest properties. */
#define REMOTING_SCRATCH_BYTES 65536

/**
 * Looks at the start of a stream and says where its first frame ends.
 *
 * @param frame_len  whole frame with its prefix; set on 0, and on -EAGAIN once the first four bytes are
 *                   there (how much to make room for), else 0
 * @return 0 when the whole frame is there, -EAGAIN when more bytes are needed, -EPROTO for a length that no
 *         peer of ours sends: below 4, above REMOTING_FRAME_MAX, a header longer than the frame, an unknown encoding
 */
int remoting_frame_split(const void *data, size_t len, size_t *frame_len);

/**
 * Decodes one whole frame, as measured by remoting_frame_split().
 *
 * Spans of @p out point into the frame, or into @p scratch where JSON escapes had to be resolved. A scratch as
 * long as the header always suffices. A remark that does not fit is cut (remark_cut); any other text that does
 * not fit gives -ENOBUFS. @p out is unspecified on failure.
 *
 * @return 0, -EPROTO (malformed, too deep, too many ext fields, a number out of range), -ENOBUFS
 */
int remoting_command_decode(struct remoting_command *out, const void *frame, size_t frame_len, char *scratch, size_t scratch_cap);

/**
 * Writes one frame straight into a caller's buffer, in this order: begin, remark (if any), ext fields, body.
 * A failure is remembered and reported once, by remoting_encode_body(). The members are private.
 */
struct remoting_encoder {
    char *data;
    size_t cap, pos;
    struct span remark;
    enum serialize_type serialize_type;
    int32_t version, opaque, flag;
    enum language_code language;
    unsigned ext_count;
    size_t ext_pos; /* binary: where the length of the ext block goes */
    bool failed;
};

/** Starts a frame at @p buf. A code or version that the binary header cannot carry (int16) fails the encoder. */
void remoting_encode_begin(struct remoting_encoder *encoder, void *buf, size_t cap, enum serialize_type type, int32_t code,
                           enum language_code language, int32_t version, int32_t opaque, int32_t flag);

/** One ext field of the binary header, for headers that are made ready before their frames. Keys of one letter, as SEND_MESSAGE_V2 has. */
void remoting_put_binary_field(struct byte_writer *writer, char key, struct span value);

/** Sets the remark; call it before any ext field. The text must stay until remoting_encode_body(). */
void remoting_encode_remark(struct remoting_encoder *encoder, struct span remark);

/** Adds one ext field; a value whose data is NULL is left out, as Java leaves out nulls. Keys must need no JSON escapes. */
void remoting_encode_field(struct remoting_encoder *encoder, struct span key, struct span value);

/* Inline, so that the length of a literal key costs nothing. */
static inline void remoting_encode_ext(struct remoting_encoder *encoder, const char *key, struct span value)
{
    remoting_encode_field(encoder, span_of(key), value);
}

static inline void remoting_encode_ext_bool(struct remoting_encoder *encoder, const char *key, bool value)
{
    remoting_encode_field(encoder, span_of(key), value ? SPAN_LITERAL("true") : SPAN_LITERAL("false"));
}

static inline void remoting_encode_ext_i64(struct remoting_encoder *encoder, const char *key, int64_t value)
{
    char text[20];
    remoting_encode_field(encoder, span_of(key), (struct span){text, i64_to_text(text, value)});
}

/**
 * Ends the header.
 *
 * @param body_len   bytes that the caller is going to write at the returned place (0: no body)
 * @param frame_len  length of the whole frame, body included; set on success
 * @return where the body goes, or NULL when the frame does not fit the buffer or the protocol's limits
 */
void *remoting_encode_body(struct remoting_encoder *encoder, size_t body_len, size_t *frame_len);

/** Upper bound of the bytes that a frame needs: @p text_bytes counts remark, ext keys and ext values (numbers: 20 each). */
static inline size_t remoting_frame_bound(enum serialize_type type, unsigned ext_count, size_t text_bytes, size_t body_len)
{
    /* JSON: the fixed members take less than 192 bytes, an entry has six marks, a byte grows to at most "\u0001". */
    return type == SERIALIZE_JSON ? 192 + (size_t)ext_count * 6 + text_bytes * 6 + body_len
                                  : 32 + (size_t)ext_count * 6 + text_bytes + body_len;
}

/** RocketMQ's name of a language ("CPP"); NULL for one we do not know. */
const char *language_code_name(enum language_code language);
