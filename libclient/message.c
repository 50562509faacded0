#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"
#include "shm/message/properties.h"
#include "shm/message/validators.h"

static uint32_t hash_of(const char *text, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

static int check_body(const void *body, size_t len)
{
    if (!body || len == 0)
        return RMQHUB_ERR_MESSAGE_ILLEGAL;
    return len > MAX_MESSAGE_SIZE ? RMQHUB_ERR_MESSAGE_TOO_LARGE : RMQHUB_OK;
}

int rmqhub_message_new(const char *topic, const void *body, size_t body_len, rmqhub_message_t **out)
{
    if (!topic || !out)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    size_t topic_len = strlen(topic);
    if (validate_send_topic((struct span){topic, topic_len}))
        return RMQHUB_ERR_TOPIC_ILLEGAL;
    struct rmqhub_message *m = calloc(1, sizeof(*m));
    if (!m)
        return RMQHUB_ERR_NO_MEMORY;
    memcpy(m->topic, topic, topic_len + 1);
    m->topic_hash = hash_of(topic, topic_len);
    m->wait_store_ok = true;
    int r = rmqhub_message_set_body(m, body, body_len);
    if (r != RMQHUB_OK) {
        rmqhub_message_free(m);
        return r;
    }
    *out = m;
    return RMQHUB_OK;
}

void rmqhub_message_free(rmqhub_message_t *m)
{
    if (!m)
        return;
    free(m->body);
    free(m->properties);
    free(m);
}

int rmqhub_message_set_body(rmqhub_message_t *m, const void *body, size_t body_len)
{
    if (!m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    int r = check_body(body, body_len);
    if (r != RMQHUB_OK)
        return r;
    if (body_len > m->body_cap) {
        void *grown = realloc(m->body, body_len);
        if (!grown)
            return RMQHUB_ERR_NO_MEMORY;
        m->body = grown;
        m->body_cap = (uint32_t)body_len;
    }
    memcpy(m->body, body, body_len);
    m->body_len = (uint32_t)body_len;
    m->uniq_len = 0;
    return RMQHUB_OK;
}

/* Rewrites the encoded properties without @p name, then appends the new value, if any. */
static int replace_property(rmqhub_message_t *m, struct span name, struct span value)
{
    size_t need = m->properties_len + name.len + value.len + 2;
    char *fresh = malloc(need);
    if (!fresh)
        return RMQHUB_ERR_NO_MEMORY;
    size_t len = 0;
    struct span rest = {m->properties, m->properties_len}, n, v;
    while (properties_next(&rest, &n, &v)) {
        if (!span_equals(n, name))
            properties_append(fresh, need, &len, n, v);
    }
    if (value.len)
        properties_append(fresh, need, &len, name, value);
    if (len > PROPERTIES_MAX_LENGTH - PROPERTIES_ADDED_MAX) {
        free(fresh);
        return RMQHUB_ERR_MESSAGE_TOO_LARGE;
    }
    free(m->properties);
    m->properties = fresh;
    m->properties_len = (uint32_t)len;
    return RMQHUB_OK;
}

static int set_own_property(rmqhub_message_t *m, const char *name, const char *value)
{
    if (!m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    struct span v = value ? span_of(value) : (struct span){"", 0};
    if (value && (v.len == 0 || memchr(value, PROPERTY_NAME_SEPARATOR, v.len) || memchr(value, PROPERTY_ENTRY_SEPARATOR, v.len)))
        return RMQHUB_ERR_PROPERTY_ILLEGAL;
    return replace_property(m, span_of(name), v);
}

int rmqhub_message_set_tag(rmqhub_message_t *m, const char *tag)
{
    return set_own_property(m, PROPERTY_TAGS, tag);
}

int rmqhub_message_set_keys(rmqhub_message_t *m, const char *keys)
{
    return set_own_property(m, PROPERTY_KEYS, keys);
}

int rmqhub_message_put_property(rmqhub_message_t *m, const char *name, const char *value)
{
    if (!m || !name || !value)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (property_refuse_user(span_of(name), span_of(value)))
        return RMQHUB_ERR_PROPERTY_ILLEGAL;
    return replace_property(m, span_of(name), span_of(value));
}

int rmqhub_message_set_flag(rmqhub_message_t *m, int32_t flag)
{
    if (!m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    m->flag = flag;
    return RMQHUB_OK;
}

int rmqhub_message_set_wait_store_ok(rmqhub_message_t *m, int wait)
{
    if (!m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    m->wait_store_ok = wait != 0;
    return RMQHUB_OK;
}

int rmqhub_message_set_uniq_key(rmqhub_message_t *m, const char *uniq_key)
{
    if (!m)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    size_t len = uniq_key ? uniq_key_parse(uniq_key, strlen(uniq_key), m->uniq) : 0;
    if (uniq_key && len == 0)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    m->uniq_len = (uint8_t)len;
    return RMQHUB_OK;
}
