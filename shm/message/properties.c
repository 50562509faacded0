#include "shm/message/properties.h"

#include <errno.h>

#include "shm/message/validators.h"

bool properties_append(char *dst, size_t cap, size_t *len, struct span name, struct span value)
{
    size_t need = name.len + 1 + value.len + (*len ? 1 : 0);
    if (need > cap - *len)
        return false;
    char *p = dst + *len;
    if (*len)
        *p++ = PROPERTY_ENTRY_SEPARATOR;
    memcpy(p, name.data, name.len);
    p += name.len;
    *p++ = PROPERTY_NAME_SEPARATOR;
    memcpy(p, value.data, value.len);
    *len += need;
    return true;
}

bool properties_next(struct span *rest, struct span *name, struct span *value)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->data, PROPERTY_ENTRY_SEPARATOR, rest->len);
    size_t entry = end ? (size_t)(end - rest->data) : rest->len;
    const char *mid = memchr(rest->data, PROPERTY_NAME_SEPARATOR, entry);
    if (!mid || mid == rest->data || (size_t)(mid - rest->data) + 1 == entry)
        return false;
    /* A separator with nothing behind it would be an empty entry. */
    if (end && entry + 1 == rest->len)
        return false;
    *name = (struct span){rest->data, (size_t)(mid - rest->data)};
    *value = (struct span){mid + 1, entry - name->len - 1};
    size_t step = end ? entry + 1 : entry;
    rest->data += step;
    rest->len -= step;
    return true;
}

int properties_validate(const char *data, size_t len)
{
    if (len > PROPERTIES_MAX_LENGTH)
        return -EINVAL;
    struct span rest = {data, len}, name, value;
    while (properties_next(&rest, &name, &value))
        ;
    return rest.len == 0 ? 0 : -EINVAL;
}

/* MessageConst.STRING_HASH_SET of 4.9.3: names that only the client or the broker may set. */
/* clang-format off */
static const char *const reserved_names[] = {
    "KEYS", "TAGS", "WAIT", "DELAY", "RETRY_TOPIC", "REAL_TOPIC", "REAL_QID", "TRAN_MSG", "PGROUP", "MIN_OFFSET", "MAX_OFFSET",
    "BUYER_ID", "ORIGIN_MESSAGE_ID", "TRANSFER_FLAG", "CORRECTION_FLAG", "MQ2_FLAG", "RECONSUME_TIME", "MSG_REGION", "TRACE_ON",
    "UNIQ_KEY", "MAX_RECONSUME_TIMES", "CONSUME_START_TIME", "CORRELATION_ID", "REPLY_TO_CLIENT", "TTL", "ARRIVE_TIME",
    "PUSH_REPLY_TIME", "CLUSTER", "MSG_TYPE", "INSTANCE_ID",
};
/* clang-format on */

static bool has_separator(struct span s)
{
    return memchr(s.data, PROPERTY_NAME_SEPARATOR, s.len) || memchr(s.data, PROPERTY_ENTRY_SEPARATOR, s.len);
}

const char *property_refuse_user(struct span name, struct span value)
{
    if (name.len == 0 || value.len == 0)
        return "a property needs a name and a value";
    if (has_separator(name) || has_separator(value))
        return "a property must not contain the bytes 0x01 and 0x02";
    for (size_t i = 0; i < sizeof(reserved_names) / sizeof(reserved_names[0]); i++) {
        if (span_equals(name, span_of(reserved_names[i])))
            return "the property name is reserved by RocketMQ";
    }
    return NULL;
}
