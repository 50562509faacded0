/*
 * Registrations of one broker. See clients.h.
 *
 * Groups and members are few, so plain lists do; nothing here runs per message.
 */
#include "tests/devbroker/clients.h"

#include "shm/base/text.h"

#include <stdlib.h>
#include <string.h>

struct client_route {
    struct list_link link;
    struct connection *connection;
    char client_id[];
};

void clients_init(struct clients *c)
{
    *c = (struct clients){0};
    list_init(&c->producer_groups);
    list_init(&c->consumer_groups);
    list_init(&c->routes);
}

struct client_info *client_info_new(struct connection *connection, struct span client_id, uint8_t language, int32_t version,
                                    uint64_t now_ns)
{
    struct client_info *info = calloc(1, sizeof(*info) + client_id.len + 1);
    if (!info)
        return NULL;
    info->references = 1;
    info->connection = connection;
    info->last_update_ns = now_ns;
    info->version = version;
    info->language = language;
    if (client_id.len)
        memcpy(info->client_id, client_id.data, client_id.len);
    return info;
}

void client_info_release(struct client_info *info)
{
    if (info && --info->references == 0)
        free(info);
}

static void member_free(struct client_member *m)
{
    list_unlink(&m->link);
    client_info_release(m->info);
    free(m);
}

static void subscription_free(struct subscription *s)
{
    list_unlink(&s->link);
    free(s->codes);
    free(s->topic);
    free(s->sub_string);
    free(s->expression_type);
    free((void *)(uintptr_t)s->raw.data);
    free(s);
}

static void group_free(struct client_group *g)
{
    LIST_FOR_EACH_SAFE (it, next, &g->members)
        member_free(LIST_ENTRY(it, struct client_member, link));
    LIST_FOR_EACH_SAFE (it, next, &g->subscriptions)
        subscription_free(LIST_ENTRY(it, struct subscription, link));
    list_unlink(&g->link);
    free(g);
}

static void groups_free(struct list_link *groups)
{
    LIST_FOR_EACH_SAFE (it, next, groups)
        group_free(LIST_ENTRY(it, struct client_group, link));
}

static void route_free(struct client_route *r)
{
    list_unlink(&r->link);
    free(r);
}

void clients_deinit(struct clients *c)
{
    groups_free(&c->producer_groups);
    groups_free(&c->consumer_groups);
    LIST_FOR_EACH_SAFE (it, next, &c->routes)
        route_free(LIST_ENTRY(it, struct client_route, link));
}

struct client_group *clients_find_group(struct list_link *groups, struct span name)
{
    LIST_FOR_EACH_SAFE (it, next, groups) {
        struct client_group *g = LIST_ENTRY(it, struct client_group, link);
        if (span_equals(span_of(g->name), name))
            return g;
    }
    return NULL;
}

static struct client_group *group_get(struct list_link *groups, struct span name)
{
    struct client_group *g = clients_find_group(groups, name);
    if (g)
        return g;
    g = calloc(1, sizeof(*g) + name.len + 1);
    if (!g)
        return NULL;
    if (name.len)
        memcpy(g->name, name.data, name.len);
    list_init(&g->members);
    list_init(&g->subscriptions);
    list_append(groups, &g->link);
    return g;
}

static struct client_member *group_member(struct client_group *g, const struct connection *connection)
{
    LIST_FOR_EACH_SAFE (it, next, &g->members) {
        struct client_member *m = LIST_ENTRY(it, struct client_member, link);
        if (m->info->connection == connection)
            return m;
    }
    return NULL;
}

static bool member_add(struct client_group *g, struct client_info *info)
{
    struct client_member *m = calloc(1, sizeof(*m));
    if (!m)
        return false;
    m->info = info;
    info->references++;
    list_append(&g->members, &m->link);
    return true;
}

