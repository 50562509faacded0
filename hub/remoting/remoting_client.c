/*
 * Futures move between four homes: parked with their owner, waiting on a channel,
 * pending (or oneway) in a channel's stream, and nowhere. remoting_client_finish()
 * is the only way out, whatever the reason, so a future ends exactly once.
 */
#include "hub/remoting/remoting_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/remoting/remoting_codec.h"
#include "hub/remoting/resolver.h"
#include "hub/remoting/tls_context.h"
#include "shm/base/clock.h"

#define INVOKE_EXT_MAX 4
#define INVOKE_FIELDS_MAX (INVOKE_EXT_MAX + RPC_HOOK_FIELDS_MAX)
#define SUSPECT_AFTER 3u /* requests without an answer in a row */

bool remoting_client_is_suspect(const struct channel *channel)
{
    return channel->suspected_ns > channel->last_read_ns;
}

bool remoting_client_suspect(struct remoting_client *client, struct channel *ch)
{
    if (ch->state != CHANNEL_CONNECTED || remoting_client_is_suspect(ch))
        return false;
    ch->suspected_ns = event_loop_now_ns(client->loop);
    client->responses.counters.suspicions++;
    if (client->ops.suspect)
        client->ops.suspect(client->ops.ctx, ch);
    return true;
}

static void expire(void *ctx, struct deadline *deadline)
{
    struct response_future *future = LIST_ENTRY(deadline, struct response_future, deadline);
    struct remoting_client *client = ctx;
    struct channel *pending_on = future->state == FUTURE_PENDING ? future->channel : NULL;
    client->responses.counters.expired++;
    remoting_client_finish(client, future, FUTURE_EXPIRED, -ETIMEDOUT);
    /* A dropped channel lives until the end of the round, so it can still be looked at. */
    if (pending_on && ++pending_on->unanswered >= SUSPECT_AFTER)
        remoting_client_suspect(client, pending_on);
}

int remoting_client_start(struct remoting_client *client, struct event_loop *loop, struct resolver *resolver,
                          const struct remoting_client_settings *settings, const struct remoting_client_ops *ops)
{
    memset(client, 0, sizeof(*client));
    client->loop = loop;
    client->resolver = resolver;
    client->settings = *settings;
    client->ops = *ops;
    client->jitter = (mono_now_ns() ^ (uint64_t)(uintptr_t)client) | 1;
    list_init(&client->channels);
    list_init(&client->dirty);
    list_init(&client->closed);
    int r = response_table_init(&client->responses, settings->max_pending);
    if (settings->max_oneway)
        client->responses.oneways_max = settings->max_oneway;
    return r < 0 ? r : deadline_wheel_init(&client->deadlines, loop, expire, client);
}

static void free_channels(struct list_link *list)
{
    for (struct list_link *it; (it = list_first(list)) != NULL;)
        channel_free(LIST_ENTRY(it, struct channel, link));
}

void remoting_client_close_all(struct remoting_client *client)
{
    if (!client->loop)
        return;
    for (struct list_link *it = client->channels.next; it != &client->channels;) {
        struct channel *ch = LIST_ENTRY(it, struct channel, link);
        bool was_open = ch->state != CHANNEL_CLOSED;
        channel_close(ch);
        it = was_open ? client->channels.next : it->next; /* callbacks may have dropped any of them */
    }
}

void remoting_client_deinit(struct remoting_client *client)
{
    if (!client->loop)
        return;
    free_channels(&client->channels);
    free_channels(&client->closed);
    client->channel_count = 0;
    deadline_wheel_deinit(&client->deadlines);
    response_table_deinit(&client->responses);
    client->hook = rpc_hook_free(client->hook);
    client->tls = tls_context_unref(client->tls);
    client->loop = NULL;
}

void remoting_client_set_hook(struct remoting_client *client, struct rpc_hook *hook)
{
    rpc_hook_free(client->hook);
    client->hook = hook;
}

void remoting_client_set_tls(struct remoting_client *client, struct tls_context *tls)
{
    tls_context_unref(client->tls);
    client->tls = tls;
}

