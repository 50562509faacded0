/*
 * One thread, started with the first name that needs it. Tickets go to it through
 * a list under a mutex and come back through another, announced by an eventfd, so
 * that freeing the resolver leaves nothing behind in the loop.
 */
#include "hub/remoting/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hub/loop/event_loop.h"
#include "shm/base/list.h"
#include "shm/base/text.h"

#define TICKETS_MAX 1024u
#define HOST_MAX 256
#define PORT_MAX 8

struct ticket {
    struct list_link link;
    char host[HOST_MAX], port[PORT_MAX];
    resolver_fn fn;
    void *ctx;
    bool cancelled;
    int gai_error, sys_error;
    struct resolved found;
};

struct resolver {
    struct event_loop *loop;
    struct loop_io io;
    int fd;
    pthread_t thread;
    bool started, stopping;
    pthread_mutex_t lock;
    pthread_cond_t work;
    unsigned tickets;              /* loop's thread only */
    struct list_link queued, done; /* under the lock, as is `running` */
    struct ticket *running;
};

int address_split(const char *address, char *host, size_t host_cap, char *port, size_t port_cap)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address)
        return -EINVAL;
    size_t host_len = (size_t)(colon - address);
    int64_t number;
    if (!text_parse_i64(colon + 1, 1, 65535, &number) || !text_copy(port, port_cap, colon + 1, strlen(colon + 1)))
        return -EINVAL;
    if (address[0] == '[' && host_len > 2 && address[host_len - 1] == ']') {
        address++;
        host_len -= 2;
    }
    return text_copy(host, host_cap, address, host_len) ? 0 : -EINVAL;
}

static void add_address(struct resolved *found, const void *addr, socklen_t len)
{
    if (found->count == RESOLVED_MAX || len > sizeof(found->addrs[0]))
        return;
    memcpy(&found->addrs[found->count], addr, len);
    found->lens[found->count++] = len;
}

static bool parse_numeric(const char *host, const char *port, struct resolved *out)
{
    int64_t value;
    if (!text_parse_i64(port, 1, 65535, &value))
        return false;
    uint16_t number = htons((uint16_t)value);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = number};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = number};
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        add_address(out, &v4, sizeof(v4));
    else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        add_address(out, &v6, sizeof(v6));
    return out->count > 0;
}

bool address_parse_numeric(const char *address, struct resolved *out)
{
    char host[HOST_MAX], port[PORT_MAX];
    return address_split(address, host, sizeof(host), port, sizeof(port)) == 0 && parse_numeric(host, port, out);
}

static void add_family(struct resolved *to, const struct addrinfo *found, int family)
{
    for (; found; found = found->ai_next)
        if (found->ai_family == family)
            add_address(to, found->ai_addr, found->ai_addrlen);
}

static void look_up(struct ticket *t)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    t->gai_error = getaddrinfo(t->host, t->port, &hints, &found);
    t->sys_error = errno;
    if (t->gai_error == 0) {
        add_family(&t->found, found, AF_INET);
        add_family(&t->found, found, AF_INET6);
    }
    if (found)
        freeaddrinfo(found);
}

static void *helper_main(void *ctx)
{
    struct resolver *r = ctx;
    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        struct list_link *first = list_first(&r->queued);
        if (!first) {
            pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        list_unlink(first);
        struct ticket *t = LIST_ENTRY(first, struct ticket, link);
        r->running = t;
        pthread_mutex_unlock(&r->lock);
        look_up(t);
        pthread_mutex_lock(&r->lock);
        r->running = NULL;
        list_append(&r->done, &t->link);
        uint64_t one = 1;
        ssize_t n = write(r->fd, &one, sizeof(one));
        (void)n;
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static struct ticket *take_done(struct resolver *r)
{
    pthread_mutex_lock(&r->lock);
    struct list_link *first = list_first(&r->done);
    if (first)
        list_unlink(first);
    pthread_mutex_unlock(&r->lock);
    return first ? LIST_ENTRY(first, struct ticket, link) : NULL;
}

static int ticket_error(const struct ticket *t)
{
    switch (t->gai_error) {
    case 0:
        return t->found.count ? 0 : -EAFNOSUPPORT;
    case EAI_SYSTEM:
        return -t->sys_error;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_AGAIN:
        return -EAGAIN;
    default:
        return -EHOSTUNREACH;
    }
}

static void on_done(void *ctx, unsigned events)
{
    struct resolver *r = ctx;
    (void)events;
    for (struct ticket *t; (t = take_done(r)) != NULL; free(t)) {
        r->tickets--;
        if (!t->cancelled)
            t->fn(t->ctx, ticket_error(t), t->gai_error ? gai_strerror(t->gai_error) : "", &t->found);
    }
}

int resolver_new(struct resolver **out, struct event_loop *loop)
{
    struct resolver *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->loop = loop;
    list_init(&r->queued);
    list_init(&r->done);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    r->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = r->fd < 0 ? -errno : loop_io_init(&r->io, loop, r->fd, LOOP_READ | LOOP_EDGE, on_done, r);
    if (error == 0)
        error = loop_io_start(&r->io);
    if (error < 0) {
        resolver_free(r);
        return error;
    }
    *out = r;
    return 0;
}

static void free_tickets(struct list_link *list)
{
    LIST_FOR_EACH_SAFE (it, next, list)
        free(LIST_ENTRY(it, struct ticket, link));
}

struct resolver *resolver_free(struct resolver *r)
{
    if (!r)
        return NULL;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    loop_io_deinit(&r->io);
    if (r->fd >= 0)
        close(r->fd);
    free_tickets(&r->queued);
    free_tickets(&r->done);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return NULL;
}

static int start_thread(struct resolver *r)
{
    if (r->started)
        return 0;
    int error = pthread_create(&r->thread, NULL, helper_main, r);
    r->started = error == 0;
    return -error;
}

int resolver_resolve(struct resolver *r, const char *address, resolver_fn fn, void *ctx)
{
    if (r->tickets >= TICKETS_MAX)
        return -EAGAIN;
    struct ticket *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->fn = fn;
    t->ctx = ctx;
    int error = address_split(address, t->host, sizeof(t->host), t->port, sizeof(t->port));
    if (error == 0)
        error = start_thread(r);
    if (error < 0) {
        free(t);
        return error;
    }
    r->tickets++;
    pthread_mutex_lock(&r->lock);
    list_append(&r->queued, &t->link);
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static void cancel_in(struct list_link *list, const void *ctx)
{
    LIST_FOR_EACH_SAFE (it, next, list) {
        struct ticket *t = LIST_ENTRY(it, struct ticket, link);
        t->cancelled |= t->ctx == ctx;
    }
}

void resolver_cancel(struct resolver *r, const void *ctx)
{
    pthread_mutex_lock(&r->lock);
    cancel_in(&r->queued, ctx);
    cancel_in(&r->done, ctx);
    if (r->running && r->running->ctx == ctx)
        r->running->cancelled = true;
    pthread_mutex_unlock(&r->lock);
}