static struct client_route *route_find(const struct clients *c, struct span client_id)
{
    LIST_FOR_EACH_SAFE (it, next, (struct list_link *)(uintptr_t)&c->routes) {
        struct client_route *r = LIST_ENTRY(it, struct client_route, link);
        if (span_equals(span_of(r->client_id), client_id))
            return r;
    }
    return NULL;
}

static void route_set(struct clients *c, const struct client_info *info)
{
    struct client_route *r = route_find(c, span_of(info->client_id));
    if (!r) {
        size_t len = strlen(info->client_id) + 1;
        r = calloc(1, sizeof(*r) + len);
        if (!r)
            return;
        memcpy(r->client_id, info->client_id, len);
        list_append(&c->routes, &r->link);
    }
    r->connection = info->connection;
}

static void route_forget(struct clients *c, struct span client_id)
{
    struct client_route *r = route_find(c, client_id);
    if (r)
        route_free(r);
}

struct connection *clients_route(const struct clients *c, struct span client_id)
{
    struct client_route *r = route_find(c, client_id);
    return r ? r->connection : NULL;
}

bool clients_register_producer(struct clients *c, struct span name, struct client_info *info, uint64_t now_ns)
{
    struct client_group *g = group_get(&c->producer_groups, name);
    if (!g)
        return false;
    struct client_member *m = group_member(g, info->connection);
    if (m) {
        m->info->last_update_ns = now_ns;
        return false;
    }
    if (!member_add(g, info))
        return false;
    c->producer_registrations++;
    route_set(c, info);
    return true;
}

struct client_group *clients_consumer_group(struct clients *c, struct span name)
{
    return group_get(&c->consumer_groups, name);
}

bool clients_register_consumer(struct clients *c, struct client_group *g, struct client_info *info, uint64_t now_ns)
{
    struct client_member *m = group_member(g, info->connection);
    if (!m) {
        if (!member_add(g, info))
            return false;
        c->consumer_registrations++;
        return true;
    }
    m->info->last_update_ns = now_ns;
    if (strcmp(m->info->client_id, info->client_id) != 0) {
        client_info_release(m->info);
        m->info = info;
        info->references++;
    }
    return false;
}

struct subscription *client_group_subscription(struct client_group *g, struct span topic)
{
    LIST_FOR_EACH_SAFE (it, next, &g->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, link);
        if (span_equals(span_of(s->topic), topic))
            return s;
    }
    return NULL;
}

static char *copy_of(struct span text)
{
    return strndup(text.data ? text.data : "", text.data ? text.len : 0);
}

static bool subscription_fill(struct subscription *s, const struct subscription_data *d)
{
    int32_t *codes = calloc(d->code_count + 1, sizeof(*codes));
    char *sub_string = copy_of(d->sub_string), *type = copy_of(d->expression_type), *raw = copy_of(d->raw);
    if (!codes || !sub_string || !type || !raw) {
        free(codes);
        free(sub_string);
        free(type);
        free(raw);
        return false;
    }
    memcpy(codes, d->codes, d->code_count * sizeof(*codes));
    free(s->codes);
    free(s->sub_string);
    free(s->expression_type);
    free((void *)(uintptr_t)s->raw.data);
    s->codes = codes;
    s->code_count = d->code_count;
    s->sub_string = sub_string;
    s->expression_type = type;
    s->raw = (struct span){raw, d->raw.len};
    s->sub_version = d->sub_version;
    return true;
}

bool client_group_subscribe(struct client_group *g, const struct subscription_data *d)
{
    struct subscription *s = client_group_subscription(g, d->topic);
    if (s) {
        s->mentioned = true;
        if (d->sub_version > s->sub_version)
            subscription_fill(s, d);
        return false;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return false;
    s->topic = copy_of(d->topic);
    s->mentioned = true;
    list_append(&g->subscriptions, &s->link);
    if (!s->topic || !subscription_fill(s, d)) {
        subscription_free(s);
        return false;
    }
    return true;
}

bool client_group_forget_unmentioned(struct client_group *g)
{
    bool any = false;
    LIST_FOR_EACH_SAFE (it, next, &g->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, link);
        if (!s->mentioned) {
            any = true;
            subscription_free(s);
        } else {
            s->mentioned = false;
        }
    }
    return any;
}

