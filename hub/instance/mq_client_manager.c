/*
 * Keys and names. The identity of an instance is what was asked for: nameserver
 * list, instance name and unit. What a server sees, the clientId, follows from it:
 * DEFAULT becomes a name that hub.c keeps over restarts, and an explicit name used
 * away from the default cluster gets a suffix, so that one name means one instance
 * per cluster and never the same clientId twice.
 */
#include "hub/instance/mq_client_manager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define KEY_TEXT_MAX (NAMESRV_ADDR_MAX + INSTANCE_NAME_MAX + UNIT_NAME_MAX + CLUSTER_NAME_MAX + 16)

struct mq_client_manager {
    struct event_loop *loop;
    struct mq_client_manager_ops ops;
    struct resolver *resolver;
    struct mq_client_instance *instances[MQ_CLIENT_INSTANCES_MAX];
    unsigned count;
    bool draining;
};

static bool flush(void *ctx)
{
    struct mq_client_manager *m = ctx;
    for (unsigned i = 0; i < m->count; i++)
        remoting_client_flush(&m->instances[i]->remoting);
    /* Here nothing of an instance is on the stack, so the unused ones can go. */
    for (unsigned i = m->count; i-- > 0;) {
        if (!mq_client_instance_is_drained(m->instances[i]) || !mq_client_instance_is_unused(m->instances[i]))
            continue;
        LOG_INFO(m->instances[i]->client_id, "instance ended");
        mq_client_instance_free(m->instances[i]);
        memmove(&m->instances[i], &m->instances[i + 1], (--m->count - i) * sizeof(struct mq_client_instance *));
        if (m->ops.changed)
            m->ops.changed(m->ops.ctx);
    }
    return false;
}

int mq_client_manager_new(struct mq_client_manager **out, struct event_loop *loop, const struct mq_client_manager_ops *ops)
{
    struct mq_client_manager *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->loop = loop;
    m->ops = *ops;
    int r = resolver_new(&m->resolver, loop);
    if (r == 0)
        r = event_loop_add_hook(loop, LOOP_PHASE_FLUSH, flush, m);
    if (r < 0) {
        mq_client_manager_free(m);
        return r;
    }
    *out = m;
    return 0;
}

struct mq_client_manager *mq_client_manager_free(struct mq_client_manager *m)
{
    if (!m)
        return NULL;
    event_loop_remove_hook(m->loop, LOOP_PHASE_FLUSH, flush, m);
    for (unsigned i = 0; i < m->count; i++)
        mq_client_instance_free(m->instances[i]);
    resolver_free(m->resolver);
    free(m);
    return NULL;
}

/* ---- keys ---- */

struct resolved_key {
    const char *cluster, *namesrv_addr, *instance_name, *unit_name;
    const struct client_config *config;
    bool at_home;  /* default cluster with its own nameservers */
    bool own_list; /* the nameserver list is not the cluster's */
};

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

static int resolve_key(struct mq_client_manager *m, const struct instance_key *key, struct resolved_key *out, const char **reason)
{
    const char *home = NULL, *home_addr = NULL, *addr = NULL;
    const struct client_config *home_config;
    *out = (struct resolved_key){.unit_name = key->unit_name ? key->unit_name : ""};
    out->instance_name = is_set(key->instance_name) ? key->instance_name : DEFAULT_INSTANCE_NAME;
    if (m->ops.cluster_of(m->ops.ctx, is_set(key->cluster) ? key->cluster : NULL, &out->cluster, &addr, &out->config) < 0) {
        *reason = is_set(key->cluster) ? "no such cluster is configured" : "no cluster is configured";
        return -ENOENT;
    }
    int has_home = m->ops.cluster_of(m->ops.ctx, NULL, &home, &home_addr, &home_config);
    out->namesrv_addr = is_set(key->namesrv_addr) ? key->namesrv_addr : addr;
    out->own_list = !is_set(addr) || (is_set(out->namesrv_addr) && strcmp(out->namesrv_addr, addr) != 0);
    out->at_home = has_home == 0 && strcmp(home, out->cluster) == 0 && !out->own_list;
    *reason = NULL;
    if (!is_set(out->namesrv_addr))
        *reason = "no nameserver address is configured";
    else if (strlen(out->namesrv_addr) > NAMESRV_ADDR_MAX || name_server_check_list(out->namesrv_addr) < 0)
        *reason = "the nameserver list must read host:port;host:port, with at most 32 entries";
    else if (!is_name(out->instance_name, INSTANCE_NAME_MAX - 9))
        *reason = "an instance name has 1 to 118 visible characters, without @";
    else if (out->unit_name[0] && !is_name(out->unit_name, UNIT_NAME_MAX))
        *reason = "a unit name has 1 to 63 visible characters, without @";
    return *reason ? -EINVAL : 0;
}

