/*
 * The socket is read and written raw: libevent only says when. Output collects in
 * one contiguous buffer and leaves with one send() per round (or when 64 KiB are
 * together), input is parsed in place. Callbacks may drop the channel or fail it
 * at any time; a dropped channel is freed at the end of the round, and every loop
 * here looks at the state again after a callback. With TLS, a connection counts as
 * up when the handshake is done, and a byte as written when it is encrypted.
 */
#include "hub/remoting/channel.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/remoting/remoting_client.h"
#include "hub/remoting/remoting_codec.h"
#include "hub/remoting/resolver.h"
#include "hub/remoting/tls_session.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define BUFFER_MIN_BYTES ((size_t)16 << 10)
#define READ_BUFFER_MAX_BYTES ((size_t)256 << 10) /* larger only for one larger frame */
#define READ_BUDGET_BYTES ((size_t)512 << 10)     /* per round; the rest comes in the next */
#define FLUSH_EARLY_BYTES ((size_t)64 << 10)
#define IDLE_BUFFER_NS NS_PER_S /* a buffer that lies empty for so long is given back */
#define TLS_RECORD_MAX_BYTES 16384u
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS 1000u
#define BACKOFF_MAX_UNWANTED_MS 10000u /* while nobody waits for the connection */

const char *channel_state_name(enum channel_state state)
{
    static const char *const names[] = {"IDLE", "RESOLVING", "CONNECTING", "CONNECTED", "BACKOFF", "CLOSED"};
    return names[state];
}

/* Whoever calls this looks at the state afterwards. */
static void tell(struct channel *ch, enum channel_event event)
{
    ch->counters.events[event]++;
    if (ch->client->ops.event)
        ch->client->ops.event(ch->client->ops.ctx, ch, event);
}

static void set_state(struct channel *ch, enum channel_state state)
{
    if (ch->state == state)
        return;
    LOG_DEBUG(ch->address, "channel %s -> %s", channel_state_name(ch->state), channel_state_name(state));
    ch->state = state;
    ch->state_since_ns = event_loop_now_ns(ch->client->loop);
    if (ch->client->ops.changed)
        ch->client->ops.changed(ch->client->ops.ctx);
}

static void note_error(struct channel *ch, int error, const char *what)
{
    if (error)
        snprintf(ch->last_error, sizeof(ch->last_error), "%s: %s", what, strerror(error));
    else
        text_copy(ch->last_error, sizeof(ch->last_error), what, strlen(what));
}

/* ---- buffers ---- */

static void buffer_free(struct channel_buffer *b)
{
    free(b->data);
    *b = (struct channel_buffer){0};
}

static void buffer_compact(struct channel_buffer *b)
{
    if (b->head == 0)
        return;
    memmove(b->data, b->data + b->head, b->tail - b->head);
    b->tail -= b->head;
    b->head = 0;
}

