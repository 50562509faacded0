/*
 * JSON as it travels between RocketMQ programs: a bounded pull parser and a small
 * writer. The parser reads what fastjson writes, which is not always JSON: map
 * keys may be bare integers ({0:"10.0.0.1:10911"}) or whole objects.
 *
 * The caller asks for what it expects, in the order it comes:
 *
 *     if (json_enter_object(&r))
 *         while (json_next_key(&r, &key))
 *             if (span_equals(key, SPAN_LITERAL("perm")))
 *                 perm = json_read_i32(&r);
 *             else
 *                 json_skip(&r);
 *     if (json_finish(&r) < 0) ...
 *
 * The first error sticks: from then on every loop ends, every read gives zero, and
 * json_finish() tells. No allocation; depth is limited; sizes are those of the
 * input. A {"$ref":...} (fastjson's back reference) is refused where it would be
 * read and passed over where it is skipped.
 */
#pragma once

#include "shm/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Deepest nesting of objects and arrays. The deepest body that we know has 5. */
#define JSON_MAX_DEPTH 16

enum json_type {
    JSON_NONE = 0, /* failed, or nothing that starts a value */
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_BOOLEAN,
    JSON_NULL,
};

struct json_reader {
    const char *pos, *end;
    char *scratch, *scratch_end;
    unsigned depth;
    uint32_t arrays, started; /* one bit per open level: it is an array; it has had a member */
    int error;                /* 0, -EPROTO or -ENOBUFS */
    bool skipping;
};

/**
 * @param scratch  takes strings in which escapes had to be resolved (others point into the input); may be NULL
 *                 when @p scratch_cap is 0. A scratch as long as the input always suffices. It must outlive the
 *                 strings read; -ENOBUFS tells that it was too small.
 */
void json_reader_init(struct json_reader *reader, const void *data, size_t len, char *scratch, size_t scratch_cap);

/** Kind of the value that comes next, without consuming it. */
enum json_type json_peek(struct json_reader *reader);

/** Steps into an object or array. False, without an error, when the value is null (it is consumed); false with an error when it is anything else. */
bool json_enter_object(struct json_reader *reader);
bool json_enter_array(struct json_reader *reader);

/**
 * Moves to the next member of the object entered last; false at its end (which is consumed) or after an error.
 * The caller must then read, enter or skip the value. A bare key gives its text, an object key its raw JSON text,
 * which starts with '{' and can be given to another reader.
 */
bool json_next_key(struct json_reader *reader, struct span *key);

/** Moves to the next item of the array entered last; false at its end (consumed) or after an error. */
bool json_next_item(struct json_reader *reader);

/** Reads a string, or the text of a number or boolean as written. null gives data == NULL without an error. */
struct span json_read_text(struct json_reader *reader);

/** As json_read_text(), but a string that does not fit the scratch is cut before the character that does not, and *cut is set. */
struct span json_read_text_cut(struct json_reader *reader, bool *cut);

/** Reads an integer, also a quoted one; null gives 0. Fractions, exponents and values out of range are errors. */
int64_t json_read_i64(struct json_reader *reader);
int32_t json_read_i32(struct json_reader *reader);

/** Passes over one value of any kind. Returns its raw text. */
struct span json_skip(struct json_reader *reader);

/** Makes the reader fail with -EPROTO, for values that are well-formed but not acceptable. */
void json_fail(struct json_reader *reader);

/** Call it last: 0, or the first error; anything but white space after the value is -EPROTO. */
int json_finish(struct json_reader *reader);

/** Appends JSON to a buffer. @c len counts on when the buffer is full, so that a caller can ask for the size needed. */
struct json_writer {
    char *data;
    size_t cap, len;
};

static inline struct json_writer json_writer_of(void *data, size_t cap)
{
    return (struct json_writer){data, cap, 0};
}

static inline bool json_writer_fits(const struct json_writer *w)
{
    return w->len <= w->cap;
}

/** Appends text as it is (punctuation, literals). */
void json_write_raw(struct json_writer *writer, struct span text);
/** Appends a quoted string, escaping what JSON requires. The bytes should be UTF-8; they are passed on unchecked. */
void json_write_string(struct json_writer *writer, struct span text);
void json_write_i64(struct json_writer *writer, int64_t value);

/** Value of a hex digit of either case, or -1. */
int hex_digit_value(char c);

/** Parses a whole, optionally signed decimal number (no spaces); false when it is anything else or does not fit. */
bool span_to_i64(struct span text, int64_t *out);

/** Writes @p value in decimal, not terminated, at most 20 characters; returns their number. */
size_t i64_to_text(char *dst, int64_t value);
