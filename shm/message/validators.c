#include "shm/message/validators.h"

#include <stdbool.h>

/* Java's Character.isWhitespace, of ASCII; the others are illegal characters anyway. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

/* Limits count Java's chars: UTF-16 units, of which a character beyond the basic plane has two. */
static size_t java_length(struct span text)
{
    size_t length = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        length += (c & 0xc0) != 0x80;
        length += c >= 0xf0;
    }
    return length;
}

static const char *check_name(struct span name, size_t max_length, const char *empty, const char *too_long, const char *illegal)
{
    size_t blank = 0;
    for (size_t i = 0; i < name.len; i++)
        blank += is_blank(name.data[i]);
    if (blank == name.len)
        return empty;
    if (java_length(name) > max_length)
        return too_long;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '%' || c == '|' || c == '-' || c == '_'))
            return illegal;
    }
    return NULL;
}

const char *validate_group(struct span group)
{
    if (!group.data)
        return "the group is null: give it a name";
    return check_name(group, GROUP_MAX_LENGTH, "the group is blank: give it a name", "the group is longer than 255 characters",
                      "the group has a character outside [%|a-zA-Z0-9_-]");
}

const char *validate_producer_group(struct span group)
{
    const char *rule = validate_group(group);
    if (!rule && span_equals(group, SPAN_LITERAL("DEFAULT_PRODUCER")))
        rule = "the group must not be DEFAULT_PRODUCER: choose a name of your own";
    return rule;
}

const char *validate_topic(struct span topic)
{
    return check_name(topic, TOPIC_MAX_LENGTH, "the topic is blank: give it a name", "the topic is longer than 127 characters",
                      "the topic has a character outside [%|a-zA-Z0-9_-]");
}

const char *validate_send_topic(struct span topic)
{
    if (span_equals(topic, SPAN_LITERAL("SCHEDULE_TOPIC_XXXX")))
        return "sending to SCHEDULE_TOPIC_XXXX is forbidden: it is the broker's own";
    return validate_topic(topic);
}

const char *validate_create_topic_key(struct span topic)
{
    return check_name(topic, TOPIC_MAX_LENGTH, "create_topic_key is blank: 4.9.3's is TBW102",
                      "create_topic_key is longer than 127 characters", "create_topic_key has a character outside [%|a-zA-Z0-9_-]");
}

const char *validate_default_topic_queue_nums(uint32_t queue_nums)
{
    return queue_nums == 0 || queue_nums > DEFAULT_TOPIC_QUEUE_NUMS_MAX ? "default_topic_queue_nums is not 1 to 65535" : NULL;
}

const char *validate_max_message_size(uint32_t bytes)
{
    return bytes == 0 || bytes > MAX_MESSAGE_SIZE ? "max_message_size is not 1 to 4194304 bytes" : NULL;
}

const char *validate_body_length(size_t len, size_t max_message_size)
{
    if (len == 0)
        return "the body is empty";
    if (len > max_message_size)
        return "the body is longer than max_message_size";
    return NULL;
}
