/*
 * FNV-1a is enough here: every step is a bijection of the state, so a single
 * damaged byte is always seen, and a record is small and read once per start.
 */
#include "hub/store/store_record.h"

#include <errno.h>
#include <string.h>

uint64_t store_checksum(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        seed = (seed ^ p[i]) * UINT64_C(0x100000001b3);
    return seed;
}

#define CHECKSUM_AT 32

static uint64_t record_checksum(struct span key, const char *value, size_t len)
{
    uint64_t sum = store_checksum(STORE_CHECKSUM_SEED, key.data, key.len);
    sum = store_checksum(sum, value, CHECKSUM_AT);
    return store_checksum(sum, value + STORE_RECORD_HEADER, len - STORE_RECORD_HEADER);
}

size_t store_record_size(const struct store_origin *origin, struct span content)
{
    return STORE_RECORD_HEADER + strlen(origin->from) + content.len;
}

void store_record_seal(void *dst, struct span key, const struct store_origin *origin, struct span content)
{
    char *p = dst;
    size_t from_len = strlen(origin->from);
    be32_store(p, STORE_RECORD_MAGIC);
    be16_store(p + 4, STORE_RECORD_VERSION);
    be16_store(p + 6, (uint16_t)from_len);
    be32_store(p + 8, (uint32_t)content.len);
    be32_store(p + 12, 0);
    be64_store(p + 16, (uint64_t)origin->saved_ms);
    be64_store(p + 24, (uint64_t)origin->expires_ms);
    memcpy(p + STORE_RECORD_HEADER, origin->from, from_len);
    if (content.len)
        memcpy(p + STORE_RECORD_HEADER + from_len, content.data, content.len);
    be64_store(p + CHECKSUM_AT, record_checksum(key, p, STORE_RECORD_HEADER + from_len + content.len));
}

int store_record_open(struct span key, struct span value, struct store_origin *origin, struct span *content)
{
    const char *p = value.data;
    if (value.len < STORE_RECORD_HEADER || be32_load(p) != STORE_RECORD_MAGIC)
        return -EBADMSG;
    if (be16_load(p + 4) != STORE_RECORD_VERSION)
        return -EPROTONOSUPPORT;
    size_t from_len = be16_load(p + 6), content_len = be32_load(p + 8);
    if (from_len > STORE_FROM_MAX || content_len > STORE_CONTENT_MAX || STORE_RECORD_HEADER + from_len + content_len != value.len)
        return -EBADMSG;
    if (be64_load(p + CHECKSUM_AT) != record_checksum(key, p, value.len) || memchr(p + STORE_RECORD_HEADER, '\0', from_len))
        return -EBADMSG;
    memcpy(origin->from, p + STORE_RECORD_HEADER, from_len);
    origin->from[from_len] = '\0';
    origin->saved_ms = (int64_t)be64_load(p + 16);
    origin->expires_ms = (int64_t)be64_load(p + 24);
    *content = (struct span){p + STORE_RECORD_HEADER + from_len, content_len};
    return 0;
}
