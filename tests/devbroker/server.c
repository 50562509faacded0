/*
 * Sockets of the devbroker. See server.h.
 *
 * libevent is used level-triggered: a connection is read once per wake-up with as
 * large a recv() as its buffer allows, all whole frames in it are handled, and what
 * they produced leaves with one send(). A closed connection stays in memory until
 * the callback in which it was closed has ended, so handlers may close freely.
 */
#include "tests/devbroker/server.h"

#include "hub/remoting/remoting_codec.h"
#include "shm/base/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_FIRST_BYTES = 32 << 10,
    IN_BUSY_BYTES = 512 << 10, /* grown to once a recv() fills the buffer */
    OUT_FIRST_BYTES = 32 << 10,
    OUT_CONGESTED_BYTES = 16 << 20,
    LISTEN_BACKLOG = 1024,
};

struct server {
    struct event_base *base;
    struct event *signals[2];
    struct server_handler handler;
    struct list_link connections;
    struct list_link dirty;     /* have output to be sent when the callback ends */
    struct list_link graveyard; /* closed in this callback */
    uint64_t connection_count;
    uint64_t now_ns;
    int64_t now_ms;
};

static void refresh_time(struct server *s)
{
    s->now_ns = mono_now_ns();
    s->now_ms = wall_now_ms();
}

uint64_t server_now_ns(const struct server *s)
{
    return s->now_ns;
}

int64_t server_now_ms(const struct server *s)
{
    return s->now_ms;
}

static void connection_bury(struct connection *c)
{
    if (c->read_event)
        event_free(c->read_event);
    if (c->write_event)
        event_free(c->write_event);
    free(c->in);
    free(c->out);
    free(c);
}

static void close_now(struct connection *c, const char *reason)
{
    if (c->closed)
        return;
    struct server *s = c->listener->server;
    c->closed = true;
    event_del(c->read_event);
    event_del(c->write_event);
    close(c->fd);
    c->fd = -1;
    c->listener->open--;
    list_unlink(&c->dirty_link);
    list_unlink(&c->link);
    list_append(&s->graveyard, &c->link);
    s->handler.on_close(s->handler.ctx, c, reason);
}

void connection_close(struct connection *c, const char *reason)
{
    close_now(c, reason);
}

void connection_reset(struct connection *c, const char *reason)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (!c->closed)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close_now(c, reason);
}

static void update_reading(struct connection *c)
{
    if (c->closed)
        return;
    if (c->stopped || c->congested)
        event_del(c->read_event);
    else
        event_add(c->read_event, NULL);
}

void connection_stop_reading(struct connection *c)
{
    c->stopped = true;
    update_reading(c);
}

void connection_drain(struct connection *c)
{
    if (c->closed)
        return;
    c->draining = true;
    if (!list_is_linked(&c->dirty_link))
        list_append(&c->listener->server->dirty, &c->dirty_link);
}

static bool buffer_grow(uint8_t **data, size_t *cap, size_t needed, size_t first)
{
    if (needed <= *cap)
        return true;
    size_t bigger = *cap ? *cap : first;
    while (bigger < needed)
        bigger *= 2;
    uint8_t *moved = realloc(*data, bigger);
    if (!moved)
        return false;
    *data = moved;
    *cap = bigger;
    return true;
}

uint8_t *connection_reserve(struct connection *c, size_t n)
{
    if (c->closed || !buffer_grow(&c->out, &c->out_cap, c->out_len + n, OUT_FIRST_BYTES))
        return NULL;
    return c->out + c->out_len;
}

void connection_commit(struct connection *c, size_t n)
{
    if (c->closed)
        return;
    c->out_len += n;
    if (!list_is_linked(&c->dirty_link))
        list_append(&c->listener->server->dirty, &c->dirty_link);
}

