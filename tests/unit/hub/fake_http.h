/*
 * A scripted HTTP server in the test's own thread: it keeps what was asked, and
 * answers with the bytes it is given. fake_http_poll() does what can be done now.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_HTTP_CONNS 8

struct fake_http {
    int fd;
    uint16_t port;
    char address[32]; /* 127.0.0.1:port */
    int conns[FAKE_HTTP_CONNS];
    const char *answer; /* whole response; NULL: silence */
    size_t answer_len;  /* 0: strlen(answer) */
    bool keep_open;     /* does not close after the answer */
    unsigned requests;
    char last[2048]; /* the last request's header */
};

void fake_http_open(struct fake_http *http);
void fake_http_close(struct fake_http *http);
/** Stops listening: connects are refused. fake_http_listen() takes the same port again. */
void fake_http_unlisten(struct fake_http *http);
void fake_http_listen(struct fake_http *http);
/** Answers 200 with @p body, which must stay valid. */
void fake_http_serve(struct fake_http *http, const char *body);
bool fake_http_poll(struct fake_http *http);
/** Sends more bytes on every open connection; see keep_open. False: not all of them went. */
bool fake_http_send(struct fake_http *http, const char *bytes);
