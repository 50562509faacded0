/*
 * 4.9.3's Validators (org.apache.rocketmq.client.Validators, common TopicValidator): the same
 * conditions and limits, checked by the library before a message is accepted and by the hub
 * again, because a client's memory is not to be believed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shm/base/bytes.h"

#define GROUP_MAX_LENGTH 255u
#define TOPIC_MAX_LENGTH 127u
#define NAME_SPACE_MAX_LENGTH 127u  /* ours: 4.9.3 has none */
#define CLUSTER_NAME_MAX_LENGTH 32u /* of a section of the hub's configuration */
#define MAX_MESSAGE_SIZE (4u * 1024u * 1024u)
#define PROPERTIES_MAX_LENGTH 32767u
#define DEFAULT_TOPIC_QUEUE_NUMS_MAX 65535u

/* Each returns NULL when the value is fine, else one line that names the rule. Static storage. */
/** In 4.9.3's order: null (data == NULL), blank, length, characters. */
const char *validate_group(struct span group);
/** As validate_group, and refuses DEFAULT_PRODUCER, as a producer's start does. */
const char *validate_producer_group(struct span group);
const char *validate_topic(struct span topic);
/** As validate_topic, and refuses SCHEDULE_TOPIC_XXXX, to which nobody may send. */
const char *validate_send_topic(struct span topic);
const char *validate_body_length(size_t len, size_t max_message_size);

/* Settings of a producer; 4.9.3 takes any value and fails later. */
const char *validate_create_topic_key(struct span topic);
const char *validate_default_topic_queue_nums(uint32_t queue_nums);
const char *validate_max_message_size(uint32_t bytes);
