/*
 * What is signed: the values of all ext fields, AccessKey and SecurityToken among them, in byte order of their
 * names, then the body. 4.9.3's hook takes declared fields only, but its server verifies every field that came;
 * all that this client sends are signed.
 */
#include "hub/remoting/acl_client_rpc_hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/remoting/acl_credentials.h"

#define KEY_ACCESS_KEY "AccessKey"
#define KEY_SIGNATURE "Signature"
#define KEY_SECURITY_TOKEN "SecurityToken"
#define KEY_UNIQUE_KEY_QUERY "_UNIQUE_KEY_QUERY" /* the one field that servers leave out */

#define OWN_FIELDS 2u /* that are signed: AccessKey, SecurityToken */

struct acl_hook {
    struct rpc_hook hook;
    struct acl_credentials *credentials;
    char signature[ACL_SIGNATURE_LEN];
};

static struct acl_hook *acl_of(struct rpc_hook *hook)
{
    return (struct acl_hook *)hook;
}

static bool is_before(struct span a, struct span b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.data, b.data, shorter);
    return order < 0 || (order == 0 && a.len < b.len);
}

/* Inserts by name; requests come nearly sorted. */
static void insert(const struct ext_field **sorted, unsigned count, const struct ext_field *field)
{
    while (count > 0 && is_before(field->key, sorted[count - 1]->key)) {
        sorted[count] = sorted[count - 1];
        count--;
    }
    sorted[count] = field;
}

static void sign(struct acl_hook *acl, const struct rpc_request *request)
{
    const struct ext_field *sorted[REMOTING_MAX_EXT_FIELDS + OWN_FIELDS];
    struct span parts[REMOTING_MAX_EXT_FIELDS + OWN_FIELDS + 1];
    unsigned count = 0;
    for (unsigned i = 0; i < request->added_count; i++)
        insert(sorted, count++, &request->added[i]);
    for (unsigned i = 0; i < request->ext_count; i++)
        if (request->ext[i].value.data && !span_equals(request->ext[i].key, SPAN_LITERAL(KEY_UNIQUE_KEY_QUERY)))
            insert(sorted, count++, &request->ext[i]);
    for (unsigned i = 0; i < count; i++)
        parts[i] = sorted[i]->value;
    parts[count++] = request->body;
    acl_sign(acl->credentials, parts, count, acl->signature);
}

static void add(struct rpc_request *request, struct span key, struct span value)
{
    request->added[request->added_count++] = (struct ext_field){key, value};
}

static int before_request(struct rpc_hook *hook, struct rpc_request *request)
{
    struct acl_hook *acl = acl_of(hook);
    if (request->ext_count > REMOTING_MAX_EXT_FIELDS - RPC_HOOK_FIELDS_MAX) {
        hook->reason = "the request has too many fields to be signed";
        return -EMSGSIZE;
    }
    add(request, SPAN_LITERAL(KEY_ACCESS_KEY), acl_credentials_access_key(acl->credentials));
    struct span token = acl_credentials_security_token(acl->credentials);
    if (token.data)
        add(request, SPAN_LITERAL(KEY_SECURITY_TOKEN), token);
    sign(acl, request);
    add(request, SPAN_LITERAL(KEY_SIGNATURE), (struct span){acl->signature, sizeof(acl->signature)});
    return 0;
}

static void acl_free(struct rpc_hook *hook)
{
    struct acl_hook *acl = acl_of(hook);
    acl_credentials_free(acl->credentials);
    free(acl);
}

static const struct rpc_hook_ops acl_ops = {.before_request = before_request, .free = acl_free};

int acl_client_rpc_hook_new(struct rpc_hook **out, const char *credentials_file, char *why, size_t cap)
{
    struct acl_hook *acl = calloc(1, sizeof(*acl));
    if (!acl) {
        snprintf(why, cap, "no memory");
        return -ENOMEM;
    }
    acl->hook.ops = &acl_ops;
    int r = acl_credentials_load(&acl->credentials, credentials_file, why, cap);
    if (r < 0) {
        free(acl);
        return r;
    }
    struct span token = acl_credentials_security_token(acl->credentials);
    acl->hook.fields_max = token.data ? 3 : 2;
    acl->hook.bytes_max = strlen(KEY_ACCESS_KEY KEY_SIGNATURE) + acl_credentials_access_key(acl->credentials).len + ACL_SIGNATURE_LEN;
    if (token.data)
        acl->hook.bytes_max += strlen(KEY_SECURITY_TOKEN) + token.len;
    *out = &acl->hook;
    return 0;
}
