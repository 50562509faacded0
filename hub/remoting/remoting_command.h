/*
 * One request or response of the remoting protocol, decoded: header fields and
 * where its texts lie. The value owns nothing; its spans live as long as the
 * frame and the scratch buffer it was decoded from.
 */
#pragma once

#include "hub/protocol/codes.h"
#include "shm/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum serialize_type {
    SERIALIZE_JSON = 0,
    SERIALIZE_ROCKETMQ = 1, /* the binary header */
};

/** Most entries of extFields that we read or write; a header with more is refused. */
#define REMOTING_MAX_EXT_FIELDS 64

/** Largest frame in bytes, the length prefix included: the servers' own default limit. */
#define REMOTING_FRAME_MAX (16u << 20)

struct ext_field {
    struct span key, value; /* value.data is never NULL: entries whose value is null are dropped on decode */
};

/** A decoded header and body. Only the first @c ext_count entries of @c ext are set. */
struct remoting_command {
    int32_t code;
    int32_t version;
    int32_t opaque;
    int32_t flag;                       /* REMOTING_FLAG_* */
    enum language_code language;        /* LANGUAGE_UNKNOWN when the peer says something new */
    enum serialize_type serialize_type; /* how this header was encoded */
    bool remark_cut;                    /* scratch was too small for the whole remark */
    struct span remark;                 /* data == NULL: absent */
    struct span body;                   /* len == 0: absent */
    unsigned ext_count;
    struct ext_field ext[REMOTING_MAX_EXT_FIELDS];
};

static inline bool remoting_command_is_response(const struct remoting_command *c)
{
    return (c->flag & REMOTING_FLAG_RESPONSE) != 0;
}

static inline bool remoting_command_is_oneway(const struct remoting_command *c)
{
    return (c->flag & REMOTING_FLAG_ONEWAY) != 0;
}

/** Value of an ext field; data == NULL when absent. Of a repeated key the last one counts, as in the servers' maps. */
struct span remoting_command_ext(const struct remoting_command *command, const char *key);

/** Reads an ext field that must be a whole decimal int64. False when absent or anything else; @p out is then unchanged. */
bool remoting_command_ext_i64(const struct remoting_command *command, const char *key, int64_t *out);