bool clients_unregister_producer(struct clients *c, struct span name, struct connection *connection, struct span client_id)
{
    struct client_group *g = clients_find_group(&c->producer_groups, name);
    if (!g)
        return false;
    struct client_member *m = group_member(g, connection);
    if (m)
        member_free(m);
    route_forget(c, client_id); /* even if other groups of this client remain, as 4.9.3 does */
    if (list_is_empty(&g->members))
        group_free(g);
    return m != NULL;
}

static void consumer_left(struct clients *c, struct client_group *g)
{
    if (list_is_empty(&g->members))
        group_free(g);
    else if (c->on_consumers_changed)
        c->on_consumers_changed(c->ctx, g);
}

bool clients_unregister_consumer(struct clients *c, struct span name, struct connection *connection)
{
    struct client_group *g = clients_find_group(&c->consumer_groups, name);
    struct client_member *m = g ? group_member(g, connection) : NULL;
    if (!m)
        return false;
    member_free(m);
    consumer_left(c, g);
    return true;
}

void clients_connection_closed(struct clients *c, struct connection *connection)
{
    LIST_FOR_EACH_SAFE (it, next, &c->producer_groups) {
        struct client_group *g = LIST_ENTRY(it, struct client_group, link);
        struct client_member *m = group_member(g, connection);
        if (!m)
            continue;
        route_forget(c, span_of(m->info->client_id));
        member_free(m);
        if (list_is_empty(&g->members))
            group_free(g);
    }
    LIST_FOR_EACH_SAFE (it, next, &c->consumer_groups) {
        struct client_group *g = LIST_ENTRY(it, struct client_group, link);
        struct client_member *m = group_member(g, connection);
        if (!m)
            continue;
        member_free(m);
        consumer_left(c, g);
    }
    /* A mapping may outlive its groups' entries; it must not outlive the connection's memory. */
    LIST_FOR_EACH_SAFE (it, next, &c->routes) {
        struct client_route *r = LIST_ENTRY(it, struct client_route, link);
        if (r->connection == connection)
            route_free(r);
    }
}

/* Takes one expired member off a list of groups; its group's name and connection are the result. */
static bool take_expired(struct clients *c, struct list_link *groups, uint64_t now_ns, uint64_t expiry_ns, char *name, size_t name_cap,
                         struct connection **connection)
{
    LIST_FOR_EACH_SAFE (it, next, groups) {
        struct client_group *g = LIST_ENTRY(it, struct client_group, link);
        LIST_FOR_EACH_SAFE (im, mnext, &g->members) {
            struct client_member *m = LIST_ENTRY(im, struct client_member, link);
            if (now_ns - m->info->last_update_ns <= expiry_ns)
                continue;
            text_copy(name, name_cap, g->name, strlen(g->name));
            *connection = m->info->connection;
            if (groups == &c->producer_groups)
                route_forget(c, span_of(m->info->client_id));
            member_free(m);
            if (list_is_empty(&g->members))
                group_free(g);
            c->expiries++;
            return true;
        }
    }
    return false;
}

void clients_scan(struct clients *c, uint64_t now_ns, uint64_t expiry_ns,
                  void (*expired)(void *ctx, const char *group, struct connection *connection), void *ctx)
{
    struct list_link *tables[] = {&c->producer_groups, &c->consumer_groups};
    char name[256];
    struct connection *connection;
    for (unsigned i = 0; i < 2; i++)
        while (take_expired(c, tables[i], now_ns, expiry_ns, name, sizeof(name), &connection))
            expired(ctx, name, connection);
}
