/*
 * One HTTP GET over libevent's evhttp. The peer is given as a numeric address,
 * because looking a name up would stop the loop; the name goes into the Host
 * header. The answer is bounded in time and size whatever the server does.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct event_loop;
struct http_get;

#define HTTP_GET_HEADERS_MAX 8u

struct http_get_header {
    const char *name, *value;
};

struct http_get_request {
    const char *ip; /* numeric, an IPv6 address without brackets */
    uint16_t port;
    const char *host; /* value of the Host header */
    const char *path; /* with its query */
    struct http_get_header headers[HTTP_GET_HEADERS_MAX];
    unsigned header_count;
    uint32_t timeout_ms;   /* until the answer's header is there (a "100 Continue" is not it), and again until its end */
    size_t body_max_bytes; /* an answer with more fails */
};

/** error 0: an answer of @c status with @c body. Else a negative errno (-ETIMEDOUT, -EMSGSIZE too long or too many interim answers,
 * -ECONNREFUSED no connection or no HTTP) and @c reason, a text for people. */
struct http_get_result {
    int error;
    const char *reason;
    int status;
    const char *body; /* not terminated; valid during the call */
    size_t body_len;
};
typedef void (*http_get_fn)(void *ctx, const struct http_get_result *result);

/** Starts it; texts are copied. The callback runs once, in a later round, and the object is freed after it. 0 | -EINVAL | -ENOMEM. */
int http_get_start(struct http_get **out, struct event_loop *loop, const struct http_get_request *request, http_get_fn fn, void *ctx);
/** Gives up: the callback does not run. NULL is allowed. Returns NULL. */
struct http_get *http_get_cancel(struct http_get *get);