int remoting_client_channel(struct remoting_client *client, const char *address, struct channel **out)
{
    LIST_FOR_EACH_SAFE (it, next, &client->channels) {
        struct channel *ch = LIST_ENTRY(it, struct channel, link);
        if (strcmp(ch->address, address) == 0) {
            *out = ch;
            return 0;
        }
    }
    char host[CHANNEL_ADDRESS_MAX + 1], port[8];
    if (strlen(address) > CHANNEL_ADDRESS_MAX || address_split(address, host, sizeof(host), port, sizeof(port)) < 0)
        return -EINVAL;
    if (client->channel_count >= CHANNELS_MAX)
        return -EDQUOT;
    struct channel *ch = channel_new(client, address);
    if (!ch)
        return -ENOMEM;
    ch->id = ++client->next_channel_id;
    list_append(&client->channels, &ch->link);
    client->channel_count++;
    *out = ch;
    return 0;
}

void remoting_client_drop(struct remoting_client *client, struct channel *channel)
{
    if (channel->state == CHANNEL_CLOSED)
        return;
    channel_close(channel);
    list_unlink(&channel->link);
    list_append(&client->closed, &channel->link);
    client->channel_count--;
}

/* ---- futures ---- */

void remoting_client_unpark(struct response_future *future)
{
    list_unlink(&future->link);
    deadline_disarm(&future->deadline);
    future->state = FUTURE_FREE;
}

static void end_future(struct response_future *future, const struct future_result *result)
{
    remoting_client_unpark(future);
    future->ops->done(future, result);
}

/* Before whom it waits: senders wait in their turn, the client's own requests in theirs, ahead of all senders. */
static struct list_link *place_to_wait(struct channel *channel, const struct response_future *future)
{
    struct list_link *at = &channel->waiting;
    if (future->own)
        for (at = at->next; at != &channel->waiting && LIST_ENTRY(at, struct response_future, link)->own;)
            at = at->next;
    return at;
}

void remoting_client_submit(struct remoting_client *client, struct channel *channel, struct response_future *future, uint64_t deadline_ns)
{
    future->channel = channel;
    if (channel->state == CHANNEL_CLOSED) {
        struct future_result result = {.end = FUTURE_CANCELLED, .error = -ECANCELED};
        end_future(future, &result);
        return;
    }
    struct list_link *at = place_to_wait(channel, future);
    /* Where somebody waits for a credit, on whatever channel, a sender takes none ahead of them: the end of the round shares them out. */
    bool in_turn = future->own || !client->responses.wanted;
    if (channel->state == CHANNEL_CONNECTED && at == channel->waiting.next && in_turn) {
        int r = future->ops->write(future, channel);
        if (r == 0)
            deadline_wheel_arm(&client->deadlines, &future->deadline, deadline_ns);
        if (r != -EAGAIN)
            return;
        channel->counters.held_back++;
    }
    future->state = FUTURE_WAITING;
    list_insert_before(at, &future->link);
    channel->waiting_count++;
    deadline_wheel_arm(&client->deadlines, &future->deadline, deadline_ns);
    channel_want(channel);
    if (!in_turn)
        channel_mark_dirty(channel);
}

void remoting_client_park(struct remoting_client *client, struct response_future *future, struct list_link *list, uint64_t deadline_ns)
{
    future->state = FUTURE_PARKED;
    list_append(list, &future->link);
    deadline_wheel_arm(&client->deadlines, &future->deadline, deadline_ns);
}

/* Takes a future out of the stream. Returns whether a byte of it may have reached a socket. */
static bool leave_stream(struct remoting_client *client, struct response_future *future)
{
    struct channel *ch = future->channel;
    bool written = future->stream_start < ch->stream_sent;
    if (future->state == FUTURE_PENDING) {
        response_table_remove(&client->responses, future);
        ch->pending_count--;
    } else {
        response_table_release_oneway(&client->responses);
    }
    /* Unsent bytes exist only while the connection does. */
    if (!written && ch->state == CHANNEL_CONNECTED)
        channel_retract(ch, future);
    return written;
}

void remoting_client_finish(struct remoting_client *client, struct response_future *future, enum future_end end, int error)
{
    struct future_result result = {.end = end, .error = error};
    if (future->state == FUTURE_FREE)
        return;
    if (future->state == FUTURE_WAITING)
        future->channel->waiting_count--;
    if (future->state == FUTURE_PENDING || future->state == FUTURE_ONEWAY)
        result.maybe_written = leave_stream(client, future);
    if (end == FUTURE_CHANNEL_LOST)
        client->responses.counters.lost++;
    end_future(future, &result);
}

