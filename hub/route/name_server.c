/*
 * One call goes to the chosen address; when that fails, to the next ones, each at
 * most once. What works stays chosen: there is no balancing and no fail-back.
 */
#include "hub/route/name_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/remoting/resolver.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define LOOKUP_EXT_MAX 2
#define LOOKUP_TEXT_BYTES 512

struct address_list {
    char addresses[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1];
    unsigned count;
};

static int parse_list(const char *list, struct address_list *out)
{
    out->count = 0;
    while (*list) {
        size_t len = strcspn(list, ";");
        char host[CHANNEL_ADDRESS_MAX + 1], port[8];
        if (len > 0) {
            if (out->count == NAMESRV_MAX)
                return -E2BIG;
            char *address = out->addresses[out->count];
            if (!text_copy(address, sizeof(out->addresses[0]), list, len) ||
                address_split(address, host, sizeof(host), port, sizeof(port)) < 0)
                return -EINVAL;
            out->count++;
        }
        list += len + (list[len] == ';');
    }
    return out->count ? 0 : -EINVAL;
}

int name_server_check_list(const char *list)
{
    struct address_list parsed;
    return parse_list(list, &parsed);
}

static uint32_t next_random(struct name_server *ns)
{
    ns->random = ns->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(ns->random >> 33);
}

static void shuffle(struct name_server *ns)
{
    for (unsigned i = ns->count; i > 1; i--) {
        unsigned j = next_random(ns) % i;
        char kept[CHANNEL_ADDRESS_MAX + 1];
        memcpy(kept, ns->addresses[i - 1], sizeof(kept));
        memmove(ns->addresses[i - 1], ns->addresses[j], sizeof(kept));
        memcpy(ns->addresses[j], kept, sizeof(kept));
    }
}

int name_server_init(struct name_server *ns, struct remoting_client *client, const char *list, uint64_t seed)
{
    struct address_list parsed;
    *ns = (struct name_server){.client = client, .random = seed, .chosen = -1};
    int r = parse_list(list, &parsed);
    if (r < 0)
        return r;
    ns->next = next_random(ns) % 999;
    memcpy(ns->addresses, parsed.addresses, sizeof(ns->addresses));
    ns->count = parsed.count;
    shuffle(ns);
    return 0;
}

const char *name_server_chosen(const struct name_server *ns)
{
    return ns->chosen >= 0 ? ns->addresses[ns->chosen] : NULL;
}

bool name_server_owns(const struct name_server *ns, const struct channel *channel)
{
    for (unsigned i = 0; i < ns->count; i++)
        if (strcmp(ns->addresses[i], channel->address) == 0)
            return true;
    return false;
}

/* One call with its remaining tries. */
struct lookup {
    struct name_server *ns;
    int32_t code;
    uint32_t timeout_ms;
    unsigned tries_left;
    invoke_fn fn;
    void *ctx;
    struct ext_field ext[LOOKUP_EXT_MAX];
    unsigned ext_count;
    char text[LOOKUP_TEXT_BYTES];
};

static int try_next(struct lookup *lookup);

static void finish_lookup(struct lookup *lookup, struct channel *channel, const struct invoke_result *result)
{
    struct name_server *ns = lookup->ns;
    if (result->error == 0) {
        ns->last_ok_ms = event_loop_now_ms(ns->client->loop);
    } else {
        ns->failures++;
        text_copy(ns->last_error, sizeof(ns->last_error), result->reason, strlen(result->reason));
    }
    lookup->fn(lookup->ctx, channel, result);
    free(lookup);
}

static void on_result(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct lookup *lookup = ctx;
    struct name_server *ns = lookup->ns;
    if (result->error == 0 || result->error == -ECANCELED) {
        finish_lookup(lookup, channel, result);
        return;
    }
    if (ns->chosen >= 0 && strcmp(ns->addresses[ns->chosen], channel->address) == 0)
        ns->chosen = -1;
    LOG_WARN(channel->address, "nameserver call failed (%s)", result->reason);
    /* As in 4.9.3, a call without an answer closes its connection: the next one must not run into the same silence. */
    if (result->error == -ETIMEDOUT && result->maybe_written)
        channel_fail(channel, ETIMEDOUT, "calls unanswered");
    if (lookup->tries_left > 0 && try_next(lookup) == 0) {
        ns->failovers++;
        return;
    }
    finish_lookup(lookup, channel, result);
}

static int try_next(struct lookup *lookup)
{
    struct name_server *ns = lookup->ns;
    struct channel *channel;
    struct invoke_request request = {
        .code = lookup->code, .ext = lookup->ext, .ext_count = lookup->ext_count, .timeout_ms = lookup->timeout_ms};
    if (ns->chosen < 0)
        ns->chosen = (int)(++ns->next % ns->count);
    lookup->tries_left--;
    int r = remoting_client_channel(ns->client, ns->addresses[ns->chosen], &channel);
    if (r == 0)
        r = remoting_client_invoke(ns->client, channel, &request, on_result, lookup);
    return r;
}

int name_server_invoke(struct name_server *ns, int32_t code, const struct ext_field *ext, unsigned ext_count, uint32_t timeout_ms,
                       invoke_fn fn, void *ctx)
{
    if (ext_count > LOOKUP_EXT_MAX)
        return -EMSGSIZE;
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return -ENOMEM;
    *lookup = (struct lookup){.ns = ns, .code = code, .timeout_ms = timeout_ms, .tries_left = ns->count, .fn = fn, .ctx = ctx};
    size_t used = 0;
    for (unsigned i = 0; i < ext_count; i++) {
        if (ext[i].value.len > sizeof(lookup->text) - used) {
            free(lookup);
            return -EMSGSIZE;
        }
        memcpy(lookup->text + used, ext[i].value.data, ext[i].value.len);
        lookup->ext[i] = (struct ext_field){ext[i].key, {lookup->text + used, ext[i].value.len}};
        used += ext[i].value.len;
    }
    lookup->ext_count = ext_count;
    ns->requests++;
    int r = try_next(lookup);
    if (r != 0)
        free(lookup);
    return r;
}
