#include "hub/producer/producer_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_codec.h"
#include "shm/base/text.h"

#define SHOWN_MAX 96 /* bytes of a group's name in a message, so that the rule fits behind it */

/* ---- settings ---- */

static void encode_header(struct producer_settings *s, struct span group)
{
    char queue_nums[12];
    int digits = snprintf(queue_nums, sizeof(queue_nums), "%u", s->create.queue_nums);
    struct byte_writer w = byte_writer_of(s->header, sizeof(s->header));
    remoting_put_binary_field(&w, 'a', group);
    remoting_put_binary_field(&w, 'c', span_of(s->create_topic_key));
    remoting_put_binary_field(&w, 'd', (struct span){queue_nums, (size_t)digits});
    s->header_len = (uint16_t)w.pos;
}

int producer_settings_init(struct producer_settings *s, const struct client_config *config, struct span group, struct span create_topic_key,
                           uint32_t default_topic_queue_nums, uint32_t max_message_size, const char **why)
{
    struct span key = create_topic_key.len ? create_topic_key : span_of(config->create_topic_key);
    s->create.queue_nums = default_topic_queue_nums ? default_topic_queue_nums : config->default_topic_queue_nums;
    s->max_message_size = max_message_size ? max_message_size : MAX_MESSAGE_SIZE;
    *why = validate_create_topic_key(key);
    if (!*why)
        *why = validate_default_topic_queue_nums(s->create.queue_nums);
    if (!*why)
        *why = validate_max_message_size(s->max_message_size);
    if (*why)
        return -EINVAL;
    text_copy(s->create_topic_key, sizeof(s->create_topic_key), key.data, key.len);
    s->create.key = s->create_topic_key;
    encode_header(s, group);
    return 0;
}

/* ---- the group ---- */

int producer_check_config(struct span group, char *why, size_t cap)
{
    char shown[SHOWN_MAX];
    const char *rule = validate_producer_group(group);
    if (!rule && span_equals(group, SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER)))
        rule = "the group is the client's own, registered by every instance: choose a name of your own";
    if (!rule)
        return 0;
    if (!group.data) {
        snprintf(why, cap, "producer group: %s", rule);
        return -EINVAL;
    }
    text_escape(shown, sizeof(shown), group.data, group.len);
    snprintf(why, cap, "producer group \"%s%s\": %s", shown, group.len >= sizeof(shown) ? "..." : "", rule);
    return -EINVAL;
}
