/*
 * One question at a time: name look-up, then a GET to each address found until one
 * answers. An answer replaces the list only if it is one; everything else is
 * counted by its reason.
 */
#include "hub/route/top_addressing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/loop/event_loop.h"
#include "hub/loop/http_get.h"
#include "hub/metrics/problems.h"
#include "hub/remoting/resolver.h"
#include "hub/route/name_server.h"
#include "hub/route/route_store.h"
#include "shm/base/text.h"

#define SCHEME "http://"
#define DEFAULT_PORT ":8080"
#define DEFAULT_CLIENT_VERSION "V4_9_3"
#define SAVE_AGAIN_NS (600 * NS_PER_S) /* an unchanged list is saved anew this often, to keep its age honest */
#define BODY_MAX_BYTES 65536u

const char *top_addressing_refusal_name(enum top_addressing_refusal refusal)
{
    static const char *const names[] = {"NO_ADDRESS", "NO_ANSWER", "STATUS", "TOO_LONG", "EMPTY", "GARBAGE"};
    return names[refusal];
}

/* ---- the URL ---- */

static const char *or_default(const char *text, const char *fallback)
{
    return text && text[0] ? text : fallback;
}

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

int top_addressing_url(char *out, size_t cap, const char *domain, const char *subgroup, const char *unit_name)
{
    bool has_unit = unit_name && unit_name[0];
    domain = or_default(domain, TOP_ADDRESSING_DEFAULT_DOMAIN);
    subgroup = or_default(subgroup, TOP_ADDRESSING_DEFAULT_SUBGROUP);
    if (!is_plain(domain) || !is_plain(subgroup) || (has_unit && !is_plain(unit_name)) || strpbrk(domain, "/?#@"))
        return -EINVAL;
    int n = snprintf(out, cap, SCHEME "%s%s/rocketmq/%s%s%s%s", domain, strchr(domain, ':') ? "" : DEFAULT_PORT, subgroup,
                     has_unit ? "-" : "", has_unit ? unit_name : "", has_unit ? "?nofix=1" : "");
    return n < 0 || (size_t)n >= cap ? -E2BIG : 0;
}

static int split_url(struct top_addressing *top)
{
    char host[sizeof(top->address)], port[8];
    const char *authority = top->url + strlen(SCHEME);
    top->path = strchr(authority, '/');
    if (!text_copy(top->address, sizeof(top->address), authority, (size_t)(top->path - authority)))
        return -E2BIG;
    return address_split(top->address, host, sizeof(host), port, sizeof(port));
}

/* ---- answers ---- */

static void refuse(struct top_addressing *top, enum top_addressing_refusal refusal, const char *reason)
{
    top->refused[refusal]++;
    text_copy(top->last_error, sizeof(top->last_error), reason, strlen(reason));
    problem_raise(PROBLEM_DISCOVERY_FAILED, top->url, TABLE_SEVERITY_WARN, "%s; %s", reason,
                  top->list[0] ? "the last list stays in use" : "no nameserver is known, so nothing can be sent");
}

/* clearNewLine: without blanks around it, and only its first line. */
static struct span first_line(const char *body, size_t len)
{
    struct span line = span_trim((struct span){body, len});
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] == '\r' || line.data[i] == '\n')
            line.len = i;
    return span_trim(line);
}

static void save_list(struct top_addressing *top, bool news)
{
    const struct route_store *store = top->store;
    uint64_t now = event_loop_now_ns(top->loop);
    if (!store || !store->save || (!news && top->saved_ns && now - top->saved_ns < SAVE_AGAIN_NS))
        return;
    top->saved_ns = now;
    store->save(store->ctx, KEPT_NAME_SERVERS, "", top->url, top->list, strlen(top->list), top->address);
}

static void take_list(struct top_addressing *top, const char *list)
{
    bool news = strcmp(top->list, list) != 0;
    int r = news ? name_server_update_list(top->name_server, list) : 0;
    if (r < 0) {
        refuse(top, TOP_ADDRESSING_GARBAGE, r == -E2BIG ? "the answer names too many servers" : "the answer is not host:port;host:port");
        return;
    }
    top->answers++;
    top->last_ok_ms = event_loop_now_ms(top->loop);
    top->last_error[0] = '\0';
    problem_clear(PROBLEM_DISCOVERY_FAILED, top->url);
    top->from_store = false;
    if (news)
        text_copy(top->list, sizeof(top->list), list, strlen(list));
    save_list(top, news);
    if (r == 0)
        return;
    top->changes++;
    if (top->changed)
        top->changed(top->ctx);
}

static void take_answer(struct top_addressing *top, const struct http_get_result *answer)
{
    char list[NAME_SERVER_LIST_MAX + 1], reason[64];
    struct span line = first_line(answer->body, answer->body_len);
    if (answer->status != 200) {
        snprintf(reason, sizeof(reason), "the answer has status %d", answer->status);
        refuse(top, TOP_ADDRESSING_STATUS, reason);
    } else if (line.len == 0) {
        refuse(top, TOP_ADDRESSING_EMPTY, "the answer is empty");
    } else if (memchr(line.data, '\0', line.len)) {
        refuse(top, TOP_ADDRESSING_GARBAGE, "the answer is not text");
    } else if (!text_copy(list, sizeof(list), line.data, line.len)) {
        refuse(top, TOP_ADDRESSING_TOO_LONG, "the answer is longer than a list may be");
    } else {
        take_list(top, list);
    }
}