static void flush(struct connection *c)
{
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            close_now(c, strerror(errno));
            return;
        }
        c->out_sent += (size_t)n;
        c->active_ns = c->listener->server->now_ns;
    }
    size_t pending = c->out_len - c->out_sent;
    if (pending == 0) {
        c->out_len = c->out_sent = 0;
        if (c->draining)
            shutdown(c->fd, SHUT_WR);
    } else {
        event_add(c->write_event, NULL);
    }
    bool congested = pending > OUT_CONGESTED_BYTES;
    if (congested != c->congested) {
        c->congested = congested;
        update_reading(c);
    }
}

/* Ends every callback: sends what was written, frees what was closed. */
static void turn_end(struct server *s)
{
    for (struct list_link *l; (l = list_first(&s->dirty));) {
        struct connection *c = LIST_ENTRY(l, struct connection, dirty_link);
        list_unlink(l);
        flush(c);
    }
    for (struct list_link *l; (l = list_first(&s->graveyard));) {
        list_unlink(l);
        connection_bury(LIST_ENTRY(l, struct connection, link));
    }
}

static void handle_frames(struct connection *c)
{
    struct server *s = c->listener->server;
    size_t pos = 0;
    while (!c->closed && !c->stopped && !c->draining) {
        size_t frame_len = 0;
        int r = remoting_frame_split(c->in + pos, c->in_len - pos, &frame_len);
        if (r == -EAGAIN) {
            if (!buffer_grow(&c->in, &c->in_cap, frame_len, IN_FIRST_BYTES))
                close_now(c, "out of memory");
            break;
        }
        if (r < 0) {
            close_now(c, "undecodable frame");
            break;
        }
        c->frames++;
        s->handler.on_frame(s->handler.ctx, c, c->in + pos, frame_len);
        pos += frame_len;
    }
    if (c->closed || pos == 0)
        return;
    memmove(c->in, c->in + pos, c->in_len - pos);
    c->in_len -= pos;
}

