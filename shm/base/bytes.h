/*
 * Bounded big-endian cursors for the wire. Both remember a failure, so that a
 * parser or an encoder checks once, at its end; a failed cursor reads zeros and
 * writes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/** A run of bytes that somebody else owns; not terminated. */
struct span {
    const char *data;
    size_t len;
};

#define SPAN_LITERAL(s) ((struct span){(s), sizeof(s) - 1})

static inline struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

static inline bool span_equals(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/** Up to its first line feed. For remarks of servers, which add advice and stack traces below the cause. */
static inline struct span span_first_line(struct span text)
{
    const char *end = text.len ? (const char *)memchr(text.data, '\n', text.len) : NULL;
    return (struct span){text.data, end ? (size_t)(end - text.data) : text.len};
}

/** Without blanks and control characters around it: Java's String.trim(). */
static inline struct span span_trim(struct span text)
{
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ')
        text.len--;
    while (text.len > 0 && (unsigned char)*text.data <= ' ')
        text = (struct span){text.data + 1, text.len - 1};
    return text;
}

static inline uint16_t be16_load(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t be32_load(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t be64_load(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static inline void be16_store(void *p, uint16_t v)
{
    uint8_t *b = p;
    b[0] = (uint8_t)(v >> 8);
    b[1] = (uint8_t)v;
}

static inline void be32_store(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static inline void be64_store(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

struct byte_reader {
    const uint8_t *data;
    size_t len, pos;
    bool failed;
};

static inline struct byte_reader byte_reader_of(const void *data, size_t len)
{
    return (struct byte_reader){data, len, 0, false};
}

/** Returns @p n bytes and steps over them, or NULL (and fails the cursor) when fewer are left. */
static inline const uint8_t *byte_reader_take(struct byte_reader *r, size_t n)
{
    if (r->failed || n > r->len - r->pos) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += n;
    return p;
}

static inline uint8_t byte_reader_u8(struct byte_reader *r)
{
    const uint8_t *p = byte_reader_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t byte_reader_be16(struct byte_reader *r)
{
    const uint8_t *p = byte_reader_take(r, 2);
    return p ? be16_load(p) : 0;
}

static inline uint32_t byte_reader_be32(struct byte_reader *r)
{
    const uint8_t *p = byte_reader_take(r, 4);
    return p ? be32_load(p) : 0;
}

static inline uint64_t byte_reader_be64(struct byte_reader *r)
{
    const uint8_t *p = byte_reader_take(r, 8);
    return p ? be64_load(p) : 0;
}

struct byte_writer {
    uint8_t *data;
    size_t cap, pos;
    bool failed;
};

static inline struct byte_writer byte_writer_of(void *data, size_t cap)
{
    return (struct byte_writer){data, cap, 0, false};
}

/** Reserves @p n bytes to be filled by the caller, or returns NULL (and fails the cursor). */
static inline uint8_t *byte_writer_reserve(struct byte_writer *w, size_t n)
{
    if (w->failed || n > w->cap - w->pos) {
        w->failed = true;
        return NULL;
    }
    uint8_t *p = w->data + w->pos;
    w->pos += n;
    return p;
}

static inline void byte_writer_bytes(struct byte_writer *w, const void *src, size_t n)
{
    uint8_t *p = byte_writer_reserve(w, n);
    if (p && n)
        memcpy(p, src, n);
}

static inline void byte_writer_u8(struct byte_writer *w, uint8_t v)
{
    byte_writer_bytes(w, &v, 1);
}

static inline void byte_writer_be16(struct byte_writer *w, uint16_t v)
{
    uint8_t *p = byte_writer_reserve(w, 2);
    if (p)
        be16_store(p, v);
}

static inline void byte_writer_be32(struct byte_writer *w, uint32_t v)
{
    uint8_t *p = byte_writer_reserve(w, 4);
    if (p)
        be32_store(p, v);
}

static inline void byte_writer_be64(struct byte_writer *w, uint64_t v)
{
    uint8_t *p = byte_writer_reserve(w, 8);
    if (p)
        be64_store(p, v);
}
