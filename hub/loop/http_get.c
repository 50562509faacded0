/*
 * evhttp reads and writes; what it finds is copied, and told from a timer of the
 * loop, because a connection must not be freed inside its own callbacks. The time
 * limits are timers of the loop too, so that they obey its clock.
 */
#include "hub/loop/http_get.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hub/loop/event_loop.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define ANSWER_HEADERS_MAX_BYTES 8192
#define INTERIM_ANSWERS_MAX 4u
#define STATUS_CONTINUE 100

struct http_get {
    struct event_loop *loop;
    struct evhttp_connection *connection;
    struct loop_timer timer; /* time limit, then the end */
    uint64_t timeout_ns;
    http_get_fn fn;
    void *ctx;
    bool done;
    unsigned interim_answers;
    size_t unparsed_max_bytes;
    struct http_get_result result;
    char *body;
};

static void free_get(struct http_get *get)
{
    loop_timer_deinit(&get->timer);
    if (get->connection)
        evhttp_connection_free(get->connection);
    free(get->body);
    free(get);
}

static void end_soon(struct http_get *get)
{
    get->done = true;
    loop_timer_schedule(&get->timer, event_loop_now_ns(get->loop));
}

static void fail(struct http_get *get, int error, const char *reason)
{
    if (get->done)
        return;
    get->result = (struct http_get_result){.error = error, .reason = reason};
    end_soon(get);
}

static void on_timer(void *ctx)
{
    struct http_get *get = ctx;
    if (!get->done)
        get->result = (struct http_get_result){.error = -ETIMEDOUT, .reason = "no answer in time"};
    get->fn(get->ctx, &get->result);
    free_get(get);
}

/*
 * libevent calls this for every "100 Continue" too, keeps that one's header and
 * waits for the next. Only the answer itself, which comes once, gets more time.
 */
static int on_header(struct evhttp_request *request, void *ctx)
{
    struct http_get *get = ctx;
    if (get->done)
        return 0;
    if (evhttp_request_get_response_code(request) != STATUS_CONTINUE) {
        loop_timer_schedule(&get->timer, event_loop_now_ns(get->loop) + get->timeout_ns);
        return 0;
    }
    if (++get->interim_answers <= INTERIM_ANSWERS_MAX)
        return 0;
    fail(get, -EMSGSIZE, "too many interim answers");
    return -1;
}

/* evhttp limits headers and bodies, but gathers the line before a chunk without end. */
static void on_bytes(struct evbuffer *in, const struct evbuffer_cb_info *info, void *ctx)
{
    struct http_get *get = ctx;
    (void)info;
    if (evbuffer_get_length(in) > get->unparsed_max_bytes)
        fail(get, -EMSGSIZE, "the answer is too long");
}

static void on_error(enum evhttp_request_error error, void *ctx)
{
    if (error == EVREQ_HTTP_DATA_TOO_LONG)
        fail(ctx, -EMSGSIZE, "the answer is too long");
    else
        fail(ctx, -ECONNREFUSED, "the connection ended, or it was not HTTP that came");
}

static void on_answer(struct evhttp_request *request, void *ctx)
{
    struct http_get *get = ctx;
    int status = request ? evhttp_request_get_response_code(request) : 0;
    if (get->done)
        return;
    if (status == 0) {
        fail(get, -ECONNREFUSED, "no connection");
        return;
    }
    struct evbuffer *in = evhttp_request_get_input_buffer(request);
    size_t len = evbuffer_get_length(in);
    get->body = malloc(len + 1);
    if (!get->body) {
        fail(get, -ENOMEM, "no memory");
        return;
    }
    evbuffer_copyout(in, get->body, len);
    get->result = (struct http_get_result){.status = status, .reason = "", .body = get->body, .body_len = len};
    end_soon(get);
}

static void log_libevent(int severity, const char *text)
{
    (void)severity;
    LOG_DEBUG("http", "libevent: %s", text);
}

static bool is_numeric(const char *ip)
{
    unsigned char ignored[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, ip, ignored) == 1 || inet_pton(AF_INET6, ip, ignored) == 1;
}

static bool is_line(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static bool is_well_formed(const struct http_get_request *request)
{
    bool ok = is_numeric(request->ip) && request->port > 0 && request->path[0] == '/' && is_line(request->path) &&
              !strchr(request->path, ' ') && is_line(request->host) && request->header_count <= HTTP_GET_HEADERS_MAX;
    for (unsigned i = 0; ok && i < request->header_count; i++)
        ok = is_line(request->headers[i].name) && is_line(request->headers[i].value);
    return ok;
}

static int add_headers(struct evhttp_request *to, const struct http_get_request *request)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(to);
    int r = evhttp_add_header(headers, "Host", request->host);
    if (r == 0)
        r = evhttp_add_header(headers, "Connection", "close");
    for (unsigned i = 0; i < request->header_count && r == 0; i++)
        r = evhttp_add_header(headers, request->headers[i].name, request->headers[i].value);
    return r == 0 ? 0 : -ENOMEM;
}

static int start_request(struct http_get *get, const struct http_get_request *request)
{
    get->connection = evhttp_connection_base_new(event_loop_base(get->loop), NULL, request->ip, request->port);
    if (!get->connection)
        return -ENOMEM;
    evhttp_connection_set_max_headers_size(get->connection, ANSWER_HEADERS_MAX_BYTES);
    evhttp_connection_set_max_body_size(get->connection, (ev_ssize_t)request->body_max_bytes);
    struct evbuffer *in = bufferevent_get_input(evhttp_connection_get_bufferevent(get->connection));
    get->unparsed_max_bytes = ANSWER_HEADERS_MAX_BYTES + request->body_max_bytes;
    if (!evbuffer_add_cb(in, on_bytes, get))
        return -ENOMEM;
    struct evhttp_request *out = evhttp_request_new(on_answer, get);
    if (!out)
        return -ENOMEM;
    evhttp_request_set_header_cb(out, on_header);
    evhttp_request_set_error_cb(out, on_error);
    int r = add_headers(out, request);
    if (r < 0) {
        evhttp_request_free(out);
        return r;
    }
    /* The connection owns the request from here on, whatever is returned. */
    if (evhttp_make_request(get->connection, out, EVHTTP_REQ_GET, request->path) != 0)
        fail(get, -ECONNREFUSED, "no connection");
    return 0;
}

int http_get_start(struct http_get **out, struct event_loop *loop, const struct http_get_request *request, http_get_fn fn, void *ctx)
{
    if (!is_well_formed(request))
        return -EINVAL;
    struct http_get *get = calloc(1, sizeof(*get));
    if (!get)
        return -ENOMEM;
    event_set_log_callback(log_libevent);
    get->loop = loop;
    get->timeout_ns = request->timeout_ms * NS_PER_MS;
    get->fn = fn;
    get->ctx = ctx;
    int r = loop_timer_init(&get->timer, loop, on_timer, get);
    if (r == 0) {
        loop_timer_schedule(&get->timer, event_loop_now_ns(loop) + get->timeout_ns);
        r = start_request(get, request);
    }
    if (r < 0) {
        free_get(get);
        return r;
    }
    *out = get;
    return 0;
}

struct http_get *http_get_cancel(struct http_get *get)
{
    if (get)
        free_get(get);
    return NULL;
}
