/*
 * One call goes to the chosen address; when that fails, to the next ones, each at
 * most once. What works stays chosen: there is no balancing and no fail-back.
 */
#include "hub/route/name_server.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/protocol/name_server_address_utils.h"
#include "hub/remoting/resolver.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define LOOKUP_EXT_MAX 2
#define LOOKUP_TEXT_BYTES 512
#define WALK_START_MAX 999u /* as 4.9.3 */

struct address_list {
    char addresses[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1];
    unsigned count;
};

/* ---- the list ---- */

/* Lists come from the network too: an HTML page must not pass for host names. */
static bool is_host(const char *host)
{
    for (; *host; host++)
        if (!isalnum((unsigned char)*host) && !strchr(".-_:%", *host))
            return false;
    return true;
}

static int parse_address(const char *text, size_t len, char *out, size_t cap)
{
    char host[CHANNEL_ADDRESS_MAX + 1], port[8];
    if (!text_copy(out, cap, text, len) || address_split(out, host, sizeof(host), port, sizeof(port)) < 0 || !is_host(host))
        return -EINVAL;
    return 0;
}

static int parse_list(const char *setting, struct address_list *out)
{
    char text[NAME_SERVER_LIST_MAX + 1];
    const char *at = text;
    out->count = 0;
    int r = name_server_address_list(setting, text, sizeof(text));
    if (r < 0)
        return r;
    while (*at) {
        size_t len = strcspn(at, ";"), blank = strspn(at, " \t");
        if (blank < len) {
            size_t end = len;
            while (at[end - 1] == ' ' || at[end - 1] == '\t')
                end--;
            if (out->count == NAMESRV_MAX)
                return -E2BIG;
            if (parse_address(at + blank, end - blank, out->addresses[out->count], sizeof(out->addresses[0])) < 0)
                return -EINVAL;
            out->count++;
        }
        at += len + (at[len] == ';');
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

static void use_list(struct name_server *ns, const struct address_list *list)
{
    memcpy(ns->addresses, list->addresses, sizeof(ns->addresses));
    ns->count = list->count;
    ns->generation++;
    shuffle(ns);
}

int name_server_init(struct name_server *ns, struct remoting_client *client, const char *list, uint64_t seed)
{
    struct address_list parsed = {.count = 0};
    *ns = (struct name_server){.client = client, .random = seed, .chosen = -1};
    int r = list && list[0] ? parse_list(list, &parsed) : 0;
    if (r < 0)
        return r;
    ns->next = next_random(ns) % WALK_START_MAX;
    use_list(ns, &parsed);
    return 0;
}

static int index_of(char addresses[NAMESRV_MAX][CHANNEL_ADDRESS_MAX + 1], unsigned count, const char *address)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(addresses[i], address) == 0)
            return (int)i;
    return -1;
}

static bool differs(struct name_server *ns, const struct address_list *list)
{
    bool differs = list->count != ns->count;
    for (unsigned i = 0; i < list->count && !differs; i++)
        differs = index_of(ns->addresses, ns->count, list->addresses[i]) < 0;
    return differs;
}

/* A full list of retired addresses loses the newest: their connections close by themselves when they have been idle for long. */
static void retire_unlisted(struct name_server *ns, struct address_list *list)
{
    for (unsigned i = 0; i < ns->count && ns->retired_count < NAMESRV_MAX; i++)
        if (index_of(list->addresses, list->count, ns->addresses[i]) < 0 && index_of(ns->retired, ns->retired_count, ns->addresses[i]) < 0)
            memcpy(ns->retired[ns->retired_count++], ns->addresses[i], sizeof(ns->addresses[0]));
}

int name_server_update_list(struct name_server *ns, const char *list)
{
    struct address_list parsed;
    char chosen[CHANNEL_ADDRESS_MAX + 1] = "";
    int r = parse_list(list, &parsed);
    if (r < 0)
        return r;
    if (!differs(ns, &parsed))
        return 0;
    if (ns->chosen >= 0)
        memcpy(chosen, ns->addresses[ns->chosen], sizeof(chosen));
    retire_unlisted(ns, &parsed);
    use_list(ns, &parsed);
    ns->chosen = chosen[0] ? index_of(ns->addresses, ns->count, chosen) : -1;
    ns->list_changes++;
    LOG_INFO("nameserver", "list changed: %s", list);
    name_server_tidy(ns);
    return 1;
}

const char *name_server_chosen(const struct name_server *ns)
{
    return ns->chosen >= 0 ? ns->addresses[ns->chosen] : NULL;
}

void name_server_pass_over(struct name_server *ns, const struct channel *channel)
{
    if (ns->chosen >= 0 && strcmp(ns->addresses[ns->chosen], channel->address) == 0)
        ns->chosen = -1;
}

bool name_server_owns(const struct name_server *ns, const struct channel *channel)
{
    for (unsigned i = 0; i < ns->count; i++)
        if (strcmp(ns->addresses[i], channel->address) == 0)
            return true;
    return false;
}

/* The channel to an address, if there is one already. */
static struct channel *find_channel(const struct name_server *ns, const char *address)
{
    LIST_FOR_EACH_SAFE (it, next, &ns->client->channels) {
        struct channel *ch = LIST_ENTRY(it, struct channel, link);
        if (strcmp(ch->address, address) == 0)
            return ch;
    }
    return NULL;
}

/* A broker may listen where a nameserver did (they have a session), and calls on their way are waited for. */
static bool is_needed(const struct channel *channel)
{
    return channel->session || channel->keep_connected || channel->waiting_count > 0 || channel->pending_count > 0;
}

