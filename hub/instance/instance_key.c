#include "hub/instance/instance_key.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hub/route/name_server.h"
#include "shm/base/text.h"

#define KEY_TEXT_MAX (16u + sizeof(((struct client_config *)0)->client_ip) + UNIT_NAME_MAX + 8u)

static bool is_set(const char *s)
{
    return s && s[0];
}

static bool is_name(const char *s, size_t max)
{
    size_t len = strlen(s);
    if (len == 0 || len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f || s[i] == '@')
            return false;
    return true;
}

/* ---- identity ---- */

void instance_key_tls_text(char *out, size_t cap, const struct client_config *config)
{
    const struct tls_settings *t = &config->tls;
    out[0] = '\0';
    if (t->enable)
        snprintf(out, cap, "%s|%s|%s|%s|%s|%s", t->insecure ? "insecure" : "verified", t->ca_file, t->cert_file, t->key_file,
                 t->key_password_file, t->server_name);
}

/* One text for each: texts of paths and addresses, in which '\n' cannot stand. 0 | -EINVAL | -E2BIG. */
static int build_identity(char out[IDENTITY_MAX], const char *namesrv_addr, const struct client_config *config, const char *unit_name)
{
    int n = snprintf(out, IDENTITY_MAX, "%s\n", namesrv_addr);
    if (n < 0 || (size_t)n >= IDENTITY_MAX)
        return -E2BIG;
    if (!namesrv_addr[0]) {
        int r = top_addressing_url(out, IDENTITY_MAX, config->namesrv_domain, config->namesrv_domain_subgroup, unit_name);
        if (r < 0)
            return r;
        n = (int)strlen(out);
        out[n++] = '\n';
    }
    instance_key_tls_text(out + n, IDENTITY_MAX - (size_t)n, config);
    size_t used = strlen(out);
    int m = snprintf(out + used, IDENTITY_MAX - used, "\n%s", config->credentials_file);
    return m < 0 || (size_t)m >= IDENTITY_MAX - used ? -E2BIG : 0;
}

uint32_t instance_key_fingerprint(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    if (!text[0])
        return 0;
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h ? h : 1;
}

/* ---- resolving ---- */

static const char *check(const struct resolved_key *key)
{
    if (key->namesrv_addr[0] && (strlen(key->namesrv_addr) > NAMESRV_ADDR_MAX || name_server_check_list(key->namesrv_addr) < 0))
        return "the nameserver list must read host:port;host:port, with at most 32 entries, or http://host:port";
    if (!is_name(key->instance_name, INSTANCE_NAME_ASKED_MAX))
        return "an instance name has 1 to 118 visible characters, without @";
    if (key->unit_name[0] && !is_name(key->unit_name, UNIT_NAME_MAX))
        return "a unit name has 1 to 63 visible characters, without @";
    return NULL;
}

/* Where an explicit name is as it was asked for: the identity that the default cluster gives. */
static bool is_home(const struct mq_client_manager_ops *ops, const struct resolved_key *key)
{
    const char *name, *addr = NULL;
    const struct client_config *config;
    char identity[IDENTITY_MAX];
    if (ops->cluster_of(ops->ctx, NULL, &name, &addr, &config) < 0)
        return false;
    return build_identity(identity, addr ? addr : "", config, key->unit_name) == 0 && strcmp(identity, key->identity) == 0;
}

int instance_key_resolve(const struct instance_key *key, const struct mq_client_manager_ops *ops, struct resolved_key *out,
                         const char **reason)
{
    const char *addr = NULL;
    if (ops->cluster_of(ops->ctx, is_set(key->cluster) ? key->cluster : NULL, &out->cluster, &addr, &out->config) < 0) {
        *reason = is_set(key->cluster) ? "no such cluster is configured" : "no cluster is configured";
        return -ENOENT;
    }
    addr = addr ? addr : "";
    out->instance_name = is_set(key->instance_name) ? key->instance_name : DEFAULT_INSTANCE_NAME;
    out->unit_name = is_set(key->unit_name) ? key->unit_name : out->config->unit_name;
    out->namesrv_addr = is_set(key->namesrv_addr) ? key->namesrv_addr : addr;
    out->own_list = strcmp(out->namesrv_addr, addr) != 0;
    *reason = check(out);
    if (!*reason && build_identity(out->identity, out->namesrv_addr, out->config, out->unit_name) < 0)
        *reason = "no nameserver address is configured, and namesrv_domain is no host";
    if (*reason)
        return -EINVAL;
    out->at_home = is_home(ops, out);
    return 0;
}

/* ---- names ---- */

/* digits#digits, or anything that ends in # and 8 hex digits. */
static bool looks_like_ours(const char *name)
{
    static const char digits[] = "0123456789", hex[] = "0123456789abcdefABCDEF";
    const char *mark = strrchr(name, '#');
    if (!mark)
        return false;
    bool is_pid = mark != name && strspn(name, digits) == (size_t)(mark - name) && mark[1] && mark[1 + strspn(mark + 1, digits)] == '\0';
    return is_pid || (strlen(mark + 1) == 8 && strspn(mark + 1, hex) == 8);
}

void instance_key_name(const struct resolved_key *key, const struct instance_name_keeper *keeper, char *out, size_t cap)
{
    char text[KEY_TEXT_MAX];
    snprintf(out, cap, "%s", key->instance_name);
    snprintf(text, sizeof(text), DEFAULT_INSTANCE_NAME "|%016" PRIx64 "|%s|%s", text_hash64(TEXT_HASH64_START, key->identity),
             key->config->client_ip, key->unit_name);
    client_config_change_instance_name_to_pid(out, cap, keeper, text);
    bool is_explicit = strcmp(key->instance_name, DEFAULT_INSTANCE_NAME) != 0;
    if (is_explicit && (!key->at_home || looks_like_ours(key->instance_name)))
        snprintf(out, cap, "%.118s#%08x", key->instance_name, instance_key_fingerprint(key->identity));
}
