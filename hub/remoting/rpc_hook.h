/*
 * What runs before each request that this client sends, and after each reply (4.9.3's
 * RPCHook): to brokers and nameservers alike, binary and JSON headers alike. A hook adds
 * ext fields, or refuses: then the request ends with the hook's reason and no byte of it
 * is written. One hook a network client; none costs one comparison.
 *
 * Everything runs on the loop's thread, once per request, and must not allocate.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/remoting/remoting_command.h"

struct send_response;

#define RPC_HOOK_FIELDS_MAX 3u

/** A request before it is encoded, or at the end of its ext fields. */
struct rpc_request {
    int32_t code;
    const struct ext_field *ext; /* what the request itself has, in any order */
    unsigned ext_count;
    struct span body; /* as it will be sent */
    /* What the hook adds; the values stay as they are until the hook's next call. */
    struct ext_field added[RPC_HOOK_FIELDS_MAX];
    unsigned added_count;
};

struct rpc_hook;

struct rpc_hook_ops {
    /** 0, or less with hook->reason set: the request must not be sent. */
    int (*before_request)(struct rpc_hook *hook, struct rpc_request *request);
    /** May be NULL. */
    void (*after_response)(struct rpc_hook *hook, const char *address, int32_t request_code, const struct send_response *response);
    void (*free)(struct rpc_hook *hook);
};

struct rpc_hook {
    const struct rpc_hook_ops *ops;
    unsigned fields_max; /* most fields that before_request() adds; fewer cost a move of the body */
    size_t bytes_max;    /* and most bytes of their keys and values */
    const char *reason;  /* of the last refusal; the hook's own text */
};

/** NULL is fine. */
struct rpc_hook *rpc_hook_free(struct rpc_hook *hook);

/** Nothing is added without a hook (NULL). 0, or -EACCES: refused, hook->reason says why. */
int rpc_hook_before_request(struct rpc_hook *hook, struct rpc_request *request);
void rpc_hook_after_response(struct rpc_hook *hook, const char *address, int32_t request_code, const struct send_response *response);

static inline size_t rpc_hook_bytes_max(const struct rpc_hook *hook)
{
    return hook ? hook->bytes_max : 0;
}
