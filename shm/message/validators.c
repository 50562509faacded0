#include "shm/message/validators.h"

static const char *check_name(struct span name, size_t max_length, const char *empty, const char *too_long, const char *illegal)
{
    size_t blank = 0;
    for (size_t i = 0; i < name.len; i++)
        blank += name.data[i] == ' ' || (name.data[i] >= '\t' && name.data[i] <= '\r');
    if (blank == name.len)
        return empty;
    if (name.len > max_length)
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
    return check_name(group, GROUP_MAX_LENGTH, "the group is blank: give it a name", "the group is longer than 255 characters",
                      "the group has a character outside [%|a-zA-Z0-9_-]");
}

const char *validate_producer_group(struct span group)
{
    if (span_equals(group, SPAN_LITERAL("DEFAULT_PRODUCER")))
        return "the group must not be DEFAULT_PRODUCER: choose a name of your own";
    return validate_group(group);
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

const char *validate_body_length(size_t len, size_t max_message_size)
{
    if (len == 0)
        return "the body is empty";
    if (len > max_message_size)
        return "the body is longer than max_message_size";
    return NULL;
}
