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

static uint64_t record_checksum(struct span key, const void *header, struct span content)
{
    uint64_t sum = store_checksum(STORE_CHECKSUM_SEED, key.data, key.len);
    sum = store_checksum(sum, header, 16);
    return store_checksum(sum, content.data, content.len);
}

void store_record_seal(void *dst, struct span key, int64_t saved_ms, struct span content)
{
    uint8_t *p = dst;
    be32_store(p, STORE_RECORD_MAGIC);
    be32_store(p + 4, (uint32_t)content.len);
    be64_store(p + 8, (uint64_t)saved_ms);
    if (content.len)
        memcpy(p + STORE_RECORD_HEADER, content.data, content.len);
    be64_store(p + 16, record_checksum(key, p, content));
}

int store_record_open(struct span key, struct span value, int64_t *saved_ms, struct span *content)
{
    if (value.len < STORE_RECORD_HEADER || be32_load(value.data) != STORE_RECORD_MAGIC)
        return -EBADMSG;
    struct span inner = {value.data + STORE_RECORD_HEADER, value.len - STORE_RECORD_HEADER};
    if (be32_load(value.data + 4) != inner.len || inner.len > STORE_CONTENT_MAX)
        return -EBADMSG;
    if (be64_load(value.data + 16) != record_checksum(key, value.data, inner))
        return -EBADMSG;
    *saved_ms = (int64_t)be64_load(value.data + 8);
    *content = inner;
    return 0;
}