/* ---- asking ---- */

static void ask_next_address(struct top_addressing *top);

static void on_answer(void *ctx, const struct http_get_result *answer)
{
    struct top_addressing *top = ctx;
    top->get = NULL;
    if (answer->error == 0)
        take_answer(top, answer);
    else if (answer->error == -EMSGSIZE)
        refuse(top, TOP_ADDRESSING_TOO_LONG, answer->reason);
    else if (top->next_address < top->found.count)
        ask_next_address(top);
    else
        refuse(top, TOP_ADDRESSING_NO_ANSWER, answer->reason);
}

static void print_address(const struct sockaddr_storage *addr, char *ip, size_t cap, uint16_t *port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, addr, sizeof(v4));
    memcpy(&v6, addr, sizeof(v6));
    bool is_v6 = addr->ss_family == AF_INET6;
    inet_ntop(addr->ss_family, is_v6 ? (const void *)&v6.sin6_addr : (const void *)&v4.sin_addr, ip, (socklen_t)cap);
    *port = ntohs(is_v6 ? v6.sin6_port : v4.sin_port);
}

static void ask_next_address(struct top_addressing *top)
{
    char ip[INET6_ADDRSTRLEN] = "", now[24];
    uint16_t port;
    print_address(&top->found.addrs[top->next_address++], ip, sizeof(ip), &port);
    snprintf(now, sizeof(now), "%" PRId64, event_loop_now_ms(top->loop));
    struct http_get_request request = {
        .ip = ip,
        .port = port,
        .host = top->address,
        .path = top->path,
        .headers = {{"Client-Version", top->client_version},
                    {"Content-Type", "application/x-www-form-urlencoded;charset=UTF-8"},
                    {"Metaq-Client-RequestTS", now}},
        .header_count = 3,
        .timeout_ms = TOP_ADDRESSING_TIMEOUT_MS,
        .body_max_bytes = BODY_MAX_BYTES,
    };
    int r = http_get_start(&top->get, top->loop, &request, on_answer, top);
    if (r < 0)
        refuse(top, TOP_ADDRESSING_NO_ANSWER, strerror(-r));
}

static void on_resolved(void *ctx, int error, const char *reason, const struct resolved *found)
{
    struct top_addressing *top = ctx;
    char text[160];
    top->resolving = false;
    if (error < 0) {
        snprintf(text, sizeof(text), "name look-up: %s", reason[0] ? reason : strerror(-error));
        refuse(top, TOP_ADDRESSING_NO_ADDRESS, text);
        return;
    }
    top->found = *found;
    top->next_address = 0;
    ask_next_address(top);
}

void top_addressing_fetch(struct top_addressing *top)
{
    struct resolved numeric = {.count = 0};
    if (top->get || top->resolving)
        return;
    top->fetches++;
    if (address_parse_numeric(top->address, &numeric)) {
        on_resolved(top, 0, "", &numeric);
        return;
    }
    int r = top->resolver ? resolver_resolve(top->resolver, top->address, on_resolved, top) : -EHOSTUNREACH;
    if (r < 0)
        on_resolved(top, r, "", &numeric);
    else
        top->resolving = true;
}

/* ---- life ---- */

/* Used until an answer comes: a start must not wait for a discovery server that is down. */
static void use_kept_list(struct top_addressing *top)
{
    const struct route_store *store = top->store;
    struct kept_origin origin;
    char list[NAME_SERVER_LIST_MAX + 1];
    void *content = NULL;
    size_t len;
    if (!store || !store->load || store->load(store->ctx, KEPT_NAME_SERVERS, "", top->url, &content, &len, &origin) != 0)
        return;
    if (len > 0 && !memchr(content, '\0', len) && text_copy(list, sizeof(list), content, len) &&
        name_server_update_list(top->name_server, list) >= 0) {
        text_copy(top->list, sizeof(top->list), list, strlen(list));
        top->from_store = true;
        top->last_ok_ms = origin.saved_ms;
    }
    free(content);
}

int top_addressing_init(struct top_addressing *top, struct event_loop *loop, struct resolver *resolver, struct name_server *name_server,
                        const struct top_addressing_settings *settings, void (*changed)(void *ctx), void *ctx)
{
    const char *version = or_default(settings->client_version, DEFAULT_CLIENT_VERSION);
    memset(top, 0, sizeof(*top));
    top->loop = loop;
    top->resolver = resolver;
    top->name_server = name_server;
    top->store = settings->store;
    top->changed = changed;
    top->ctx = ctx;
    text_copy(top->client_version, sizeof(top->client_version), version, strlen(version));
    int r = top_addressing_url(top->url, sizeof(top->url), settings->domain, settings->subgroup, settings->unit_name);
    if (r == 0)
        r = split_url(top);
    if (r == 0)
        use_kept_list(top);
    return r;
}

void top_addressing_deinit(struct top_addressing *top)
{
    if (top->last_error[0])
        problem_clear(PROBLEM_DISCOVERY_FAILED, top->url);
    top->get = http_get_cancel(top->get);
    if (top->resolving)
        resolver_cancel(top->resolver, top);
    top->resolving = false;
}