static uint32_t fingerprint(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

static int name_instance(struct mq_client_manager *m, const struct resolved_key *key, struct mq_client_instance *in)
{
    char text[KEY_TEXT_MAX];
    if (strcmp(key->instance_name, DEFAULT_INSTANCE_NAME) != 0) {
        if (key->at_home)
            snprintf(in->instance_name, sizeof(in->instance_name), "%s", key->instance_name);
        else
            snprintf(in->instance_name, sizeof(in->instance_name), "%.118s#%08x", key->instance_name, fingerprint(key->namesrv_addr));
        return 0;
    }
    snprintf(text, sizeof(text), "%s|%s|%s|%s", key->cluster, key->namesrv_addr, key->instance_name, key->unit_name);
    if (m->ops.default_instance_name && m->ops.default_instance_name(m->ops.ctx, text, in->instance_name, sizeof(in->instance_name)) == 0)
        return 0;
    snprintf(in->instance_name, sizeof(in->instance_name), "%d#%llu", (int)getpid(), (unsigned long long)mono_now_ns());
    return 0;
}

static struct mq_client_instance *find(struct mq_client_manager *m, const struct resolved_key *key)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct mq_client_instance *in = m->instances[i];
        if (strcmp(in->namesrv_addr, key->namesrv_addr) == 0 && strcmp(in->asked_name, key->instance_name) == 0 &&
            strcmp(in->unit_name, key->unit_name) == 0)
            return in;
    }
    return NULL;
}

static int fill_in(struct mq_client_manager *m, const struct resolved_key *key, struct mq_client_instance *in)
{
    in->manager = m;
    in->loop = m->loop;
    in->config = *key->config;
    in->changed = m->ops.changed;
    in->changed_ctx = m->ops.ctx;
    snprintf(in->cluster, sizeof(in->cluster), "%s", key->cluster);
    snprintf(in->namesrv_addr, sizeof(in->namesrv_addr), "%s", key->namesrv_addr);
    snprintf(in->asked_name, sizeof(in->asked_name), "%s", key->instance_name);
    snprintf(in->unit_name, sizeof(in->unit_name), "%s", key->unit_name);
    if (!in->config.client_ip[0])
        client_config_find_ip(in->config.client_ip, sizeof(in->config.client_ip));
    name_instance(m, key, in);
    return client_config_build_client_id(in->client_id, sizeof(in->client_id), in->config.client_ip, in->instance_name, in->unit_name);
}

static int create(struct mq_client_manager *m, const struct resolved_key *key, struct mq_client_instance **out)
{
    struct mq_client_instance *in = calloc(1, sizeof(*in));
    if (!in)
        return -ENOMEM;
    int r = fill_in(m, key, in);
    if (r == 0)
        r = mq_client_instance_start(in, m->resolver, &m->ops.route_store, key->own_list ? in->namesrv_addr : in->cluster);
    if (r < 0) {
        mq_client_instance_free(in);
        return r;
    }
    m->instances[m->count++] = in;
    *out = in;
    return 0;
}

int mq_client_manager_get_or_create(struct mq_client_manager *m, const struct instance_key *key, struct mq_client_instance **out,
                                    const char **reason)
{
    struct resolved_key resolved;
    const char *ignored;
    if (!reason)
        reason = &ignored;
    if (m->draining) {
        *reason = "the hub is stopping";
        return -ESHUTDOWN;
    }
    int r = resolve_key(m, key, &resolved, reason);
    if (r < 0)
        return r;
    struct mq_client_instance *in = find(m, &resolved);
    if (in) {
        mq_client_instance_revive(in);
        *out = in;
        return 0;
    }
    if (m->count == MQ_CLIENT_INSTANCES_MAX) {
        *reason = "too many client instances";
        return -EDQUOT;
    }
    r = create(m, &resolved, out);
    if (r < 0)
        *reason = r == -ENOMEM ? "no memory" : "the instance could not be started";
    return r;
}

/* ---- the rest ---- */

void mq_client_manager_drain(struct mq_client_manager *m)
{
    m->draining = true;
    for (unsigned i = 0; i < m->count; i++)
        mq_client_instance_shutdown(m->instances[i]);
}

bool mq_client_manager_is_drained(const struct mq_client_manager *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (!mq_client_instance_is_drained(m->instances[i]))
            return false;
    return true;
}

unsigned mq_client_manager_count(const struct mq_client_manager *m)
{
    return m->count;
}

struct mq_client_instance *mq_client_manager_at(const struct mq_client_manager *m, unsigned index)
{
    return index < m->count ? m->instances[index] : NULL;
}
