/*
 * A value of the cache file, as it is and sealed anew: what opens is exactly what was sealed, and a value with one byte
 * changed, cut off or under another key never opens. The input is 1 byte key length, key, value; the first byte of the
 * value also says where to damage it.
 */
#include <errno.h>
#include <string.h>

#include "hub/store/store_record.h"
#include "tests/fuzz/fuzz.h"

static struct span exact_copy(struct span text)
{
    char *copy = malloc(text.len ? text.len : 1);
    FUZZ_CHECK(copy);
    if (text.len)
        memcpy(copy, text.data, text.len);
    return (struct span){copy, text.len};
}

static bool opens(struct span key, struct span value, struct store_origin *origin, struct span *content)
{
    int r = store_record_open(key, value, origin, content);
    FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (r < 0)
        return false;
    FUZZ_CHECK(strlen(origin->from) <= STORE_FROM_MAX && content->len <= STORE_CONTENT_MAX);
    FUZZ_CHECK(store_record_size(origin, *content) == value.len);
    FUZZ_CHECK(content->data >= value.data && content->data + content->len == value.data + value.len);
    return true;
}

static void check_same(struct span key, struct span value, const struct store_origin *origin, struct span content)
{
    char *again = malloc(value.len);
    FUZZ_CHECK(again);
    store_record_seal(again, key, origin, content);
    FUZZ_CHECK(memcmp(again, value.data, value.len) == 0);
    free(again);
}

static void check_damage(struct span key, struct span value, unsigned seed)
{
    struct store_origin origin;
    struct span content, damaged = exact_copy(value);
    uint8_t *bytes = (uint8_t *)(uintptr_t)damaged.data, bit = (uint8_t)(1u << seed % 8);
    bytes[seed % value.len] ^= bit;
    FUZZ_CHECK(!opens(key, damaged, &origin, &content));
    bytes[seed % value.len] ^= bit;
    damaged.len -= 1 + seed % value.len;
    FUZZ_CHECK(!opens(key, damaged, &origin, &content));
    free(bytes);
    if (key.len) {
        key.len--;
        FUZZ_CHECK(!opens(key, value, &origin, &content));
    }
}

/* The input as what somebody saved: the front of it is the origin, the rest the content. */
static void check_sealed(struct span key, struct span value)
{
    struct store_origin origin = {.saved_ms = (int64_t)value.len, .expires_ms = -1}, found;
    struct span content;
    size_t from_len = value.len < STORE_FROM_MAX ? value.len / 2 : STORE_FROM_MAX / 2;
    if (from_len)
        memcpy(origin.from, value.data, from_len);
    struct span rest = {value.data + from_len, value.len - from_len};
    if (rest.len > STORE_CONTENT_MAX)
        rest.len = STORE_CONTENT_MAX;
    size_t size = store_record_size(&origin, rest);
    char *sealed = malloc(size);
    FUZZ_CHECK(sealed);
    store_record_seal(sealed, key, &origin, rest);
    FUZZ_CHECK(opens(key, (struct span){sealed, size}, &found, &content));
    FUZZ_CHECK(strcmp(found.from, origin.from) == 0 && found.saved_ms == origin.saved_ms && found.expires_ms == origin.expires_ms);
    FUZZ_CHECK(span_equals(content, rest));
    check_damage(key, (struct span){sealed, size}, (unsigned)value.len * 31 + (value.len ? (uint8_t)value.data[0] : 0));
    free(sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct store_origin origin;
    struct span content;
    if (len == 0)
        return 0;
    size_t key_len = data[0] < len - 1 ? data[0] : len - 1;
    struct span key = {(const char *)data + 1, key_len}, value = {key.data + key_len, len - 1 - key_len};
    if (opens(key, value, &origin, &content)) {
        check_same(key, value, &origin, content);
        check_damage(key, value, (uint8_t)value.data[value.len - 1]);
    }
    check_sealed(key, value);
    return 0;
}
