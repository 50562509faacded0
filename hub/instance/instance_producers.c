/*
 * Producer groups of one instance (4.9.3's producerTable): a process joins a group
 * that another one of the same user registered, the last one out leaves it to its
 * linger, and a group whose linger is over is unregistered on every connection that
 * knows it. What goes to the brokers is registration.c's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/registration.h"
#include "hub/protocol/codes.h"
#include "shm/base/bytes.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/message/validators.h"

static int add_producer(struct mq_client_instance *in, struct span group, uid_t uid, struct producer **out)
{
    struct producer *p;
    int r = producer_table_add(&in->producers, group.data, group.len, &p);
    if (r < 0)
        return r;
    p->instance = in;
    p->uid = uid;
    p->registered_ms = event_loop_now_ms(in->loop);
    *out = p;
    return 0;
}

static void set_producer_state(struct producer *p, enum producer_state state)
{
    if (p->state != state)
        LOG_DEBUG(p->group, "group %s -> %s", producer_state_name(p->state), producer_state_name(state));
    p->state = state;
    p->linger_until_ns = 0;
    mq_client_instance_changed(p->instance);
}

static const char *refuse_group(struct span group, uid_t uid, const struct producer *present, int *error)
{
    const char *rule = validate_producer_group(group);
    *error = -EINVAL;
    if (rule)
        return rule;
    if (present && present->inner)
        return "CLIENT_INNER_PRODUCER and the client's marker are its own groups";
    *error = -EPERM;
    if (present && present->uid != uid && present->state != PRODUCER_UNREGISTERING)
        return "the group belongs to another user";
    return NULL;
}

int mq_client_instance_register_producer(struct mq_client_instance *in, struct span group, uid_t uid, struct producer **out,
                                         const char **reason)
{
    int r;
    struct producer *p = producer_table_find(&in->producers, group.data, group.len);
    const char *refusal = refuse_group(group, uid, p, &r);
    if (refusal) {
        *reason = refusal;
        return r;
    }
    bool announced = p && p->state != PRODUCER_UNREGISTERING;
    if (!p && (r = add_producer(in, group, uid, &p)) < 0) {
        *reason = r == -EDQUOT ? "too many producer groups in this instance" : "no memory";
        return r;
    }
    p->uid = uid;
    p->refs++;
    set_producer_state(p, PRODUCER_ACTIVE);
    if (!announced)
        mq_client_instance_announce(in);
    *out = p;
    return 0;
}

/* ---- the client's own groups ---- */

static int add_own_group(struct mq_client_instance *in, struct span group, struct producer **out)
{
    int r = add_producer(in, group, 0, out);
    if (r == 0) {
        (*out)->inner = true;
        (*out)->refs = 1;
    }
    return r;
}

int mq_client_instance_register_own_groups(struct mq_client_instance *in)
{
    char marker[sizeof(MARKER_GROUP_PREFIX) + 16];
    snprintf(marker, sizeof(marker), MARKER_GROUP_PREFIX "%016" PRIx64, text_hash64(TEXT_HASH64_START, in->client_id));
    int r = add_own_group(in, SPAN_LITERAL(GROUP_CLIENT_INNER_PRODUCER), &in->inner_producer);
    return r < 0 ? r : add_own_group(in, span_of(marker), &in->marker);
}

/* ---- leaving ---- */

static void start_unregistering(struct producer *p)
{
    struct mq_client_instance *in = p->instance;
    struct registration *reg;
    set_producer_state(p, PRODUCER_UNREGISTERING);
    FOR_EACH_REGISTRATION (reg, in)
        registration_step(reg);
    mq_client_instance_forget_producers(in);
}

void mq_client_instance_unregister_producer(struct producer *p, bool final)
{
    p->refs--;
    if (p->refs > 0)
        return;
    uint32_t linger_ms = p->instance->config.linger_ms;
    if (final || linger_ms == 0) {
        start_unregistering(p);
        return;
    }
    set_producer_state(p, PRODUCER_LINGERING);
    p->linger_until_ns = event_loop_now_ns(p->instance->loop) + linger_ms * NS_PER_MS;
}

void mq_client_instance_expire_producers(struct mq_client_instance *in)
{
    uint64_t now = event_loop_now_ns(in->loop);
    for (unsigned i = 0; i < in->producers.high; i++) {
        struct producer *p = in->producers.producers[i];
        if (p && p->state == PRODUCER_LINGERING && p->linger_until_ns <= now)
            start_unregistering(p);
    }
    mq_client_instance_forget_producers(in); /* one that no connection knew may have waited for its last request */
}

void mq_client_instance_producer_is_idle(struct producer *p)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, p->instance)
        registration_step_soon(reg);
}

static bool anybody_knows(struct mq_client_instance *in, const struct producer *p)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        if (registration_knows(reg, p))
            return true;
    return false;
}

void mq_client_instance_forget_producers(struct mq_client_instance *in)
{
    for (unsigned i = 0; i < in->producers.high; i++) {
        struct producer *p = in->producers.producers[i];
        if (p && p->state == PRODUCER_UNREGISTERING && p->refs == 0 && p->outstanding == 0 && !anybody_knows(in, p))
            producer_table_remove(&in->producers, p);
    }
}
