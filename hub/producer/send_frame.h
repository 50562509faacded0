/*
 * The frame of one SEND_MESSAGE_V2, written straight into a channel's buffer. With
 * the binary header (the default) the fields that do not change from message to
 * message are copied as they lie ready in the producer and the topic.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "hub/producer/producer_impl.h"

/** Upper bound of the frame's bytes. */
size_t send_frame_bound(const struct send_request *request);

/**
 * Writes the frame into @p buf of @p bound bytes, which is what send_frame_bound() says. Properties and body are copied once; the copy of the
 * properties is what is checked. 0 and *frame_len | -EINVAL bad properties | -EMSGSIZE over the protocol's limits | -EACCES
 * the hook refused.
 */
int send_frame_encode(const struct send_request *request, int32_t opaque, int32_t queue_id, int64_t born_timestamp_ms, void *buf,
                      size_t bound, size_t *frame_len);
