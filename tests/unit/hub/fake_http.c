#include "tests/unit/hub/fake_http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_http_listen(struct fake_http *http)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(http->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int on = 1;
    http->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(http->fd >= 0);
    setsockopt(http->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(http->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(http->fd, 8), 0);
    assert_int_equal(getsockname(http->fd, (struct sockaddr *)&addr, &len), 0);
    http->port = ntohs(addr.sin_port);
    snprintf(http->address, sizeof(http->address), "127.0.0.1:%u", http->port);
}

void fake_http_unlisten(struct fake_http *http)
{
    if (http->fd >= 0)
        close(http->fd);
    http->fd = -1;
}

void fake_http_open(struct fake_http *http)
{
    *http = (struct fake_http){.fd = -1};
    for (unsigned i = 0; i < FAKE_HTTP_CONNS; i++)
        http->conns[i] = -1;
    fake_http_listen(http);
}

static void close_conn(int *conn)
{
    if (*conn >= 0)
        close(*conn);
    *conn = -1;
}

void fake_http_close(struct fake_http *http)
{
    fake_http_unlisten(http);
    for (unsigned i = 0; i < FAKE_HTTP_CONNS; i++)
        close_conn(&http->conns[i]);
}

void fake_http_serve(struct fake_http *http, const char *body)
{
    static char answer[1024];
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", strlen(body), body);
    http->answer = answer;
    http->answer_len = 0;
}

/* The client sends one small request, which loopback delivers whole. */
static bool poll_conn(struct fake_http *http, int *conn)
{
    ssize_t n = recv(*conn, http->last, sizeof(http->last) - 1, MSG_DONTWAIT);
    if (n < 0)
        return errno != EAGAIN && (close_conn(conn), true);
    if (n == 0) {
        close_conn(conn);
        return true;
    }
    http->last[n] = '\0';
    http->requests++;
    if (!http->answer)
        return true;
    size_t len = http->answer_len ? http->answer_len : strlen(http->answer);
    for (size_t at = 0; at < len;) {
        n = send(*conn, http->answer + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    if (!http->keep_open)
        close_conn(conn);
    return true;
}

bool fake_http_poll(struct fake_http *http)
{
    bool moved = false;
    int fd = http->fd >= 0 ? accept4(http->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    for (unsigned i = 0; fd >= 0 && i < FAKE_HTTP_CONNS; i++)
        if (http->conns[i] < 0) {
            http->conns[i] = fd;
            moved = true;
            break;
        }
    for (unsigned i = 0; i < FAKE_HTTP_CONNS; i++)
        if (http->conns[i] >= 0)
            moved |= poll_conn(http, &http->conns[i]);
    return moved;
}

bool fake_http_send(struct fake_http *http, const char *bytes)
{
    bool all = true;
    for (unsigned i = 0; i < FAKE_HTTP_CONNS; i++)
        if (http->conns[i] >= 0)
            all &= send(http->conns[i], bytes, strlen(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)strlen(bytes);
    return all;
}