static int take_request(struct remoting_client *client, struct channel *channel, const void *frame, size_t len)
{
    struct remoting_command command;
    if (remoting_command_decode(&command, frame, len, client->scratch, sizeof(client->scratch)) < 0 ||
        remoting_command_is_response(&command))
        return -EPROTO;
    channel->counters.requests_in++;
    if (client->ops.request)
        client->ops.request(client->ops.ctx, channel, &command);
    return 0;
}

int remoting_client_on_frame(struct remoting_client *client, struct channel *channel, const void *frame, size_t len)
{
    struct send_response response;
    /* Made for replies to sends, the reader is stricter about their fields than a request need be. */
    if (send_response_decode(frame, len, &response, client->scratch, sizeof(client->scratch)) < 0 ||
        !(response.flag & REMOTING_FLAG_RESPONSE))
        return take_request(client, channel, frame, len);
    struct response_future *future = response_table_take(&client->responses, response.opaque, channel);
    if (!future) {
        channel->counters.unknown_replies++;
        return 0;
    }
    channel->pending_count--;
    if (client->hook)
        rpc_hook_after_response(client->hook, channel->address, future->code, &response);
    struct future_result result = {.end = FUTURE_REPLIED, .maybe_written = true, .frame = frame, .frame_len = len, .response = &response};
    end_future(future, &result);
    return 0;
}

/* ---- calls ---- */

struct invocation {
    struct response_future future;
    struct remoting_client *client;
    invoke_fn fn;
    void *ctx;
    struct ext_field ext[INVOKE_FIELDS_MAX];
    unsigned ext_count;
    struct span body;
    size_t frame_bound;
    char bytes[];
};

static int invocation_write(struct response_future *future, struct channel *channel)
{
    struct invocation *call = LIST_ENTRY(future, struct invocation, future);
    const struct remoting_client_settings *s = &call->client->settings;
    void *at = channel_reserve(channel, call->frame_bound);
    if (!at)
        return -EAGAIN;
    if (response_table_add(&call->client->responses, future) < 0)
        return -EAGAIN;
    struct remoting_encoder e;
    size_t frame_len;
    remoting_encode_begin(&e, at, call->frame_bound, s->serialize_type, future->code, LANGUAGE_CPP, s->version, future->opaque, 0);
    for (unsigned i = 0; i < call->ext_count; i++)
        remoting_encode_ext(&e, call->ext[i].key.data, call->ext[i].value);
    void *body = remoting_encode_body(&e, call->body.len, &frame_len);
    if (!body) { /* the bound was checked when the call was made; a code or version out of range remains */
        response_table_remove(&call->client->responses, future);
        struct future_result result = {.end = FUTURE_CANCELLED, .error = -EMSGSIZE};
        end_future(future, &result);
        return -EMSGSIZE;
    }
    if (call->body.len)
        memcpy(body, call->body.data, call->body.len);
    channel_commit_future(channel, future, frame_len, false);
    return 0;
}

static void describe(char *out, size_t cap, const struct response_future *future, const struct future_result *result)
{
    const char *address = future->channel->address;
    switch (result->end) {
    case FUTURE_EXPIRED:
        if (result->maybe_written)
            snprintf(out, cap, "%s did not answer in time", address);
        else
            snprintf(out, cap, "no connection to %s in time%s%s", address, future->channel->last_error[0] ? ", last: " : "",
                     future->channel->last_error);
        break;
    case FUTURE_CONNECT_FAILED:
        snprintf(out, cap, "cannot connect to %s: %s", address, future->channel->last_error);
        break;
    case FUTURE_CHANNEL_LOST:
        snprintf(out, cap, "connection to %s lost: %s", address, future->channel->last_error);
        break;
    default:
        snprintf(out, cap, "call to %s cancelled", address);
    }
}

static void invocation_done(struct response_future *future, const struct future_result *result)
{
    struct invocation *call = LIST_ENTRY(future, struct invocation, future);
    char reason[512] = "";
    struct invoke_result r = {.error = result->end == FUTURE_REPLIED ? 0 : result->error,
                              .reason = reason,
                              .maybe_written = result->maybe_written,
                              .response = result->response,
                              .frame = result->frame,
                              .frame_len = result->frame_len};
    if (result->end == FUTURE_REPLIED)
        r.rt_us = (uint32_t)((event_loop_now_ns(call->client->loop) - future->written_ns) / NS_PER_US);
    else {
        describe(reason, sizeof(reason), future, result);
        if (r.error == 0)
            r.error = -ECONNRESET;
    }
    call->fn(call->ctx, future->channel, &r);
    free(call);
}

