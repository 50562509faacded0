#include "shm/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Length of the valid, printable UTF-8 sequence at s, or 0. Rejects controls (C0, DEL, C1), overlong
 * forms, surrogates and anything above U+10FFFF. */
static size_t printable_utf8(const unsigned char *s, size_t len)
{
    if (s[0] >= 0x20 && s[0] < 0x7f)
        return 1;
    size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t cp = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3fu);
    }
    static const uint32_t smallest[5] = {0, 0, 0xa0, 0x800, 0x10000};
    bool ok = cp >= smallest[n] && cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff);
    /* Bidirectional overrides and isolates could rearrange a line around them. */
    bool bidi = (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0x2028 || cp == 0x2029;
    return ok && !bidi ? n : 0;
}

size_t text_escape(char *dst, size_t cap, const char *src, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t out = 0;
    if (cap == 0)
        return 0;
    for (size_t i = 0; i < len;) {
        size_t n = printable_utf8((const unsigned char *)src + i, len - i);
        size_t need = n ? n : 4;
        if (out + need >= cap)
            break;
        if (n) {
            memcpy(dst + out, src + i, n);
            i += n;
        } else {
            unsigned char c = (unsigned char)src[i++];
            memcpy(dst + out, "\\x", 2);
            dst[out + 2] = hex[c >> 4];
            dst[out + 3] = hex[c & 15];
        }
        out += need;
    }
    dst[out] = '\0';
    return out;
}

bool text_parse_i64(const char *s, int64_t min, int64_t max, int64_t *out)
{
    if (!s || !(*s == '-' || (*s >= '0' && *s <= '9')))
        return false;
    char *end = NULL;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || end == s || *end != '\0' || v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool text_copy(char *dst, size_t cap, const char *src, size_t len)
{
    size_t n = len < cap ? len : cap - 1;
    memcpy(dst, src, n);
    dst[n] = '\0';
    return n == len;
}

uint64_t text_hash64(uint64_t start, const char *text)
{
    for (; *text; text++)
        start = (start ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return start;
}

void text_hex_upper(char *dst, const void *src, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    const unsigned char *b = src;
    for (size_t i = 0; i < len; i++) {
        dst[2 * i] = hex[b[i] >> 4];
        dst[2 * i + 1] = hex[b[i] & 15];
    }
    dst[2 * len] = '\0';
}
