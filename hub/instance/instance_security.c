/*
 * What an instance proves to servers, and servers to it: credentials and TLS, from
 * files. Both are read when the instance starts and when the hub reloads. A reload
 * that fails leaves what is in use in use; a start without the credentials that are
 * wanted fails; without the TLS context that is wanted nothing is dialled.
 */
#include <stdio.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/metrics/problems.h"
#include "hub/remoting/acl_client_rpc_hook.h"

#define RULE_CREDENTIALS "credentials"

static int load_credentials(struct mq_client_instance *in)
{
    struct rpc_hook *hook = NULL;
    const char *file = in->config.credentials_file;
    int r = file[0] ? acl_client_rpc_hook_new(&hook, file, in->start_problem, sizeof(in->start_problem)) : 0;
    if (r < 0) {
        problem_raise(RULE_CREDENTIALS, in->client_id, TABLE_SEVERITY_CRIT, "%s", in->start_problem);
        return r;
    }
    problem_clear(RULE_CREDENTIALS, in->client_id);
    if (hook)
        remoting_client_set_hook(&in->remoting, hook);
    return 0;
}

int mq_client_instance_load_security(struct mq_client_instance *in)
{
    in->start_problem[0] = '\0';
    return load_credentials(in);
}
