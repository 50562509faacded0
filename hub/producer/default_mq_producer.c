/*
 * The start is 4.9.3's, step by step, in one function. Two things are done better than
 * there: what a failed start had taken is given back, and a group that was registered
 * by an earlier handle is announced once, not with every handle.
 */
#include "hub/producer/default_mq_producer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/producer/producer_impl.h"
#include "hub/protocol/name_server_address_utils.h"
#include "hub/protocol/namespace_util.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define GROUP_RAW_MAX 1024u /* longer than any group that is right, so that a long one is seen to be long */

void default_mq_producer_init(struct default_mq_producer *p)
{
    *p = (struct default_mq_producer){.service_state = SERVICE_CREATE_JUST};
}

static bool is_set(const char *text)
{
    return text && text[0];
}

static void say(struct default_mq_producer *p, const char *reason)
{
    text_copy(p->reason, sizeof(p->reason), reason, strlen(reason));
}

/* ---- the steps of a start ---- */

static int refuse_state(struct default_mq_producer *p)
{
    snprintf(p->reason, sizeof(p->reason), "the producer of group %.64s cannot start: its state is %s, maybe it was started before",
             p->group, service_state_name(p->service_state));
    return -EALREADY;
}

/* The handle's own, the one in the name of an instance endpoint that the handle names, or the cluster's. */
static int find_name_space(struct default_mq_producer *p, const struct client_config *config, const struct default_mq_producer_options *o)
{
    if (is_set(o->name_space)) {
        struct span name = span_of(o->name_space);
        if (text_copy(p->name_space, sizeof(p->name_space), name.data, name.len) && !validate_topic(name))
            return 0;
        say(p, "the namespace is longer than 127 characters or has one outside [%|a-zA-Z0-9_-]");
        return -EINVAL;
    }
    if (is_set(o->key.namesrv_addr))
        name_server_address_namespace(o->key.namesrv_addr, p->name_space, sizeof(p->name_space));
    else
        text_copy(p->name_space, sizeof(p->name_space), config->name_space, strlen(config->name_space));
    return 0;
}

struct wrapped_group {
    char text[GROUP_RAW_MAX + NAME_SPACE_MAX_LENGTH + 3];
    struct span name; /* in text; data == NULL: none was given */
};

static int wrap_group(struct default_mq_producer *p, const struct client_config *config, const struct default_mq_producer_options *o,
                      struct wrapped_group *out)
{
    out->name = o->group;
    int r = find_name_space(p, config, o);
    if (r < 0 || !o->group.data)
        return r;
    size_t len = namespace_wrap(out->text, sizeof(out->text), span_of(p->name_space), o->group);
    if (len > 0) /* else it is empty, or too long in any namespace: its own length tells */
        out->name = (struct span){out->text, len};
    return 0;
}

static int check_group(struct default_mq_producer *p, const struct wrapped_group *group)
{
    int r = producer_check_config(group->name, p->reason, sizeof(p->reason));
    if (r < 0)
        return r;
    text_copy(p->group, sizeof(p->group), group->name.data, group->name.len);
    p->group_len = (uint16_t)group->name.len;
    return 0;
}

static int find_config(struct default_mq_producer *p, struct mq_client_manager *manager, const char *cluster,
                       const struct client_config **out)
{
    int r = mq_client_manager_cluster_config(manager, cluster, out);
    if (r < 0)
        say(p, is_set(cluster) ? "no such cluster is configured" : "no cluster is configured");
    return r;
}

static int find_settings(struct default_mq_producer *p, const struct client_config *config, const struct default_mq_producer_options *o)
{
    const char *why;
    struct span key = span_of(o->create_topic_key ? o->create_topic_key : "");
    int r = producer_settings_init(&p->settings, config, (struct span){p->group, p->group_len}, key, o->default_topic_queue_nums,
                                   o->max_message_size, &why);
    if (r < 0)
        say(p, why);
    return r;
}

static bool is_registered_by(const struct producer *group, const void *client)
{
    for (struct list_link *it = group->handles.next; it != &group->handles; it = it->next)
        if (LIST_ENTRY(it, struct default_mq_producer, link)->client == client)
            return true;
    return false;
}