static const struct future_ops invocation_ops = {.write = invocation_write, .done = invocation_done, .kind = "call"};

static char *keep(struct span *span, char *at)
{
    if (span->len)
        memcpy(at, span->data, span->len);
    span->data = at;
    at[span->len] = '\0';
    return at + span->len + 1;
}

/* The request's own fields and what the hook adds to them; an error is the hook's refusal. */
static int take_fields(struct invocation *call, const struct invoke_request *request)
{
    struct rpc_request hooked = {.code = request->code, .ext = request->ext, .ext_count = request->ext_count, .body = request->body};
    int r = rpc_hook_before_request(call->client->hook, &hooked);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < request->ext_count; i++)
        call->ext[call->ext_count++] = request->ext[i];
    for (unsigned i = 0; i < hooked.added_count; i++)
        call->ext[call->ext_count++] = hooked.added[i];
    return 0;
}

int remoting_client_invoke(struct remoting_client *client, struct channel *channel, const struct invoke_request *request, invoke_fn fn,
                           void *ctx)
{
    size_t text = rpc_hook_bytes_max(client->hook);
    if (request->ext_count > INVOKE_EXT_MAX)
        return -EMSGSIZE;
    for (unsigned i = 0; i < request->ext_count; i++)
        text += request->ext[i].key.len + request->ext[i].value.len;
    size_t bound = remoting_frame_bound(client->settings.serialize_type, INVOKE_FIELDS_MAX, text, request->body.len);
    if (bound > REMOTING_FRAME_MAX)
        return -EMSGSIZE;
    struct invocation *call = calloc(1, sizeof(*call) + text + request->body.len + 2 * INVOKE_FIELDS_MAX + 1);
    if (!call)
        return -ENOMEM;
    call->client = client;
    call->fn = fn;
    call->ctx = ctx;
    call->frame_bound = bound;
    int r = take_fields(call, request);
    if (r < 0) {
        free(call);
        return r;
    }
    char *at = call->bytes;
    for (unsigned i = 0; i < call->ext_count; i++) {
        at = keep(&call->ext[i].key, at);
        at = keep(&call->ext[i].value, at);
    }
    call->body = request->body;
    keep(&call->body, at);
    uint64_t now = event_loop_now_ns(client->loop);
    call->future.ops = &invocation_ops;
    call->future.code = request->code;
    call->future.bound = request->bound;
    call->future.own = true;
    call->future.begin_ns = now;
    remoting_client_submit(client, channel, &call->future, now + request->timeout_ms * NS_PER_MS);
    return 0;
}

void remoting_client_reply(struct channel *channel, const struct remoting_command *request, int32_t code, struct span remark,
                           struct span body)
{
    if (request->flag & REMOTING_FLAG_ONEWAY)
        return;
    size_t bound = remoting_frame_bound(request->serialize_type, 0, remark.len, body.len), frame_len;
    void *at = channel_reserve(channel, bound);
    if (!at)
        return;
    struct remoting_encoder e;
    remoting_encode_begin(&e, at, bound, request->serialize_type, code, LANGUAGE_CPP, channel->client->settings.version, request->opaque,
                          REMOTING_FLAG_RESPONSE);
    remoting_encode_remark(&e, remark);
    void *to = remoting_encode_body(&e, body.len, &frame_len);
    if (!to)
        return;
    if (body.len)
        memcpy(to, body.data, body.len);
    channel_commit(channel, frame_len);
}

/* ---- once per round, once per second ---- */

int remoting_client_take_oneway(struct remoting_client *client, struct response_future *future)
{
    return response_table_add_oneway(&client->responses, future);
}

/* Puts the channels with these ids on which somebody waits at the end of those to be flushed. */
static void offer(struct remoting_client *client, uint32_t from_id, uint32_t to_id)
{
    LIST_FOR_EACH_SAFE (it, next, &client->channels) {
        struct channel *ch = LIST_ENTRY(it, struct channel, link);
        if (ch->id < from_id || ch->id > to_id || ch->state != CHANNEL_CONNECTED || list_is_empty(&ch->waiting))
            continue;
        list_unlink(&ch->dirty_link);
        channel_mark_dirty(ch);
    }
}