void name_server_tidy(struct name_server *ns)
{
    for (unsigned i = ns->retired_count; i-- > 0;) {
        struct channel *channel = find_channel(ns, ns->retired[i]);
        bool listed = index_of(ns->addresses, ns->count, ns->retired[i]) >= 0;
        if (channel && !listed && is_needed(channel))
            continue;
        if (channel && !listed)
            remoting_client_drop(ns->client, channel);
        memmove(ns->retired[i], ns->retired[--ns->retired_count], sizeof(ns->retired[0]));
    }
}

/* ---- calls ---- */

/* One call with its remaining tries. */
struct lookup {
    struct name_server *ns;
    int32_t code;
    uint64_t deadline_ns, try_started_ns;
    uint32_t generation, tried; /* bits of the addresses asked, in the list of that generation */
    unsigned tries_left;
    invoke_fn fn;
    void *ctx;
    struct ext_field ext[LOOKUP_EXT_MAX];
    unsigned ext_count;
    char text[LOOKUP_TEXT_BYTES];
};

static int try_next(struct lookup *lookup);

/* Its connection ended, or could not be made. An address that was never dialled is not down. */
static bool is_down(const struct name_server *ns, unsigned index)
{
    const struct channel *channel = find_channel(ns, ns->addresses[index]);
    return channel && (channel->state == CHANNEL_BACKOFF || channel->state == CHANNEL_IDLE);
}

static bool was_tried(const struct lookup *lookup, unsigned index)
{
    return lookup->tried & (1u << index);
}

/* The next address that this call has not asked, those in back-off last. -1: none. */
static int walk(const struct lookup *lookup, uint32_t *next)
{
    const struct name_server *ns = lookup->ns;
    for (unsigned with_down = 0; with_down < 2; with_down++)
        for (unsigned step = 1; step <= ns->count; step++) {
            unsigned i = (*next + step) % ns->count;
            if (was_tried(lookup, i) || (!with_down && is_down(ns, i)))
                continue;
            *next += step;
            return (int)i;
        }
    return -1;
}

/* The chosen address sticks while its connection is there or on its way. */
static int choose(struct lookup *lookup)
{
    struct name_server *ns = lookup->ns;
    if (lookup->generation != ns->generation) {
        lookup->generation = ns->generation;
        lookup->tried = 0;
    }
    if (ns->chosen >= 0 && is_down(ns, (unsigned)ns->chosen))
        ns->chosen = -1;
    if (ns->chosen >= 0 && !was_tried(lookup, (unsigned)ns->chosen))
        return ns->chosen;
    if (ns->chosen < 0)
        return ns->chosen = walk(lookup, &ns->next);
    uint32_t aside = ns->next; /* silent to this call only: what works for others stays chosen */
    return walk(lookup, &aside);
}

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
    if (result->error != -ECANCELED)
        name_server_tidy(ns);
}

/* An unknown request code is met with silence by a 4.9.3 nameserver, and says nothing of its health as long as others are answered. */
static bool is_only_silent(const struct lookup *lookup, const struct channel *channel, const struct invoke_result *result)
{
    return result->error == -ETIMEDOUT && channel->state == CHANNEL_CONNECTED && channel->last_read_ns > channel->connected_ns &&
           channel->last_read_ns >= lookup->try_started_ns;
}

static void give_up_address(struct lookup *lookup, struct channel *channel, const struct invoke_result *result)
{
    struct name_server *ns = lookup->ns;
    if (is_only_silent(lookup, channel, result)) {
        ns->silences++;
        return;
    }
    if (ns->chosen >= 0 && strcmp(ns->addresses[ns->chosen], channel->address) == 0)
        LOG_WARN(channel->address, "nameserver call failed (%s)", result->reason);
    name_server_pass_over(ns, channel);
    /* 4.9.3 closes the connection after one call without an answer, and fails all others on it: here a probe decides. */
    if (result->error == -ETIMEDOUT && result->maybe_written)
        remoting_client_suspect(ns->client, channel);
}

static void on_result(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct lookup *lookup = ctx;
    struct name_server *ns = lookup->ns;
    if (result->error == 0 || result->error == -ECANCELED) {
        finish_lookup(lookup, channel, result);
        return;
    }
    give_up_address(lookup, channel, result);
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
    /* With others to ask, it does not wait for a lost connection to come back. */
    struct invoke_request request = {.code = lookup->code, .ext = lookup->ext, .ext_count = lookup->ext_count, .bound = ns->count > 1};
    uint64_t now = event_loop_now_ns(ns->client->loop);
    if (now >= lookup->deadline_ns)
        return -ETIMEDOUT;
    int i = choose(lookup);
    if (i < 0)
        return -EDESTADDRREQ;
    /* A black hole costs its share, not everybody's. */
    request.timeout_ms = (uint32_t)((lookup->deadline_ns - now) / lookup->tries_left-- / NS_PER_MS);
    lookup->tried |= 1u << i;
    lookup->try_started_ns = now;
    int r = remoting_client_channel(ns->client, ns->addresses[i], &channel);
    if (r == 0)
        r = remoting_client_invoke(ns->client, channel, &request, on_result, lookup);
    return r;
}

int name_server_invoke(struct name_server *ns, int32_t code, const struct ext_field *ext, unsigned ext_count, uint32_t timeout_ms,
                       invoke_fn fn, void *ctx)
{
    if (ext_count > LOOKUP_EXT_MAX)
        return -EMSGSIZE;
    if (ns->count == 0)
        return -EDESTADDRREQ;
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return -ENOMEM;
    *lookup = (struct lookup){.ns = ns,
                              .code = code,
                              .deadline_ns = event_loop_now_ns(ns->client->loop) + timeout_ms * NS_PER_MS,
                              .generation = ns->generation,
                              .tries_left = ns->count,
                              .fn = fn,
                              .ctx = ctx};
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
