/*
 * What 4.9.3 sets per producer (DefaultMQProducer's fields) as far as something here
 * honours it, and the check that a producer's start makes (DefaultMQProducerImpl.checkConfig).
 * Two processes of one group may differ in their settings: they belong to the handle.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hub/instance/client_config.h"
#include "hub/route/topic_route_table.h"
#include "shm/base/bytes.h"
#include "shm/message/validators.h"

#define PRODUCER_HEADER_MAX (7u + GROUP_MAX_LENGTH + 7u + TOPIC_MAX_LENGTH + 7u + 10u)

/** Not to be copied: it points into itself. */
struct producer_settings {
    struct create_topic create; /* createTopicKey, defaultTopicQueueNums: the route of topics that do not exist yet */
    char create_topic_key[TOPIC_MAX_LENGTH + 1];
    uint32_t max_message_size;
    uint16_t header_len;
    uint8_t header[PRODUCER_HEADER_MAX]; /* ext fields a, c and d of a send, ready in the binary encoding */
};

/**
 * Settings of a handle of @p group (checked): what it asked for, else the cluster's. @p create_topic_key may be empty, the numbers 0: not set.
 * 0, or -EINVAL and the rule in @p why.
 */
int producer_settings_init(struct producer_settings *settings, const struct client_config *config, struct span group,
                           struct span create_topic_key, uint32_t default_topic_queue_nums, uint32_t max_message_size, const char **why);

/**
 * May a producer of this group (wrapped with its namespace) start? 4.9.3's rules in their order: there is a group, it is not
 * blank, not longer than 255 characters, of legal characters, not DEFAULT_PRODUCER; and one of ours: not CLIENT_INNER_PRODUCER,
 * which 4.9.3 lets pass and then collides with. 0, or -EINVAL and a line in @p why that names the group and the rule.
 */
int producer_check_config(struct span group, char *why, size_t cap);