void connection_resume(struct connection *c)
{
    c->stopped = false;
    handle_frames(c);
    update_reading(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct connection *c = arg;
    struct server *s = c->listener->server;
    refresh_time(s);
    c->active_ns = s->now_ns;
    size_t room = c->in_cap - c->in_len;
    ssize_t n = recv(fd, c->in + c->in_len, room, 0);
    if (n == 0)
        close_now(c, "closed by the peer");
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        close_now(c, strerror(errno));
    else if (n > 0 && !c->draining) {
        c->in_len += (size_t)n;
        handle_frames(c);
        bool busy = (size_t)n == room && c->in_cap < IN_BUSY_BYTES;
        if (!c->closed && (busy || c->in_len == c->in_cap) && !buffer_grow(&c->in, &c->in_cap, c->in_cap * 2, IN_FIRST_BYTES))
            close_now(c, "out of memory");
    }
    turn_end(s);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct connection *c = arg;
    struct server *s = c->listener->server;
    refresh_time(s);
    flush(c);
    turn_end(s);
}

static int connection_new(struct listener *l, int fd, const struct sockaddr_in *peer)
{
    struct server *s = l->server;
    struct connection *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->fd = fd;
    c->listener = l;
    c->peer_ip = ntohl(peer->sin_addr.s_addr);
    c->peer_port = ntohs(peer->sin_port);
    c->read_event = event_new(s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->write_event = event_new(s->base, fd, EV_WRITE, on_writable, c);
    if (!c->read_event || !c->write_event || !buffer_grow(&c->in, &c->in_cap, IN_FIRST_BYTES, IN_FIRST_BYTES) ||
        event_add(c->read_event, NULL) < 0) {
        connection_bury(c);
        return -ENOMEM;
    }
    c->number = ++s->connection_count;
    c->active_ns = s->now_ns;
    l->accepted++;
    l->open++;
    list_append(&s->connections, &c->link);
    s->handler.on_accept(s->handler.ctx, c);
    return 0;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct listener *l = arg;
    refresh_time(l->server);
    for (;;) {
        struct sockaddr_in peer = {0};
        socklen_t len = sizeof(peer);
        int conn = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (conn < 0)
            break;
        int one = 1;
        setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connection_new(l, conn, &peer) < 0)
            close(conn);
    }
    turn_end(l->server);
}

int listener_open(struct listener *l, struct server *server, void *owner, uint16_t port)
{
    l->server = server;
    l->owner = owner;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -errno;
    int one = 1;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int err = 0;
    if (bind(l->fd, (struct sockaddr *)&addr, len) < 0 || listen(l->fd, LISTEN_BACKLOG) < 0 ||
        getsockname(l->fd, (struct sockaddr *)&addr, &len) < 0)
        err = -errno;
    else if (!(l->event = event_new(server->base, l->fd, EV_READ | EV_PERSIST, on_acceptable, l)) || event_add(l->event, NULL) < 0)
        err = -ENOMEM;
    if (err) {
        listener_close(l);
        return err;
    }
    l->port = ntohs(addr.sin_port);
    return 0;
}

void listener_close(struct listener *l)
{
    if (!l->server || l->fd < 0)
        return;
    if (l->event)
        event_free(l->event);
    l->event = NULL;
    close(l->fd);
    l->fd = -1;
}

void server_each_connection(struct server *s, void (*each)(void *, struct connection *), void *ctx)
{
    LIST_FOR_EACH_SAFE (it, next, &s->connections)
        each(ctx, LIST_ENTRY(it, struct connection, link));
}

struct connection *server_connection(struct server *s, uint64_t number)
{
    LIST_FOR_EACH_SAFE (it, next, &s->connections) {
        struct connection *c = LIST_ENTRY(it, struct connection, link);
        if (c->number == number)
            return c;
    }
    return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct server_timer *t = arg;
    struct server *s = t->server; /* fire() may free the timer */
    refresh_time(s);
    t->fire(t->ctx);
    turn_end(s);
}

int server_timer_start(struct server_timer *t, struct server *s, uint64_t after_ms, void (*fire)(void *), void *ctx)
{
    t->server = s;
    t->fire = fire;
    t->ctx = ctx;
    if (!t->event && !(t->event = evtimer_new(s->base, on_timer, t)))
        return -ENOMEM;
    struct timeval after = {.tv_sec = (time_t)(after_ms / 1000), .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};
    return evtimer_add(t->event, &after) < 0 ? -ENOMEM : 0;
}

void server_timer_deinit(struct server_timer *t)
{
    if (t->event)
        event_free(t->event);
    t->event = NULL;
}

struct event *server_watch_fd(struct server *s, int fd, void (*readable)(int, short, void *), void *ctx)
{
    struct event *event = event_new(s->base, fd, EV_READ | EV_PERSIST, readable, ctx);
    if (event && event_add(event, NULL) < 0) {
        event_free(event);
        return NULL;
    }
    return event;
}

void server_unwatch(struct event *event)
{
    if (event)
        event_free(event);
}

void server_turn_end(struct server *s)
{
    turn_end(s);
}

void server_turn_begin(struct server *s)
{
    refresh_time(s);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    server_stop(arg);
}

struct server *server_new(const struct server_handler *handler)
{
    struct server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->handler = *handler;
    list_init(&s->connections);
    list_init(&s->dirty);
    list_init(&s->graveyard);
    refresh_time(s);
    static const int numbers[] = {SIGINT, SIGTERM};
    if (!(s->base = event_base_new()))
        return server_free(s);
    for (unsigned i = 0; i < 2; i++)
        if (!(s->signals[i] = evsignal_new(s->base, numbers[i], on_signal, s)) || evsignal_add(s->signals[i], NULL) < 0)
            return server_free(s);
    return s;
}

struct server *server_free(struct server *s)
{
    if (!s)
        return NULL;
    for (struct list_link *l; (l = list_first(&s->connections));) {
        struct connection *c = LIST_ENTRY(l, struct connection, link);
        list_unlink(l);
        close(c->fd);
        connection_bury(c);
    }
    for (unsigned i = 0; i < 2; i++)
        if (s->signals[i])
            event_free(s->signals[i]);
    if (s->base)
        event_base_free(s->base);
    free(s);
    return NULL;
}

void server_run(struct server *s)
{
    event_base_dispatch(s->base);
}

void server_stop(struct server *s)
{
    event_base_loopbreak(s->base);
}
