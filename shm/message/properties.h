/*
 * A message's properties as they travel: name 0x01 value entries, joined by 0x02
 * (common MessageDecoder.messageProperties2String). The library writes them into its
 * arena; the hub copies the bytes once and believes the copy only after validation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shm/base/bytes.h"

#define PROPERTY_NAME_SEPARATOR '\1'
#define PROPERTY_ENTRY_SEPARATOR '\2'

#define PROPERTY_KEYS "KEYS"
#define PROPERTY_TAGS "TAGS"
#define PROPERTY_WAIT "WAIT"
#define PROPERTY_UNIQ_KEY "UNIQ_KEY"

/** Appends one entry to @p dst (@p *len of @p cap used). False, and nothing written, when it does not fit. */
bool properties_append(char *dst, size_t cap, size_t *len, struct span name, struct span value);

/** Takes the next entry off @p rest. False at the end or at a malformed entry (then rest->len stays > 0). */
bool properties_next(struct span *rest, struct span *name, struct span *value);

/** 0 when every entry has a name and a value and the whole is at most PROPERTIES_MAX_LENGTH, else -EINVAL. */
int properties_validate(const char *data, size_t len);

/** NULL when an application may set this pair, else one line that names the rule (Message.putUserProperty). */
const char *property_refuse_user(struct span name, struct span value);
