/* One GET: what is asked, what is told, and that nothing a server does lasts long or grows. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/loop/event_loop.h"
#include "hub/loop/http_get.h"
#include "shm/base/clock.h"
#include "tests/unit/hub/fake_http.h"

#define BODY_MAX 1000

static struct event_loop *loop;
static struct fake_http server;
static uint64_t now_ns;
static struct {
    unsigned calls;
    int error, status;
    char reason[128], body[2 * BODY_MAX];
} seen;

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    return now_ns;
}

static int setup(void **state)
{
    static const struct clock_source source = {.monotonic_ns = fake_monotonic};
    (void)state;
    now_ns = 1000 * NS_PER_S;
    clock_set_source(&source);
    memset(&seen, 0, sizeof(seen));
    fake_http_open(&server);
    assert_int_equal(event_loop_new(&loop), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    event_loop_free(loop);
    fake_http_close(&server);
    clock_set_source(NULL);
    return 0;
}

static void on_result(void *ctx, const struct http_get_result *result)
{
    (void)ctx;
    seen.calls++;
    seen.error = result->error;
    seen.status = result->status;
    snprintf(seen.reason, sizeof(seen.reason), "%s", result->reason);
    snprintf(seen.body, sizeof(seen.body), "%.*s", (int)result->body_len, result->body ? result->body : "");
}

static struct http_get_request request_of(const char *path)
{
    return (struct http_get_request){.ip = "127.0.0.1",
                                     .port = server.port,
                                     .host = "name.example:8080",
                                     .path = path,
                                     .headers = {{"Client-Version", "V4_9_3"}},
                                     .header_count = 1,
                                     .timeout_ms = 3000,
                                     .body_max_bytes = BODY_MAX};
}

/* Loopback needs no time, so rounds take the place of it. */
static void pump(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        assert_int_equal(event_loop_round(loop, false), 0);
        fake_http_poll(&server);
    }
}

static struct http_get *start(void)
{
    struct http_get *get = NULL;
    struct http_get_request request = request_of("/rocketmq/nsaddr-u?nofix=1");
    assert_int_equal(http_get_start(&get, loop, &request, on_result, NULL), 0);
    pump(50);
    return get;
}

static void an_answer_is_told_once(void **state)
{
    (void)state;
    fake_http_serve(&server, "10.0.0.1:9876;10.0.0.2:9876\n");
    start();
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, 0);
    assert_int_equal(seen.status, 200);
    assert_string_equal(seen.body, "10.0.0.1:9876;10.0.0.2:9876\n");
    assert_non_null(strstr(server.last, "GET /rocketmq/nsaddr-u?nofix=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last, "Host: name.example:8080\r\n"));
    assert_non_null(strstr(server.last, "Client-Version: V4_9_3\r\n"));
}

static void other_statuses_are_answers_too(void **state)
{
    (void)state;
    server.answer = "HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
    start();
    assert_int_equal(seen.error, 0);
    assert_int_equal(seen.status, 404);
}

static void a_body_may_end_with_the_connection(void **state)
{
    (void)state;
    server.answer = "HTTP/1.0 200 OK\r\n\r\na:1";
    start();
    assert_int_equal(seen.error, 0);
    assert_string_equal(seen.body, "a:1");
}

static void nobody_there_is_an_error(void **state)
{
    (void)state;
    fake_http_unlisten(&server);
    start();
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -ECONNREFUSED);
}

static void garbage_is_an_error(void **state)
{
    static const char *const answers[] = {"\x16\x03\x01\x02garbage\r\n\r\n", "HTTP/1.1 200\r\nContent-Length: -5\r\n\r\nx", "\r\n\r\n\r\n",
                                          ""};
    (void)state;
    for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        seen.calls = 0;
        server.answer = answers[i];
        start();
        assert_int_equal(seen.calls, 1);
        assert_true(seen.error < 0);
    }
}

static void silence_ends_after_the_limit(void **state)
{
    (void)state;
    start();
    now_ns += 2900 * NS_PER_MS;
    pump(5);
    assert_int_equal(seen.calls, 0);
    now_ns += 200 * NS_PER_MS;
    pump(5);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -ETIMEDOUT);
}

static void a_slow_body_has_a_limit_of_its_own(void **state)
{
    (void)state;
    server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnever more";
    server.keep_open = true;
    start();
    now_ns += 2900 * NS_PER_MS;
    pump(5);
    assert_int_equal(seen.calls, 0);
    now_ns += 200 * NS_PER_MS;
    pump(5);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -ETIMEDOUT);
}

