#include "hub/remoting/rpc_hook.h"

#include <errno.h>

struct rpc_hook *rpc_hook_free(struct rpc_hook *hook)
{
    if (hook)
        hook->ops->free(hook);
    return NULL;
}

int rpc_hook_before_request(struct rpc_hook *hook, struct rpc_request *request)
{
    request->added_count = 0;
    return !hook || hook->ops->before_request(hook, request) == 0 ? 0 : -EACCES;
}

void rpc_hook_after_response(struct rpc_hook *hook, const char *address, int32_t request_code, const struct send_response *response)
{
    if (hook && hook->ops->after_response)
        hook->ops->after_response(hook, address, request_code, response);
}