static bool buffer_grow(struct channel_buffer *b, size_t cap)
{
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

static size_t round_up_cap(size_t bytes)
{
    size_t cap = BUFFER_MIN_BYTES;
    while (cap < bytes)
        cap *= 2;
    return cap;
}

/* ---- output ---- */

static size_t buffered(const struct channel *ch)
{
    return ch->out.tail - ch->out.head;
}

static size_t encrypted(const struct channel *ch)
{
    return ch->tls ? tls_session_unsent(ch->tls) : 0;
}

static ssize_t write_some(struct channel *ch)
{
    const struct channel_buffer *b = &ch->out;
    if (ch->tls)
        return tls_session_write(ch->tls, b->data + b->head, b->tail - b->head);
    ssize_t n = send(ch->fd, b->data + b->head, b->tail - b->head, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) ? 0 : n;
}

/* Hands bytes to the kernel. An error is kept for channel_flush(): callers in the middle of an encode must not see futures fail. */
static void try_send(struct channel *ch)
{
    struct channel_buffer *b = &ch->out;
    if (ch->write_blocked || ch->send_error || (b->head == b->tail && encrypted(ch) == 0))
        return;
    ssize_t n = write_some(ch);
    if (n < 0) {
        ch->send_error = errno;
        return;
    }
    ch->counters.writes++;
    ch->counters.bytes_out += (uint64_t)n;
    ch->stream_sent += (uint64_t)n;
    ch->last_write_ns = event_loop_now_ns(ch->client->loop);
    b->head += (size_t)n;
    if (ch->tls && tls_session_write_error(ch->tls)) {
        ch->send_error = tls_session_write_error(ch->tls); /* nobody would wake us for it */
        return;
    }
    if (b->head == b->tail) {
        b->head = b->tail = 0;
        if (b->cap > ch->client->settings.high_water_bytes)
            buffer_free(b);
        if (encrypted(ch) == 0)
            return;
    }
    ch->write_blocked = true;
    ch->counters.writes_blocked++;
    /* TLS that has nothing for the socket waits for the peer's bytes: a socket that is writable would wake us for nothing. */
    loop_io_set(&ch->io, !ch->tls || encrypted(ch) > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void *reserve_slowly(struct channel *ch, size_t len)
{
    const struct remoting_client_settings *s = &ch->client->settings;
    struct channel_buffer *b = &ch->out;
    if (b->tail - b->head >= FLUSH_EARLY_BYTES)
        try_send(ch);
    size_t used = b->tail - b->head;
    if (ch->held_back && used > s->low_water_bytes)
        return NULL;
    ch->held_back = used > 0 && used + len > s->high_water_bytes;
    if (ch->held_back)
        return NULL;
    if (b->cap - b->tail < len)
        buffer_compact(b);
    if (b->cap - b->tail < len && !buffer_grow(b, round_up_cap(used + len)))
        return NULL;
    return b->data + b->tail;
}

void *channel_reserve(struct channel *ch, size_t len)
{
    if (ch->state != CHANNEL_CONNECTED)
        return NULL;
    struct channel_buffer *b = &ch->out;
    if (b->cap - b->tail >= len && b->tail < FLUSH_EARLY_BYTES && !ch->held_back && b->tail + len <= ch->client->settings.high_water_bytes)
        return b->data + b->tail;
    return reserve_slowly(ch, len);
}

void channel_mark_dirty(struct channel *ch)
{
    if (!list_is_linked(&ch->dirty_link) && ch->state != CHANNEL_CLOSED)
        list_append(&ch->client->dirty, &ch->dirty_link);
}

void channel_commit(struct channel *ch, size_t len)
{
    ch->out.tail += len;
    ch->stream_queued += len;
    ch->counters.frames_out++;
    channel_mark_dirty(ch);
}

void channel_commit_future(struct channel *ch, struct response_future *future, size_t len, bool oneway)
{
    future->channel = ch;
    future->stream_start = ch->stream_queued;
    channel_commit(ch, len);
    future->stream_end = ch->stream_queued;
    future->written_ns = event_loop_now_ns(ch->client->loop);
    future->state = oneway ? FUTURE_ONEWAY : FUTURE_PENDING;
    list_append(oneway ? &ch->oneways : &ch->pending, &future->link);
    ch->pending_count += !oneway;
}

static void shift_back(struct list_link *list, uint64_t behind, uint64_t len)
{
    LIST_FOR_EACH_SAFE (it, next, list) {
        struct response_future *f = LIST_ENTRY(it, struct response_future, link);
        if (f->stream_start > behind) {
            f->stream_start -= len;
            f->stream_end -= len;
        }
    }
}

bool channel_retract(struct channel *ch, struct response_future *future)
{
    if (future->stream_start < ch->stream_sent)
        return false;
    uint64_t start = future->stream_start, len = future->stream_end - start;
    uint8_t *at = ch->out.data + ch->out.head + (start - ch->stream_sent);
    memmove(at, at + len, (size_t)(ch->stream_queued - future->stream_end));
    ch->out.tail -= (size_t)len;
    ch->stream_queued -= len;
    shift_back(&ch->pending, start, len);
    shift_back(&ch->oneways, start, len);
    return true;
}

/* Of what was encrypted, at most one record is still here. */
static void finish_written_oneways(struct channel *ch)
{
    uint64_t here = encrypted(ch) == 0 ? 0 : ch->stream_sent < TLS_RECORD_MAX_BYTES ? ch->stream_sent : TLS_RECORD_MAX_BYTES;
    uint64_t written = ch->stream_sent - here;
    for (struct list_link *it; (it = list_first(&ch->oneways)) != NULL;) {
        struct response_future *f = LIST_ENTRY(it, struct response_future, link);
        if (f->stream_end > written)
            return;
        remoting_client_finish(ch->client, f, FUTURE_WRITTEN, 0);
    }
}

/* Lets futures encode themselves, oldest first, as long as there is room. */
static void write_waiting(struct channel *ch)
{
    for (struct list_link *it; ch->state == CHANNEL_CONNECTED && (it = list_first(&ch->waiting)) != NULL;) {
        struct response_future *f = LIST_ENTRY(it, struct response_future, link);
        list_unlink(it);
        ch->waiting_count--;
        f->state = FUTURE_FREE;
        uint32_t in_use = response_table_async_in_use(&ch->client->responses);
        if (f->ops->write(f, ch) != -EAGAIN) {
            if (response_table_async_in_use(&ch->client->responses) > in_use)
                ch->client->served_id = ch->id;
            continue;
        }
        f->state = FUTURE_WAITING;
        list_insert_before(ch->waiting.next, &f->link);
        ch->waiting_count++;
        return;
    }
}

/* A reason of TLS says more than an errno, and is gone with the connection. */
static void fail_io(struct channel *ch, int error, const char *what)
{
    char why[TLS_WHY_MAX] = "";
    if (ch->tls)
        text_copy(why, sizeof(why), tls_session_why(ch->tls), strlen(tls_session_why(ch->tls)));
    if (why[0])
        channel_fail(ch, 0, why);
    else
        channel_fail(ch, error, what);
}

void channel_flush(struct channel *ch)
{
    if (ch->state != CHANNEL_CONNECTED)
        return;
    size_t low = ch->client->settings.low_water_bytes;
    bool again;
    do {
        bool skipped = buffered(ch) > low && !list_is_empty(&ch->waiting);
        bool held_back = ch->held_back;
        if (!skipped)
            write_waiting(ch);
        if (ch->state != CHANNEL_CONNECTED)
            return;
        held_back |= ch->held_back;
        try_send(ch);
        /* Those who wait for room go on as soon as the low mark is reached; nothing else would tell them. */
        again = (held_back || skipped) && !ch->write_blocked && !ch->send_error && buffered(ch) <= low && !list_is_empty(&ch->waiting);
    } while (again);
    if (ch->send_error) {
        fail_io(ch, ch->send_error, "write");
        return;
    }
    finish_written_oneways(ch);
}

void channel_trim(struct channel *ch)
{
    uint64_t now = event_loop_now_ns(ch->client->loop);
    if (ch->out.head == ch->out.tail && ch->out.cap > BUFFER_MIN_BYTES && now - ch->last_write_ns > IDLE_BUFFER_NS)
        buffer_free(&ch->out);
    if (ch->in.head == ch->in.tail && ch->in.cap > BUFFER_MIN_BYTES && now - ch->last_read_ns > IDLE_BUFFER_NS)
        buffer_free(&ch->in);
    if (ch->tls && now - ch->last_write_ns > IDLE_BUFFER_NS && now - ch->last_read_ns > IDLE_BUFFER_NS)
        tls_session_trim(ch->tls);
}

/* ---- end of a connection ---- */

static void close_fd(struct channel *ch)
{
    ch->tls = tls_session_free(ch->tls); /* says good-bye: before the socket goes */
    loop_io_deinit(&ch->io);
    if (ch->fd >= 0)
        close(ch->fd);
    ch->fd = -1;
}

static void close_socket(struct channel *ch)
{
    close_fd(ch);
    free(ch->targets);
    ch->targets = NULL;
    ch->local_port = 0;
    ch->write_blocked = ch->held_back = false;
    ch->send_error = 0;
    ch->in.head = ch->in.tail = 0;
    if (!ch->parsing)
        buffer_free(&ch->in);
    buffer_free(&ch->out);
    list_unlink(&ch->dirty_link);
    loop_timer_cancel(&ch->timer);
    if (ch->resolving)
        resolver_cancel(ch->client->resolver, ch);
    ch->resolving = false;
}

static void move_all(struct list_link *from, struct list_link *to)
{
    for (struct list_link *it; (it = list_first(from)) != NULL;) {
        list_unlink(it);
        list_append(to, it);
    }
}

static void requeue_some(struct channel *ch, struct list_link *list, bool own)
{
    struct list_link *at = ch->waiting.next;
    while (!own && at != &ch->waiting && LIST_ENTRY(at, struct response_future, link)->own)
        at = at->next;
    LIST_FOR_EACH_SAFE (it, next, list) {
        struct response_future *f = LIST_ENTRY(it, struct response_future, link);
        if (f->own != own || f->bound || f->stream_start < ch->stream_sent)
            continue;
        if (f->state == FUTURE_PENDING) {
            response_table_remove(&ch->client->responses, f);
            ch->pending_count--;
        } else {
            response_table_release_oneway(&ch->client->responses);
        }
        list_unlink(it);
        list_insert_before(at, it);
        f->state = FUTURE_WAITING;
        ch->waiting_count++;
    }
}

/*
 * Futures of which no byte left wait again, in their order and before those who waited already: a reconnect costs them nothing but
 * time. Senders stay behind the client's own requests.
 */
static void requeue_unwritten(struct channel *ch, struct list_link *list)
{
    requeue_some(ch, list, true);
    requeue_some(ch, list, false);
}

/* Takes the waiting futures off the channel, for the caller to end. */
static void take_waiting(struct channel *ch, struct list_link *to)
{
    LIST_FOR_EACH_SAFE (it, next, &ch->waiting)
        LIST_ENTRY(it, struct response_future, link)->state = FUTURE_PARKED;
    move_all(&ch->waiting, to);
    ch->waiting_count = 0;
}

static void finish_all(struct channel *ch, struct list_link *list, enum future_end end, int error)
{
    for (struct list_link *it; (it = list_first(list)) != NULL;)
        remoting_client_finish(ch->client, LIST_ENTRY(it, struct response_future, link), end, error);
}

static void take_bound(struct channel *ch, struct list_link *to)
{
    LIST_FOR_EACH_SAFE (it, next, &ch->waiting) {
        struct response_future *f = LIST_ENTRY(it, struct response_future, link);
        if (!f->bound)
            continue;
        f->state = FUTURE_PARKED;
        list_unlink(it);
        list_append(to, it);
        ch->waiting_count--;
    }
}

/* Takes the connection's futures off it. Those that were written come back in @p lost, for the caller to fail. */
static void end_connection(struct channel *ch, struct list_link *lost)
{
    requeue_unwritten(ch, &ch->pending);
    requeue_unwritten(ch, &ch->oneways);
    move_all(&ch->pending, lost);
    move_all(&ch->oneways, lost);
    take_bound(ch, lost);
    close_socket(ch);
}

static uint32_t jittered(struct channel *ch, uint32_t ms)
{
    uint64_t *x = &ch->client->jitter; /* xorshift64: only to keep many hubs from dialling in step */
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return ms / 2 + (uint32_t)(*x % (ms / 2 + 1));
}

static void start_backoff(struct channel *ch, bool wanted)
{
    uint32_t cap = wanted ? BACKOFF_MAX_MS : BACKOFF_MAX_UNWANTED_MS;
    ch->backoff_ms = ch->backoff_ms ? ch->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (ch->backoff_ms > cap)
        ch->backoff_ms = cap;
    set_state(ch, CHANNEL_BACKOFF);
    loop_timer_schedule(&ch->timer, event_loop_now_ns(ch->client->loop) + jittered(ch, ch->backoff_ms) * NS_PER_MS);
}

static void end_badly(struct channel *ch, int error, const char *what, bool exception)
{
    if (ch->state == CHANNEL_CLOSED || ch->state == CHANNEL_IDLE || ch->state == CHANNEL_BACKOFF)
        return;
    bool was_connected = ch->state == CHANNEL_CONNECTED;
    bool was_up = was_connected || ch->tls;
    struct list_link lost, refused;
    list_init(&lost);
    list_init(&refused);
    note_error(ch, error, what);
    end_connection(ch, &lost);
    if (was_connected) {
        ch->counters.connections_lost++;
        LOG_WARN(ch->address, "connection lost (%s)", ch->last_error);
    } else {
        ch->counters.connect_failures++;
        LOG_WARN(ch->address, "no connection (%s)", ch->last_error);
        take_waiting(ch, &refused);
    }
    start_backoff(ch, !list_is_empty(&ch->waiting) || !list_is_empty(&refused));
    /* Without a connection, only bound futures that waited for one are in `lost`. */
    finish_all(ch, &lost, was_connected ? FUTURE_CHANNEL_LOST : FUTURE_CONNECT_FAILED, -error);
    finish_all(ch, &refused, FUTURE_CONNECT_FAILED, -error);
    if (was_connected && ch->client->ops.lost)
        ch->client->ops.lost(ch->client->ops.ctx, ch);
    if (was_up && exception)
        tell(ch, CHANNEL_EVENT_EXCEPTION);
    if (was_connected)
        tell(ch, CHANNEL_EVENT_CLOSE);
}

void channel_fail(struct channel *ch, int error, const char *what)
{
    end_badly(ch, error, what, true);
}

void channel_disconnect(struct channel *ch, const char *why)
{
    if (ch->state == CHANNEL_CLOSED || ch->state == CHANNEL_IDLE)
        return;
    bool was_connected = ch->state == CHANNEL_CONNECTED;
    struct list_link lost;
    list_init(&lost);
    note_error(ch, 0, why);
    end_connection(ch, &lost);
    set_state(ch, CHANNEL_IDLE);
    finish_all(ch, &lost, FUTURE_CHANNEL_LOST, -ECONNRESET);
    if (was_connected) {
        LOG_INFO(ch->address, "connection closed (%s)", why);
        if (ch->client->ops.lost)
            ch->client->ops.lost(ch->client->ops.ctx, ch);
        tell(ch, CHANNEL_EVENT_CLOSE);
    }
    if (ch->state == CHANNEL_IDLE && !list_is_empty(&ch->waiting))
        channel_want(ch);
}

void channel_idle(struct channel *ch)
{
    tell(ch, CHANNEL_EVENT_IDLE);
    channel_disconnect(ch, "idle");
}

void channel_close(struct channel *ch)
{
    if (ch->state == CHANNEL_CLOSED)
        return;
    bool was_connected = ch->state == CHANNEL_CONNECTED;
    struct list_link lost;
    list_init(&lost);
    end_connection(ch, &lost);
    take_waiting(ch, &lost);
    set_state(ch, CHANNEL_CLOSED);
    finish_all(ch, &lost, FUTURE_CANCELLED, -ECANCELED);
    if (was_connected) {
        LOG_INFO(ch->address, "connection closed (not needed any more)");
        tell(ch, CHANNEL_EVENT_CLOSE);
    }
}

/* ---- input ---- */

/* Parses every whole frame. Returns false when the connection or the channel ended meanwhile. */
static bool parse_frames_of_connection(struct channel *ch)
{
    uint64_t connection = ch->counters.connects;
    struct channel_buffer *b = &ch->in;
    while (b->head < b->tail) {
        size_t frame_len = 0;
        int r = remoting_frame_split(b->data + b->head, b->tail - b->head, &frame_len);
        if (r == -EAGAIN && frame_len <= ch->client->settings.max_response_bytes) {
            buffer_compact(b);
            /* The length is a claim: the buffer grows with what really comes. */
            if (b->tail < b->cap || buffer_grow(b, b->cap * 2))
                return true;
            channel_fail(ch, ENOMEM, "read");
            return false;
        }
        if (r == 0 && frame_len <= ch->client->settings.max_response_bytes) {
            ch->counters.frames_in++;
            ch->backoff_ms = 0; /* not before: a peer that accepts and hangs up would be dialled in a loop */
            const uint8_t *frame = b->data + b->head;
            b->head += frame_len;
            r = remoting_client_on_frame(ch->client, ch, frame, frame_len);
            if (ch->state != CHANNEL_CONNECTED || ch->counters.connects != connection)
                return false;
            if (r == 0)
                continue;
            channel_fail(ch, 0, "undecodable frame");
            return false;
        }
        channel_fail(ch, 0, r == -EPROTO ? "not a remoting frame: another service's port?" : "frame over the limit");
        return false;
    }
    b->head = b->tail = 0;
    return true;
}

/* A callback that ends the connection must not free the frame under the feet of its callers. */
static bool parse_frames(struct channel *ch)
{
    ch->parsing = true;
    bool goes_on = parse_frames_of_connection(ch);
    ch->parsing = false;
    if (!goes_on)
        buffer_free(&ch->in);
    return goes_on;
}

static void shrink_input(struct channel *ch)
{
    struct channel_buffer *b = &ch->in;
    if (b->head == b->tail && b->cap > READ_BUFFER_MAX_BYTES)
        buffer_free(b);
}

static void on_readable(struct channel *ch)
{
    struct channel_buffer *b = &ch->in;
    for (size_t budget = READ_BUDGET_BYTES; budget > 0;) {
        if (b->cap == 0 && !buffer_grow(b, BUFFER_MIN_BYTES)) {
            channel_fail(ch, ENOMEM, "read");
            return;
        }
        size_t room = b->cap - b->tail;
        ssize_t n = ch->tls ? tls_session_read(ch->tls, b->data + b->tail, room) : read(ch->fd, b->data + b->tail, room);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            /* FIN is treated as RST: nobody answers any more, so nobody is kept waiting. */
            if (n < 0)
                fail_io(ch, errno, "read");
            else
                end_badly(ch, 0, "closed by the peer", false);
            return;
        }
        ch->counters.reads++;
        ch->counters.bytes_in += (uint64_t)n;
        ch->last_read_ns = event_loop_now_ns(ch->client->loop);
        ch->unanswered = 0;
        b->tail += (size_t)n;
        if (!parse_frames(ch))
            return;
        if (!ch->tls && (size_t)n < room)
            break;
        if (b->cap < READ_BUFFER_MAX_BYTES)
            buffer_grow(b, b->cap * 4 > READ_BUFFER_MAX_BYTES ? READ_BUFFER_MAX_BYTES : b->cap * 4);
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if (budget == 0 && ch->tls) /* what is decrypted already makes no socket readable */
            loop_timer_schedule(&ch->timer, event_loop_now_ns(ch->client->loop));
    }
    shrink_input(ch);
    bool tls_waits = ch->tls && (ch->write_blocked || encrypted(ch) > 0);
    if (tls_waits && encrypted(ch) == 0)
        ch->write_blocked = false; /* it waited for the bytes that came now */
    if (tls_waits || !list_is_empty(&ch->waiting))
        channel_mark_dirty(ch); /* replies made room in the response table */
}

static void on_connected_io(void *ctx, unsigned events)
{
    struct channel *ch = ctx;
    if (events & LOOP_WRITE) {
        ch->write_blocked = false;
        loop_io_set(&ch->io, LOOP_READ);
        channel_mark_dirty(ch);
    }
    if (events & LOOP_READ)
        on_readable(ch);
}

/* ---- connecting ---- */

static void dial_next(struct channel *ch);

static uint16_t port_of(const struct sockaddr_storage *addr)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, addr, sizeof(v4));
    memcpy(&v6, addr, sizeof(v6));
    return ntohs(addr->ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
}

static void connected(struct channel *ch)
{
    loop_timer_cancel(&ch->timer);
    free(ch->targets);
    ch->targets = NULL;
    loop_io_deinit(&ch->io);
    int r = loop_io_init(&ch->io, ch->client->loop, ch->fd, LOOP_READ, on_connected_io, ch);
    if (r == 0)
        r = loop_io_start(&ch->io);
    if (r < 0) {
        channel_fail(ch, -r, "watch");
        return;
    }
    struct sockaddr_storage local = {0};
    socklen_t len = sizeof(local);
    if (getsockname(ch->fd, (struct sockaddr *)&local, &len) == 0)
        ch->local_port = port_of(&local);
    uint64_t now = event_loop_now_ns(ch->client->loop);
    ch->stream_queued = ch->stream_sent = 0;
    ch->unanswered = 0;
    ch->connected_ns = ch->last_read_ns = ch->last_write_ns = now;
    ch->counters.connects++;
    set_state(ch, CHANNEL_CONNECTED);
    if (ch->tls) {
        LOG_INFO(ch->address, "connected from port %u, %s %s%s%s", ch->local_port, tls_session_protocol(ch->tls),
                 tls_session_cipher(ch->tls), tls_session_is_resumed(ch->tls) ? ", resumed" : "",
                 tls_session_is_verified(ch->tls) ? "" : ", INSECURE: the server is not verified");
        ch->counters.tls_resumed += tls_session_is_resumed(ch->tls);
        loop_timer_schedule(&ch->timer, now); /* what came right behind the handshake */
    } else {
        LOG_INFO(ch->address, "connected from port %u", ch->local_port);
    }
    /* What the owner says first (its heartbeat) must not queue behind requests that waited for this connection. */
    struct list_link held;
    list_init(&held);
    move_all(&ch->waiting, &held);
    if (ch->client->ops.connected)
        ch->client->ops.connected(ch->client->ops.ctx, ch);
    move_all(&held, &ch->waiting);
    channel_mark_dirty(ch);
    tell(ch, CHANNEL_EVENT_CONNECT);
}

/* ---- TLS ---- */

static void on_handshake_io(void *ctx, unsigned events)
{
    struct channel *ch = ctx;
    (void)events;
    int r = tls_session_handshake(ch->tls);
    if (r == -EAGAIN)
        loop_io_set(&ch->io, tls_session_unsent(ch->tls) > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    else if (r < 0)
        fail_io(ch, -r, "TLS handshake");
    else
        connected(ch);
}

/* The attempt goes on, under the same time limit. */
static void start_handshake(struct channel *ch)
{
    loop_io_deinit(&ch->io);
    int r = tls_session_new(&ch->tls, ch->client->tls, ch->fd, ch->address);
    if (r == 0)
        r = loop_io_init(&ch->io, ch->client->loop, ch->fd, LOOP_READ, on_handshake_io, ch);
    if (r == 0)
        r = loop_io_start(&ch->io);
    if (r < 0)
        channel_fail(ch, -r, "TLS");
    else
        on_handshake_io(ch, 0);
}

static void on_connecting_io(void *ctx, unsigned events)
{
    struct channel *ch = ctx;
    (void)events;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(ch->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error && ch->next_target < ch->targets->count)
        dial_next(ch);
    else if (error)
        channel_fail(ch, error, "connect");
    else if (ch->client->settings.use_tls)
        start_handshake(ch);
    else
        connected(ch);
}

/* Failures while dialling are reported from the timer: whoever asked for the connection is still in the middle of asking. */
static void fail_soon(struct channel *ch, int error)
{
    ch->send_error = error;
    loop_timer_schedule(&ch->timer, event_loop_now_ns(ch->client->loop));
}

static void set_socket_options(struct channel *ch)
{
    const struct remoting_client_settings *s = &ch->client->settings;
    unsigned user_timeout_ms = s->tcp_user_timeout_ms;
    int on = 1, off = 0, snd = (int)s->socket_snd_buf_bytes, rcv = (int)s->socket_rcv_buf_bytes;
    setsockopt(ch->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(ch->fd, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof(off));
    if (user_timeout_ms > 0)
        setsockopt(ch->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    if (snd > 0)
        setsockopt(ch->fd, SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd));
    if (rcv > 0)
        setsockopt(ch->fd, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof(rcv));
}

static int dial_one(struct channel *ch, const struct sockaddr_storage *addr, socklen_t len)
{
    close_fd(ch);
    ch->fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ch->fd < 0)
        return -errno;
    set_socket_options(ch);
    if (connect(ch->fd, (const struct sockaddr *)addr, len) != 0 && errno != EINPROGRESS)
        return -errno;
    int r = loop_io_init(&ch->io, ch->client->loop, ch->fd, LOOP_WRITE, on_connecting_io, ch);
    return r < 0 ? r : loop_io_start(&ch->io);
}

/* Dials the targets in their order until one is under way. All of them share the attempt's time limit. */
static void dial_next(struct channel *ch)
{
    int r = -EHOSTUNREACH;
    set_state(ch, CHANNEL_CONNECTING);
    while (r < 0 && ch->next_target < ch->targets->count) {
        unsigned i = ch->next_target++;
        r = dial_one(ch, &ch->targets->addrs[i], ch->targets->lens[i]);
    }
    if (r < 0)
        fail_soon(ch, -r);
}

static void dial(struct channel *ch, const struct resolved *found)
{
    ch->targets = malloc(sizeof(*ch->targets));
    ch->next_target = 0;
    if (!ch->targets) {
        set_state(ch, CHANNEL_CONNECTING);
        fail_soon(ch, ENOMEM);
        return;
    }
    *ch->targets = *found;
    dial_next(ch);
}

static void on_resolved(void *ctx, int error, const char *reason, const struct resolved *found)
{
    struct channel *ch = ctx;
    ch->resolving = false;
    if (error < 0) {
        char what[96];
        snprintf(what, sizeof(what), "name look-up: %s", reason[0] ? reason : strerror(-error));
        channel_fail(ch, 0, what);
    } else {
        dial(ch, found);
    }
}

static void start_connect(struct channel *ch)
{
    struct remoting_client *client = ch->client;
    struct resolved numeric = {.count = 0};
    if (client->settings.use_tls && !client->tls) {
        set_state(ch, CHANNEL_CONNECTING);
        fail_soon(ch, ENOKEY);
        return;
    }
    loop_timer_schedule(&ch->timer, event_loop_now_ns(client->loop) + client->settings.connect_timeout_ms * NS_PER_MS);
    if (address_parse_numeric(ch->address, &numeric)) {
        dial(ch, &numeric);
        return;
    }
    set_state(ch, CHANNEL_RESOLVING);
    int r = client->resolver ? resolver_resolve(client->resolver, ch->address, on_resolved, ch) : -EHOSTUNREACH;
    ch->resolving = r == 0;
    if (r < 0)
        fail_soon(ch, -r);
}

static void on_timer(void *ctx)
{
    struct channel *ch = ctx;
    int error = ch->send_error ? ch->send_error : ETIMEDOUT;
    if (ch->state == CHANNEL_RESOLVING)
        channel_fail(ch, error, "name look-up");
    else if (ch->state == CHANNEL_CONNECTING && error == ENOKEY)
        channel_fail(ch, 0, "TLS is wanted, but no TLS context could be built; nothing is sent in plain text");
    else if (ch->state == CHANNEL_CONNECTING && ch->tls)
        channel_fail(ch, 0, "the TLS handshake was not finished in time");
    else if (ch->state == CHANNEL_CONNECTING)
        channel_fail(ch, error, "connect");
    else if (ch->state == CHANNEL_CONNECTED)
        on_readable(ch);
    else if (ch->state == CHANNEL_BACKOFF && (ch->keep_connected || !list_is_empty(&ch->waiting)))
        start_connect(ch);
    else if (ch->state == CHANNEL_BACKOFF)
        set_state(ch, CHANNEL_IDLE);
}

void channel_want(struct channel *ch)
{
    if (ch->state == CHANNEL_IDLE) {
        start_connect(ch);
        return;
    }
    uint64_t soon = event_loop_now_ns(ch->client->loop) + BACKOFF_MAX_MS * NS_PER_MS;
    if (ch->state == CHANNEL_BACKOFF && ch->timer.at_ns > soon)
        loop_timer_schedule(&ch->timer, soon);
}

/* ---- life ---- */

struct channel *channel_new(struct remoting_client *client, const char *address)
{
    struct channel *ch = calloc(1, sizeof(*ch));
    if (!ch)
        return NULL;
    ch->client = client;
    ch->fd = -1;
    text_copy(ch->address, sizeof(ch->address), address, strlen(address));
    list_init(&ch->waiting);
    list_init(&ch->pending);
    list_init(&ch->oneways);
    if (loop_timer_init(&ch->timer, client->loop, on_timer, ch) < 0) {
        free(ch);
        return NULL;
    }
    return ch;
}

struct channel *channel_free(struct channel *ch)
{
    if (!ch)
        return NULL;
    channel_close(ch);
    list_unlink(&ch->link);
    loop_timer_deinit(&ch->timer);
    free(ch);
    return NULL;
}