/* "100 Continue" comes before the answer, and libevent waits for another header after each of them. */
#define INTERIM "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"

static void an_interim_answer_is_passed_over(void **state)
{
    (void)state;
    server.answer = INTERIM INTERIM "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na:1";
    server.keep_open = true;
    start();
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, 0);
    assert_int_equal(seen.status, 200);
    assert_string_equal(seen.body, "a:1");
}

static void interim_answers_give_no_more_time(void **state)
{
    (void)state;
    server.answer = INTERIM;
    server.keep_open = true;
    start();
    now_ns += 2000 * NS_PER_MS;
    assert_true(fake_http_send(&server, INTERIM));
    pump(50);
    assert_int_equal(seen.calls, 0);
    now_ns += 1100 * NS_PER_MS;
    pump(5);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -ETIMEDOUT);
}

static void the_answer_after_an_interim_one_has_its_time(void **state)
{
    (void)state;
    server.answer = INTERIM;
    server.keep_open = true;
    start();
    now_ns += 2900 * NS_PER_MS;
    assert_true(fake_http_send(&server, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"));
    pump(50);
    now_ns += 2900 * NS_PER_MS;
    assert_true(fake_http_send(&server, ":1"));
    pump(50);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, 0);
    assert_string_equal(seen.body, "a:1");
}

static void many_interim_answers_end_it(void **state)
{
    (void)state;
    server.answer = INTERIM INTERIM INTERIM INTERIM INTERIM;
    server.keep_open = true;
    start();
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -EMSGSIZE);
}

static void long_answers_are_refused(void **state)
{
    (void)state;
    char *text = malloc(70000);
    assert_non_null(text);
    /* Claimed, delivered without a claim, in chunks, and in the header. */
    static const char *const heads[] = {"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", "HTTP/1.1 200 OK\r\nX: "};
    for (unsigned i = 0; i < 4; i++) {
        int head = snprintf(text, 70000, "%s", heads[i]);
        memset(text + head, 'a', 60000);
        seen.calls = 0;
        server.answer = text;
        server.answer_len = (size_t)head + 60000;
        start();
        assert_int_equal(seen.calls, 1);
        assert_true(seen.error < 0);
        if (i < 3)
            assert_int_equal(seen.error, -EMSGSIZE);
    }
    free(text);
}

static void a_line_without_end_is_not_gathered(void **state)
{
    (void)state;
    char zeros[16384];
    memset(zeros, '0', sizeof(zeros) - 1);
    zeros[sizeof(zeros) - 1] = '\0';
    server.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0";
    server.keep_open = true;
    start();
    assert_int_equal(seen.calls, 0);
    assert_true(fake_http_send(&server, zeros));
    pump(50);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.error, -EMSGSIZE);
}

static void a_cancelled_get_says_nothing(void **state)
{
    (void)state;
    struct http_get *get = start();
    assert_null(http_get_cancel(get));
    assert_null(http_get_cancel(NULL));
    now_ns += 10 * NS_PER_S;
    pump(20);
    assert_int_equal(seen.calls, 0);
}

static void only_numbers_and_plain_lines_are_taken(void **state)
{
    (void)state;
    struct http_get *get = NULL;
    struct http_get_request bad[5];
    for (unsigned i = 0; i < 5; i++)
        bad[i] = request_of("/x");
    bad[0].ip = "name.example";
    bad[1].path = "x";
    bad[2].path = "/a b";
    bad[3].host = "a\r\nX: y";
    bad[4].port = 0;
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(http_get_start(&get, loop, &bad[i], on_result, NULL), -EINVAL);
    assert_null(get);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_answer_is_told_once),
        T(other_statuses_are_answers_too),
        T(a_body_may_end_with_the_connection),
        T(nobody_there_is_an_error),
        T(garbage_is_an_error),
        T(silence_ends_after_the_limit),
        T(a_slow_body_has_a_limit_of_its_own),
        T(an_interim_answer_is_passed_over),
        T(interim_answers_give_no_more_time),
        T(the_answer_after_an_interim_one_has_its_time),
        T(many_interim_answers_end_it),
        T(long_answers_are_refused),
        T(a_line_without_end_is_not_gathered),
        T(a_cancelled_get_says_nothing),
        T(only_numbers_and_plain_lines_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