/* Without an explicit name each producer of a 4.9.3 process has an instance of its own, and a group as often as it likes. */
static bool is_duplicate(const struct default_mq_producer *p, const struct default_mq_producer_options *o)
{
    const struct producer *group = producer_table_find(&p->instance->producers, p->group, p->group_len);
    return group && o->client && is_set(o->key.instance_name) && strcmp(o->key.instance_name, DEFAULT_INSTANCE_NAME) != 0 &&
           is_registered_by(group, o->client);
}

static int register_group(struct default_mq_producer *p, const struct default_mq_producer_options *o)
{
    const char *why = NULL;
    if (is_duplicate(p, o)) {
        snprintf(p->reason, sizeof(p->reason),
                 "the producer group %.64s was created before in this process under this instance name: use that producer, or another "
                 "group",
                 p->group);
        LOG_WARN(p->instance->client_id, "%s", p->reason);
        return -EEXIST;
    }
    int r = producer_acquire(p->instance, (struct span){p->group, p->group_len}, o->uid, &p->producer, &why);
    if (r < 0) {
        say(p, why);
        return r;
    }
    p->client = o->client;
    list_append(&p->producer->handles, &p->link);
    return 0;
}

static int get_instance(struct default_mq_producer *p, struct mq_client_manager *manager, const struct instance_key *key)
{
    const char *why = NULL;
    int r = mq_client_manager_get_or_create(manager, key, &p->instance, &why);
    if (r < 0)
        say(p, why);
    return r;
}

static int add_create_topic(struct default_mq_producer *p)
{
    const char *why = NULL;
    p->create_topic_entry = topic_entry_hold(p->instance, span_of(p->settings.create_topic_key), &why);
    if (p->create_topic_entry)
        return 0;
    say(p, why);
    return -EDQUOT;
}

static void start_trace(struct default_mq_producer *p, const struct default_mq_producer_options *o)
{
    if (!o->trace_dispatcher)
        return;
    int r = o->trace_dispatcher->start(o->trace_dispatcher, p->instance->namesrv_addr, o->access_channel);
    if (r < 0)
        LOG_WARN(p->group, "the trace dispatcher did not start (%s): messages are sent without trace", strerror(-r));
    else
        p->trace_dispatcher = o->trace_dispatcher;
}

static void let_go(struct default_mq_producer *p, bool final)
{
    if (p->create_topic_entry)
        topic_entry_release(p->create_topic_entry);
    list_unlink(&p->link);
    if (p->producer)
        producer_release(p->producer, final);
    p->create_topic_entry = NULL;
    p->producer = NULL;
    p->instance = NULL;
}

/* ---- public ---- */

int default_mq_producer_start(struct default_mq_producer *p, struct mq_client_manager *manager, const struct default_mq_producer_options *o)
{
    const struct client_config *config;
    struct wrapped_group group;
    if (p->service_state != SERVICE_CREATE_JUST)
        return refuse_state(p);
    int r = find_config(p, manager, o->key.cluster, &config);
    if (r == 0)
        r = wrap_group(p, config, o, &group);
    p->service_state = SERVICE_START_FAILED;
    if (r == 0)
        r = check_group(p, &group);
    if (r == 0)
        r = find_settings(p, config, o);
    if (r == 0)
        r = get_instance(p, manager, &o->key); /* DEFAULT renamed; found, or made and started: it contacts nobody yet */
    if (r == 0)
        r = register_group(p, o); /* a group that is new to the instance is announced to every broker */
    if (r == 0)
        r = add_create_topic(p);
    if (r < 0) {
        let_go(p, false);
        if (r == -EEXIST)
            p->service_state = SERVICE_CREATE_JUST;
        return r;
    }
    p->service_state = SERVICE_RUNNING;
    start_trace(p, o);
    return 0;
}

void default_mq_producer_disown(struct default_mq_producer *p)
{
    p->client = NULL;
}

void default_mq_producer_shutdown(struct default_mq_producer *p, bool final)
{
    if (p->service_state != SERVICE_RUNNING)
        return;
    p->service_state = SERVICE_SHUTDOWN_ALREADY;
    if (p->trace_dispatcher)
        p->trace_dispatcher->shutdown(p->trace_dispatcher);
    p->trace_dispatcher = NULL;
    let_go(p, final);
}
