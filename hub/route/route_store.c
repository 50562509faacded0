/*
 * A broker's addresses are kept beside the routes that name it, because many
 * routes name one broker: the answer for one topic says where it is now, the kept
 * routes of the others still say where it was.
 */
#include "hub/route/route_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/topic_route_data.h"
#include "hub/route/broker_addr_table.h"
#include "shm/base/text.h"

#define ADDRESSES_TEXT_MAX (BROKER_ADDRS_MAX * (CHANNEL_ADDRESS_MAX + 24u))

void route_store_save_broker(const struct route_store *store, const char *scope, const struct broker_data *broker, const char *from)
{
    char name[BROKER_NAME_MAX + 1], text[ADDRESSES_TEXT_MAX];
    size_t used = 0;
    if (!store->save || broker->addr_count > BROKER_ADDRS_MAX ||
        !text_copy(name, sizeof(name), broker->broker_name.data, broker->broker_name.len))
        return;
    for (unsigned i = 0; i < broker->addr_count; i++) {
        const struct broker_addr *addr = &broker->addrs[i];
        int n = snprintf(text + used, sizeof(text) - used, "%s%" PRId64 "=%.*s", i ? ";" : "", addr->broker_id, (int)addr->addr.len,
                         addr->addr.data);
        if (n < 0 || (size_t)n >= sizeof(text) - used)
            return;
        used += (size_t)n;
    }
    store->save(store->ctx, KEPT_BROKER, scope, name, text, used, from);
}

void route_store_forget_route(const struct route_store *store, const char *scope, const char *topic)
{
    if (store->forget)
        store->forget(store->ctx, KEPT_ROUTE, scope, topic);
}

/* One broker of a route being put together, with addresses that may come from its own record. */
struct known_broker {
    char *text; /* of the record; NULL: the route's own addresses count */
    struct broker_addr addrs[BROKER_ADDRS_MAX];
    unsigned count;
};

/* "id=host:port;id=host:port", as spans into @p text. False when it is not exactly that. */
static bool parse_addresses(struct known_broker *out, const char *text, size_t len)
{
    char number[24];
    const char *end = text + len;
    for (out->count = 0; text < end; out->count++) {
        const char *stop = memchr(text, ';', (size_t)(end - text)), *equals = memchr(text, '=', (size_t)(end - text));
        if (!stop)
            stop = end;
        if (!equals || equals >= stop || out->count == BROKER_ADDRS_MAX ||
            !text_copy(number, sizeof(number), text, (size_t)(equals - text)))
            return false;
        struct broker_addr *addr = &out->addrs[out->count];
        if (!text_parse_i64(number, INT64_MIN, INT64_MAX, &addr->broker_id))
            return false;
        addr->addr = (struct span){equals + 1, (size_t)(stop - equals - 1)};
        text = stop < end ? stop + 1 : end;
    }
    return out->count > 0;
}

/* True when the broker's own record is later than the route and readable. */
static bool load_later_addresses(const struct route_store *store, const char *scope, struct span broker_name, int64_t route_saved_ms,
                                 struct known_broker *out)
{
    char name[BROKER_NAME_MAX + 1];
    void *text = NULL;
    size_t len;
    struct kept_origin origin;
    *out = (struct known_broker){0};
    if (!text_copy(name, sizeof(name), broker_name.data, broker_name.len) ||
        store->load(store->ctx, KEPT_BROKER, scope, name, &text, &len, &origin) != 0)
        return false;
    if (origin.saved_ms > route_saved_ms && parse_addresses(out, text, len)) {
        out->text = text;
        return true;
    }
    free(text);
    return false;
}

/* Writes the route anew with the addresses that are known now. */
static int encode_known(const struct topic_route_data *route, const struct known_broker *known, void **body, size_t *len)
{
    struct topic_route_data now = *route;
    struct broker_data *brokers = calloc(route->broker_data_count, sizeof(*brokers));
    void *buffer = NULL;
    size_t needed = 0;
    int r = brokers ? 0 : -ENOMEM;
    for (unsigned i = 0; r == 0 && i < route->broker_data_count; i++) {
        brokers[i] = route->broker_datas[i];
        if (known[i].text) {
            brokers[i].addrs = known[i].addrs;
            brokers[i].addr_count = known[i].count;
        }
    }
    now.broker_datas = brokers;
    if (r == 0 && topic_route_data_encode(&now, false, NULL, 0, &needed) == -ENOBUFS) {
        buffer = malloc(needed);
        r = buffer ? topic_route_data_encode(&now, false, buffer, needed, &needed) : -ENOMEM;
    }
    free(brokers);
    if (r < 0) {
        free(buffer);
        return r;
    }
    *body = buffer;
    *len = needed;
    return 0;
}

static int apply_later_addresses(const struct route_store *store, const char *scope, int64_t saved_ms, void **body, size_t *len)
{
    struct topic_route_data *route = NULL;
    int r = topic_route_data_decode(&route, *body, *len);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    struct known_broker *known = calloc(route->broker_data_count + 1u, sizeof(*known));
    bool later = false;
    void *fresh = NULL;
    size_t fresh_len = 0;
    for (unsigned i = 0; known && i < route->broker_data_count; i++)
        later |= load_later_addresses(store, scope, route->broker_datas[i].broker_name, saved_ms, &known[i]);
    r = !known ? -ENOMEM : later ? encode_known(route, known, &fresh, &fresh_len) : 0;
    for (unsigned i = 0; known && i < route->broker_data_count; i++)
        free(known[i].text);
    free(known);
    topic_route_data_free(route);
    if (fresh) {
        free(*body);
        *body = fresh;
        *len = fresh_len;
    }
    return r;
}

int route_store_load_route(const struct route_store *store, const char *scope, const char *topic, void **body, size_t *len,
                           struct kept_origin *origin)
{
    void *kept = NULL;
    size_t kept_len;
    if (!store->load)
        return -ENOENT;
    int r = store->load(store->ctx, KEPT_ROUTE, scope, topic, &kept, &kept_len, origin);
    if (r < 0)
        return r;
    r = apply_later_addresses(store, scope, origin->saved_ms, &kept, &kept_len);
    if (r < 0) {
        free(kept);
        return r;
    }
    *body = kept;
    *len = kept_len;
    return 0;
}
