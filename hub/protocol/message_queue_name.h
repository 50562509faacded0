/*
 * A message queue as RocketMQ programs name it to each other: topic, broker, number.
 */
#pragma once

#include <stdint.h>

#include "shm/base/bytes.h"

struct message_queue_name {
    struct span topic, broker_name;
    int32_t queue_id;
};
