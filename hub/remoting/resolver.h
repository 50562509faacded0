/*
 * "host:port" -> socket address. Numeric addresses are answered at once; names go
 * to one helper thread with getaddrinfo(), so that a slow DNS never stops the loop.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct event_loop;
struct resolver;

#define RESOLVED_MAX 4u

/** Where a name leads: IPv4 before IPv6, as Java clients try them. */
struct resolved {
    struct sockaddr_storage addrs[RESOLVED_MAX];
    socklen_t lens[RESOLVED_MAX];
    unsigned count;
};

/** @p error is 0 or a negative errno; @p reason is a text for people. Runs on the loop's thread. */
typedef void (*resolver_fn)(void *ctx, int error, const char *reason, const struct resolved *found);

int resolver_new(struct resolver **out, struct event_loop *loop);
/** Waits for the look-up in progress, if any; outstanding callbacks do not run. */
struct resolver *resolver_free(struct resolver *resolver);

/** Splits at the last colon, brackets around an IPv6 host removed. 0 | -EINVAL. */
int address_split(const char *address, char *host, size_t host_cap, char *port, size_t port_cap);
/** True and the address when @p address needs no look-up. */
bool address_parse_numeric(const char *address, struct resolved *out);

/** Starts a look-up; the callback comes in a later round. 0 | -EINVAL | -ENOMEM | -EAGAIN too many waiting. */
int resolver_resolve(struct resolver *resolver, const char *address, resolver_fn fn, void *ctx);
/** The callback of every look-up with this ctx will not run. */
void resolver_cancel(struct resolver *resolver, const void *ctx);
