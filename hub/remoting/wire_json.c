/*
 * The parser of headers and bodies, and the writer of bodies and JSON headers.
 *
 * A general JSON library would have to be patched for fastjson's map keys, builds
 * a tree on the heap, and reads numbers as doubles; what the protocol needs is
 * smaller than the patch. The reader is a cursor: position, one bit per open level
 * for its kind and one for "a comma is due".
 */
#include "hub/remoting/wire_json.h"

#include <errno.h>

static void fail_with(struct json_reader *r, int error)
{
    if (!r->error)
        r->error = error;
    r->pos = r->end;
}

void json_fail(struct json_reader *r)
{
    fail_with(r, -EPROTO);
}

void json_reader_init(struct json_reader *r, const void *data, size_t len, char *scratch, size_t scratch_cap)
{
    *r = (struct json_reader){.pos = data, .scratch = scratch};
    r->end = len ? r->pos + len : r->pos;
    r->scratch_end = scratch_cap ? scratch + scratch_cap : scratch;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Steps over white space; the next byte, or 0 at the end (a NUL in the text is no token either). */
static char next_byte(struct json_reader *r)
{
    while (r->pos < r->end && (*r->pos == ' ' || *r->pos == '\t' || *r->pos == '\n' || *r->pos == '\r'))
        r->pos++;
    if (r->pos == r->end)
        return '\0';
    return *r->pos;
}

enum json_type json_peek(struct json_reader *r)
{
    switch (next_byte(r)) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOLEAN;
    case 'n':
        return JSON_NULL;
    case '-':
        return JSON_NUMBER;
    default:
        return r->pos < r->end && is_digit(*r->pos) ? JSON_NUMBER : JSON_NONE;
    }
}

/* ---- strings ---- */