/*
 * Credits belong to all channels: one that is free again, whatever freed it, lets those go on who were refused. They are asked in
 * turn, from the one behind the last that was served: a slow broker with a long queue leaves credits to the others.
 */
static void share_credits(struct remoting_client *client)
{
    struct response_table *t = &client->responses;
    if (!response_table_may_retry(t))
        return;
    t->wanted = t->own_wanted = t->oneway_wanted = false;
    uint32_t served_id = client->served_id;
    offer(client, served_id + 1, UINT32_MAX);
    offer(client, 0, served_id);
}

void remoting_client_flush(struct remoting_client *client)
{
    share_credits(client);
    for (struct list_link *it; (it = list_first(&client->dirty)) != NULL;) {
        list_unlink(it);
        channel_flush(LIST_ENTRY(it, struct channel, dirty_link));
        share_credits(client);
    }
    free_channels(&client->closed);
}

static void found_overdue(void *ctx, struct response_future *future)
{
    remoting_client_finish(ctx, future, FUTURE_EXPIRED, -ETIMEDOUT);
}

static bool is_idle(const struct remoting_client *client, const struct channel *ch, uint64_t now)
{
    uint64_t last = ch->last_read_ns > ch->last_write_ns ? ch->last_read_ns : ch->last_write_ns;
    return client->settings.max_idle_ms && ch->state == CHANNEL_CONNECTED && now - last > client->settings.max_idle_ms * NS_PER_MS;
}

/*
 * A peer that owes answers and sends nothing: silence counts from the oldest request that it should have answered by now.
 * True if it was suspected just now.
 */
static bool watch_silence(struct remoting_client *client, struct channel *ch, uint64_t now)
{
    struct list_link *oldest = list_first(&ch->pending);
    if (ch->owing_ns <= ch->last_read_ns || (!oldest && ch->unanswered == 0))
        ch->owing_ns = 0;
    if (oldest && ch->owing_ns == 0) {
        uint64_t written_ns = LIST_ENTRY(oldest, struct response_future, link)->written_ns;
        ch->owing_ns = written_ns > ch->last_read_ns ? written_ns : ch->last_read_ns + 1;
    }
    return ch->owing_ns && client->settings.probe_silence_ms && now - ch->owing_ns >= client->settings.probe_silence_ms * NS_PER_MS &&
           remoting_client_suspect(client, ch);
}

/* The probe had the time of one heartbeat. Whoever sent it, and whatever it was: one byte would have done. */
static bool is_given_up(const struct remoting_client *client, const struct channel *ch, uint64_t now)
{
    uint64_t limit_ns = client->settings.probe_silence_ms / 2 * NS_PER_MS;
    return limit_ns && ch->state == CHANNEL_CONNECTED && remoting_client_is_suspect(ch) && now - ch->suspected_ns > limit_ns;
}

/* True if callbacks ran. Each happens once: it changes what it was decided by. */
static bool scan_channel(struct remoting_client *client, struct channel *ch, uint64_t now)
{
    channel_trim(ch);
    if (watch_silence(client, ch, now))
        return true;
    if (is_given_up(client, ch, now)) {
        channel_fail(ch, ETIMEDOUT, "a probe was not answered");
        return true;
    }
    if (is_idle(client, ch, now)) {
        channel_idle(ch);
        return true;
    }
    if (!list_is_empty(&ch->waiting) && ch->state == CHANNEL_CONNECTED)
        channel_mark_dirty(ch);
    return false;
}

unsigned remoting_client_scan(struct remoting_client *client)
{
    uint64_t now = event_loop_now_ns(client->loop);
    unsigned found = response_table_scan(&client->responses, now, found_overdue, client);
    for (struct list_link *it = client->channels.next; it != &client->channels;) {
        struct channel *ch = LIST_ENTRY(it, struct channel, link);
        bool dropped = scan_channel(client, ch, now) && ch->state == CHANNEL_CLOSED;
        /* Callbacks may drop any channel, this one, too: it is on another list then, and the walk begins anew. */
        it = dropped ? client->channels.next : it->next;
    }
    return found;
}
