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
#include "hub/remoting/tls_context.h"

static int load_credentials(struct mq_client_instance *in)
{
    struct rpc_hook *hook = NULL;
    const char *file = in->config.credentials_file;
    int r = file[0] ? acl_client_rpc_hook_new(&hook, file, in->start_problem, sizeof(in->start_problem)) : 0;
    if (r < 0) {
        problem_raise(PROBLEM_CREDENTIALS, in->client_id, TABLE_SEVERITY_CRIT, "%s", in->start_problem);
        return r;
    }
    problem_clear(PROBLEM_CREDENTIALS, in->client_id);
    if (hook)
        remoting_client_set_hook(&in->remoting, hook);
    return 0;
}

/* As in 4.9.3, an instance starts without the context that it wants; unlike there, it then connects to nobody. */
static void load_tls(struct mq_client_instance *in)
{
    struct tls_context *context = NULL;
    char why[sizeof(in->start_problem)];
    if (!in->config.tls.enable)
        return;
    if (tls_context_new(&context, &in->config.tls, why, sizeof(why)) < 0) {
        problem_raise(PROBLEM_TLS_NO_CONTEXT, in->client_id, TABLE_SEVERITY_CRIT, "%s; %s", why,
                      in->remoting.tls ? "the certificates read before stay in use"
                                       : "nothing is connected, and nothing sent in plain text");
        return;
    }
    problem_clear(PROBLEM_TLS_NO_CONTEXT, in->client_id);
    if (in->config.tls.insecure)
        problem_raise(PROBLEM_TLS_INSECURE, in->client_id, TABLE_SEVERITY_WARN,
                      "tls_insecure: no server certificate is verified, so whoever is on the way can read and change messages");
    remoting_client_set_tls(&in->remoting, context);
}

int mq_client_instance_load_security(struct mq_client_instance *in)
{
    in->start_problem[0] = '\0';
    load_tls(in);
    return load_credentials(in);
}
