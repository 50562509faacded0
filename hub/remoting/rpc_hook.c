#include "hub/remoting/rpc_hook.h"

#include <errno.h>

struct rpc_hook *rpc_hook_ref(struct rpc_hook *hook)
{
    hook->refs++;
    return hook;
}

struct rpc_hook *rpc_hook_unref(struct rpc_hook *hook)
{
    if (hook && --hook->refs == 0)
        hook->ops->free(hook);
    return NULL;
}

int rpc_hook_before_request(struct rpc_hook *hook, struct rpc_request *request)
{
    request->added_count = 0;
    if (!hook)
        return 0;
    hook->requests++;
    if (hook->ops->before_request(hook, request) == 0)
        return 0;
    hook->refused++;
    return -EACCES;
}

void rpc_hook_after_response(struct rpc_hook *hook, const char *address, int32_t request_code, const struct send_response *response)
{
    if (!hook)
        return;
    hook->responses++;
    if (hook->ops->after_response)
        hook->ops->after_response(hook, address, request_code, response);
}