int hex_digit_value(char c)
{
    char lower = (char)(c | 0x20);
    if (is_digit(c))
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Value of the four hex digits at s, or -1. */
static int32_t hex4(const char *s, const char *end)
{
    if (end - s < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit_value(s[i]);
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static size_t utf8_encode(char dst[4], uint32_t cp)
{
    if (cp < 0x80) {
        dst[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        dst[i] = (char)(0x80 | (cp & 0x3f));
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    dst[0] = (char)(lead[n] | cp);
    return n;
}

/* Resolves the escape at *s (just behind the backslash) into at most four bytes; their number, or 0 when it is none.
 * Half a surrogate pair becomes U+FFFD: it has no UTF-8 form. */
static size_t unescape(const char **s, const char *end, char dst[4])
{
    static const char plain[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    if (*s == end)
        return 0;
    char c = *(*s)++;
    for (const char *p = plain; *p; p += 2)
        if (*p == c) {
            dst[0] = p[1];
            return 1;
        }
    int32_t unit = c == 'u' ? hex4(*s, end) : -1;
    if (unit < 0)
        return 0;
    *s += 4;
    if (unit >= 0xd800 && unit <= 0xdbff && end - *s >= 6 && (*s)[0] == '\\' && (*s)[1] == 'u') {
        int32_t low = hex4(*s + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *s += 6;
            return utf8_encode(dst, 0x10000 + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
        }
    }
    return utf8_encode(dst, unit >= 0xd800 && unit <= 0xdfff ? 0xfffd : (uint32_t)unit);
}

/* Steps over the quoted string at pos and returns its raw text; notes whether it holds escapes. */
static struct span raw_string(struct json_reader *r, bool *escaped)
{
    const char *start = r->pos + 1, *p = start;
    *escaped = false;
    for (; p < r->end && *p != '"'; p++)
        if (*p == '\\') {
            *escaped = true;
            p++;
        }
    if (p >= r->end) {
        json_fail(r);
        return (struct span){NULL, 0};
    }
    r->pos = p + 1;
    return (struct span){start, (size_t)(p - start)};
}

/* Resolves the escapes of raw into the scratch. With cut != NULL a lack of room ends the text instead of failing.
 * When skipping, the escapes are only checked. */
static struct span resolve(struct json_reader *r, struct span raw, bool *cut)
{
    const char *s = raw.data, *end = raw.data + raw.len;
    char *start = r->scratch, *out = start;
    while (s < end) {
        char bytes[4] = {*s};
        size_t n = 1;
        if (*s++ == '\\')
            n = unescape(&s, end, bytes);
        if (n == 0) {
            json_fail(r);
            break;
        }
        if (r->skipping)
            continue;
        if ((size_t)(r->scratch_end - out) < n) {
            if (!cut)
                fail_with(r, -ENOBUFS);
            else
                *cut = true;
            break;
        }
        memcpy(out, bytes, n);
        out += n;
    }
    if (r->error)
        return (struct span){NULL, 0};
    r->scratch = out;
    /* Without scratch there is no address to give; the text is empty then, but it is there. */
    return (struct span){start ? start : raw.data, (size_t)(out - start)};
}

static struct span read_string(struct json_reader *r, bool *cut)
{
    bool escaped;
    struct span raw = raw_string(r, &escaped);
    return escaped && !r->error ? resolve(r, raw, cut) : raw;
}

/* ---- scalars ---- */

static const char *digits_end(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

static struct span read_number(struct json_reader *r)
{
    const char *start = r->pos, *p = start + (*start == '-');
    const char *q = digits_end(p, r->end);
    bool ok = q > p;
    if (ok && q < r->end && *q == '.') {
        p = q + 1;
        q = digits_end(p, r->end);
        ok = q > p;
    }
    if (ok && q < r->end && (*q == 'e' || *q == 'E')) {
        p = q + 1;
        p += p < r->end && (*p == '+' || *p == '-');
        q = digits_end(p, r->end);
        ok = q > p;
    }
    if (!ok) {
        json_fail(r);
        return (struct span){NULL, 0};
    }
    r->pos = q;
    return (struct span){start, (size_t)(q - start)};
}

static struct span read_literal(struct json_reader *r, struct span literal)
{
    if ((size_t)(r->end - r->pos) < literal.len || memcmp(r->pos, literal.data, literal.len) != 0) {
        json_fail(r);
        return (struct span){NULL, 0};
    }
    struct span text = {r->pos, literal.len};
    r->pos += literal.len;
    return text;
}

struct span json_read_text_cut(struct json_reader *r, bool *cut)
{
    switch (json_peek(r)) {
    case JSON_STRING:
        return read_string(r, cut);
    case JSON_NUMBER:
        return read_number(r);
    case JSON_BOOLEAN:
        return read_literal(r, *r->pos == 't' ? SPAN_LITERAL("true") : SPAN_LITERAL("false"));
    case JSON_NULL:
        read_literal(r, SPAN_LITERAL("null"));
        break;
    default:
        json_fail(r);
    }
    return (struct span){NULL, 0};
}

struct span json_read_text(struct json_reader *r)
{
    return json_read_text_cut(r, NULL);
}

bool span_to_i64(struct span text, int64_t *out)
{
    const char *p = text.data, *end = p + text.len;
    if (text.len == 0)
        return false;
    bool negative = *p == '-';
    if (negative || *p == '+')
        p++;
    /* 19 digits cannot overflow 64 bits; more are legal only as leading zeros, which nobody sends. */
    if (p == end || end - p > 19)
        return false;
    uint64_t v = 0;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = (int64_t)(negative ? -v : v);
    return true;
}

int64_t json_read_i64(struct json_reader *r)
{
    enum json_type type = json_peek(r);
    struct span text = json_read_text(r);
    int64_t v = 0;
    if (type != JSON_NULL && !(type != JSON_BOOLEAN && text.data && span_to_i64(text, &v)))
        json_fail(r);
    return r->error ? 0 : v;
}

int32_t json_read_i32(struct json_reader *r)
{
    int64_t v = json_read_i64(r);
    if (v < INT32_MIN || v > INT32_MAX) {
        json_fail(r);
        return 0;
    }
    return (int32_t)v;
}

/* ---- structure ---- */

static uint32_t level_bit(const struct json_reader *r)
{
    return UINT32_C(1) << (r->depth - 1);
}

static bool enter(struct json_reader *r, enum json_type type)
{
    enum json_type found = json_peek(r);
    if (found == JSON_NULL) {
        read_literal(r, SPAN_LITERAL("null"));
        return false;
    }
    if (found != type || r->depth == JSON_MAX_DEPTH) {
        json_fail(r);
        return false;
    }
    r->pos++;
    r->depth++;
    r->started &= ~level_bit(r);
    r->arrays = type == JSON_ARRAY ? r->arrays | level_bit(r) : r->arrays & ~level_bit(r);
    return true;
}

bool json_enter_object(struct json_reader *r)
{
    return enter(r, JSON_OBJECT);
}

bool json_enter_array(struct json_reader *r)
{
    return enter(r, JSON_ARRAY);
}

/* Moves to the next member of the innermost level, which must be of the given kind: consumes the comma that is due, or
 * the closing mark. */
static bool next_member(struct json_reader *r, bool array)
{
    if (r->error)
        return false;
    if (r->depth == 0 || array != ((r->arrays & level_bit(r)) != 0)) {
        json_fail(r);
        return false;
    }
    char c = next_byte(r);
    if (c == (array ? ']' : '}')) {
        r->pos++;
        r->depth--;
        return false;
    }
    if (r->started & level_bit(r)) {
        if (c != ',') {
            json_fail(r);
            return false;
        }
        r->pos++;
    }
    r->started |= level_bit(r);
    return true;
}

bool json_next_item(struct json_reader *r)
{
    if (!next_member(r, true))
        return false;
    /* A closing mark here follows a comma. */
    if (json_peek(r) == JSON_NONE)
        json_fail(r);
    return r->error == 0;
}

/* A key without quotes: fastjson writes integers so; other words are read as well. */
static struct span bare_key(struct json_reader *r)
{
    const char *start = r->pos;
    for (; r->pos < r->end; r->pos++) {
        char c = *r->pos, lower = (char)(c | 0x20);
        if (!is_digit(c) && !(lower >= 'a' && lower <= 'z') && c != '-' && c != '_' && c != '$')
            break;
    }
    if (r->pos == start)
        json_fail(r);
    return (struct span){start, (size_t)(r->pos - start)};
}

bool json_next_key(struct json_reader *r, struct span *key)
{
    if (!next_member(r, false))
        return false;
    char c = next_byte(r);
    *key = c == '"' ? read_string(r, NULL) : c == '{' ? json_skip(r) : bare_key(r);
    if (!r->skipping && span_equals(*key, SPAN_LITERAL("$ref")))
        json_fail(r);
    if (next_byte(r) != ':')
        json_fail(r);
    else
        r->pos++;
    return r->error == 0;
}

/* Recursion is limited by JSON_MAX_DEPTH. */
static void skip_value(struct json_reader *r)
{
    struct span key;
    switch (json_peek(r)) {
    case JSON_OBJECT:
        if (json_enter_object(r))
            while (json_next_key(r, &key))
                skip_value(r);
        break;
    case JSON_ARRAY:
        if (json_enter_array(r))
            while (json_next_item(r))
                skip_value(r);
        break;
    default:
        json_read_text(r);
    }
}

struct span json_skip(struct json_reader *r)
{
    bool outer = r->skipping;
    next_byte(r);
    const char *start = r->pos;
    r->skipping = true;
    skip_value(r);
    r->skipping = outer;
    return r->error ? (struct span){NULL, 0} : (struct span){start, (size_t)(r->pos - start)};
}

int json_finish(struct json_reader *r)
{
    if (!r->error && (r->depth > 0 || next_byte(r) != '\0' || r->pos != r->end))
        json_fail(r);
    return r->error;
}

/* ---- writing ---- */

void json_write_raw(struct json_writer *w, struct span text)
{
    if (text.len && w->len <= w->cap && text.len <= w->cap - w->len)
        memcpy(w->data + w->len, text.data, text.len);
    w->len += text.len;
}

static bool needs_escape(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

static void write_escape(struct json_writer *w, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char plain[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char escape[6] = {'\\', 'u', '0', '0', hex[(unsigned char)c >> 4], hex[c & 15]};
    size_t len = 6;
    for (const char *p = plain; *p; p += 2)
        if (*p == c) {
            escape[1] = p[1];
            len = 2;
        }
    json_write_raw(w, (struct span){escape, len});
}

void json_write_string(struct json_writer *w, struct span text)
{
    json_write_raw(w, SPAN_LITERAL("\""));
    for (size_t i = 0, start = 0; i <= text.len; i++) {
        bool end = i == text.len;
        if (!end && !needs_escape(text.data[i]))
            continue;
        if (i > start)
            json_write_raw(w, (struct span){text.data + start, i - start});
        if (!end)
            write_escape(w, text.data[i]);
        start = i + 1;
    }
    json_write_raw(w, SPAN_LITERAL("\""));
}

size_t i64_to_text(char *dst, int64_t value)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
                                "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
                                "9899";
    char digits[20], *p = digits + sizeof(digits);
    uint64_t v = value < 0 ? -(uint64_t)value : (uint64_t)value;
    for (; v >= 100; v /= 100)
        memcpy(p -= 2, pairs + v % 100 * 2, 2);
    *--p = pairs[v * 2 + 1];
    if (v >= 10)
        *--p = pairs[v * 2];
    if (value < 0)
        *--p = '-';
    size_t len = (size_t)(digits + sizeof(digits) - p);
    memcpy(dst, p, len);
    return len;
}

void json_write_i64(struct json_writer *w, int64_t value)
{
    char text[20];
    json_write_raw(w, (struct span){text, i64_to_text(text, value)});
}
