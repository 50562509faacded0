/*
 * The factory table: every client instance of the hub by its key (instance_key.h).
 * What a server sees, the clientId, follows from the key, and is never given out
 * twice.
 */
#include "hub/instance/mq_client_manager.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/instance/instance_key.h"
#include "hub/instance/mq_client_instance.h"
#include "hub/metrics/problems.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

struct mq_client_manager {
    struct event_loop *loop;
    struct mq_client_manager_ops ops;
    struct resolver *resolver;
    struct mq_client_instance *instances[MQ_CLIENT_INSTANCES_MAX];
    unsigned count;
    uint32_t next_index; /* 4.9.3's factoryIndexGenerator */
    uint64_t started_ns;
    bool draining;
    char why[256]; /* the reason last given out */
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
    m->started_ns = mono_now_ns();
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

/* ---- the factory table ---- */

static struct mq_client_instance *find(struct mq_client_manager *m, const struct resolved_key *key, const char *client_ip)
{
    for (unsigned i = 0; i < m->count; i++) {
        struct mq_client_instance *in = m->instances[i];
        if (strcmp(in->asked_name, key->instance_name) == 0 && strcmp(in->unit_name, key->unit_name) == 0 &&
            strcmp(in->config.client_ip, client_ip) == 0 && strcmp(in->identity, key->identity) == 0)
            return in;
    }
    return NULL;
}

static bool is_taken(const struct mq_client_manager *m, const char *client_id)
{
    for (unsigned i = 0; i < m->count; i++)
        if (strcmp(m->instances[i]->client_id, client_id) == 0)
            return true;
    return false;
}

/* A generated name, pid#nanotime, from before this hub: to brokers that one's connections may still be there. */
static bool is_kept(const struct mq_client_manager *m, const struct resolved_key *key, const char *name)
{
    const char *drawn = strchr(name, '#');
    return strcmp(key->instance_name, DEFAULT_INSTANCE_NAME) == 0 && drawn && strtoull(drawn + 1, NULL, 10) < m->started_ns;
}

static int name_it(const struct mq_client_manager *m, const struct resolved_key *key, struct mq_client_instance *in)
{
    const struct instance_name_keeper keeper = {m->ops.default_instance_name, m->ops.ctx};
    instance_key_name(key, &keeper, in->instance_name, sizeof(in->instance_name));
    int r = client_config_build_client_id(in->client_id, sizeof(in->client_id), in->config.client_ip, in->instance_name, in->unit_name);
    in->has_predecessors = is_kept(m, key, in->instance_name);
    if (r < 0 || !is_taken(m, in->client_id))
        return r;
    if (strcmp(key->instance_name, DEFAULT_INSTANCE_NAME) != 0)
        return -EADDRINUSE;
    /* The one that was kept is in use: a store that somebody copied or edited. */
    instance_key_name(key, NULL, in->instance_name, sizeof(in->instance_name));
    in->has_predecessors = false;
    return client_config_build_client_id(in->client_id, sizeof(in->client_id), in->config.client_ip, in->instance_name, in->unit_name);
}

static int fill_in(struct mq_client_manager *m, const struct resolved_key *key, const char *client_ip, struct mq_client_instance *in)
{
    char tls[IDENTITY_MAX];
    in->manager = m;
    in->loop = m->loop;
    in->config = *key->config;
    in->changed = m->ops.changed;
    in->changed_ctx = m->ops.ctx;
    snprintf(in->cluster, sizeof(in->cluster), "%s", key->cluster);
    snprintf(in->namesrv_addr, sizeof(in->namesrv_addr), "%s", key->namesrv_addr);
    snprintf(in->asked_name, sizeof(in->asked_name), "%s", key->instance_name);
    snprintf(in->unit_name, sizeof(in->unit_name), "%s", key->unit_name);
    snprintf(in->config.client_ip, sizeof(in->config.client_ip), "%s", client_ip);
    instance_key_tls_text(tls, sizeof(tls), key->config);
    in->tls_fingerprint = instance_key_fingerprint(tls);
    in->credentials_fingerprint = instance_key_fingerprint(key->config->credentials_file);
    in->identity = strdup(key->identity);
    return in->identity ? name_it(m, key, in) : -ENOMEM;
}

static const char *describe(struct mq_client_manager *m, const struct mq_client_instance *in, int error)
{
    if (error == -ENOMEM)
        return "no memory";
    if (error == -ENAMETOOLONG)
        return "the clientId made of address, instance name and unit name is longer than 255 characters";
    if (error == -EADDRINUSE)
        snprintf(m->why, sizeof(m->why), "the clientId %.160s is used by an instance with other settings", in->client_id);
    else
        snprintf(m->why, sizeof(m->why), "the instance could not be started: %s",
                 in->start_problem[0] ? in->start_problem : strerror(-error));
    return m->why;
}

/* One problem of the whole cluster: a name that failed may never be asked for again, and then nothing would end its own. */
static void note_start(const struct mq_client_instance *in, int error)
{
    if (error == 0)
        problem_clear(PROBLEM_INSTANCE_START, in->cluster);
    else
        problem_raise(PROBLEM_INSTANCE_START, in->cluster, TABLE_SEVERITY_CRIT, "the client could not be started: %s (instance %s)",
                      in->start_problem[0] ? in->start_problem : strerror(-error), in->asked_name);
}

static int create(struct mq_client_manager *m, const struct resolved_key *key, const char *client_ip, struct mq_client_instance **out,
                  const char **reason)
{
    struct mq_client_instance *in = calloc(1, sizeof(*in));
    if (!in) {
        *reason = "no memory";
        return -ENOMEM;
    }
    in->factory_index = m->next_index;
    int r = fill_in(m, key, client_ip, in);
    if (r == 0) {
        r = mq_client_instance_start(in, m->resolver, &m->ops.route_store, key->own_list ? in->namesrv_addr : in->cluster);
        note_start(in, r);
    }
    if (r < 0) {
        *reason = describe(m, in, r);
        mq_client_instance_free(in);
        return r;
    }
    m->next_index++;
    m->instances[m->count++] = in;
    LOG_INFO(in->client_id, "created new client instance, factory index %u", in->factory_index);
    *out = in;
    return 0;
}

int mq_client_manager_get_or_create(struct mq_client_manager *m, const struct instance_key *key, struct mq_client_instance **out,
                                    const char **reason)
{
    struct resolved_key resolved;
    char client_ip[sizeof(resolved.config->client_ip)];
    const char *ignored;
    if (!reason)
        reason = &ignored;
    if (m->draining) {
        *reason = "the hub is stopping";
        return -ESHUTDOWN;
    }
    int r = instance_key_resolve(key, &m->ops, &resolved, reason);
    if (r < 0)
        return r;
    snprintf(client_ip, sizeof(client_ip), "%s", resolved.config->client_ip);
    if (!client_ip[0])
        client_config_find_ip(client_ip, sizeof(client_ip));
    struct mq_client_instance *in = find(m, &resolved, client_ip);
    if (in) {
        bool same = strcmp(in->cluster, resolved.cluster) == 0;
        LOG_INFO(in->client_id, "returned previous client instance, factory index %u%s%s%s", in->factory_index,
                 same ? "" : "; it has the settings of cluster ", same ? "" : in->cluster, same ? "" : ", which asked first");
        mq_client_instance_revive(in);
        *out = in;
        return 0;
    }
    if (m->count == MQ_CLIENT_INSTANCES_MAX) {
        *reason = "too many client instances";
        return -EDQUOT;
    }
    return create(m, &resolved, client_ip, out, reason);
}

bool mq_client_manager_is_extra(const struct mq_client_manager *m, const struct mq_client_instance *instance)
{
    for (unsigned i = 0; i < m->count; i++) {
        const struct mq_client_instance *in = m->instances[i];
        if (in->factory_index < instance->factory_index && strcmp(in->namesrv_addr, instance->namesrv_addr) == 0 &&
            strcmp(in->asked_name, instance->asked_name) == 0 && strcmp(in->unit_name, instance->unit_name) == 0 &&
            (in->tls_fingerprint != instance->tls_fingerprint || in->credentials_fingerprint != instance->credentials_fingerprint))
            return true;
    }
    return false;
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

int mq_client_manager_cluster_config(const struct mq_client_manager *m, const char *cluster, const struct client_config **out)
{
    const char *name, *namesrv_addr;
    return m->ops.cluster_of(m->ops.ctx, cluster && cluster[0] ? cluster : NULL, &name, &namesrv_addr, out);
}

unsigned mq_client_manager_count(const struct mq_client_manager *m)
{
    return m->count;
}

struct mq_client_instance *mq_client_manager_at(const struct mq_client_manager *m, unsigned index)
{
    return index < m->count ? m->instances[index] : NULL;
}
