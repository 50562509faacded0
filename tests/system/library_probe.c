/*
 * What librmqhub promises to its callers, tried as a process of its own against a hub that the
 * Python side (test_library.py) started. One case per run; a broken promise says where and exits 1.
 *
 *   library_probe CASE HUB_PID
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"

#define GRACE_MS 50 /* no call returns later than its deadline and this */

#define CHECK(condition, ...) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__); \
            fputc('\n', stderr); \
            exit(1); \
        } \
    } while (0)

#define CHECK_ERROR(call, wanted) \
    do { \
        int error_here = (call); \
        CHECK(error_here == (wanted), "%s", rmqhub_error_name(error_here)); \
    } while (0)

static pid_t hub_pid;

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t in_ms(uint32_t ms)
{
    return rmqhub_deadline_after_ms(ms);
}

static rmqhub_t *attach(void)
{
    rmqhub_t *hub = NULL;
    CHECK_ERROR(rmqhub_attach(NULL, in_ms(5000), &hub), RMQHUB_OK);
    return hub;
}

static rmqhub_producer_t *start(rmqhub_t *hub, const char *group)
{
    rmqhub_producer_t *p = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, group, &p), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(5000)), RMQHUB_OK);
    return p;
}

static rmqhub_message_t *message(const char *body)
{
    rmqhub_message_t *m = NULL;
    CHECK_ERROR(rmqhub_message_new("ProbeTopic", body, strlen(body), &m), RMQHUB_OK);
    return m;
}

static void send_ok(rmqhub_producer_t *p, const char *body)
{
    rmqhub_message_t *m = message(body);
    rmqhub_result_t *r = rmqhub_result_new();
    int error = rmqhub_send(p, m, in_ms(10000), r);
    CHECK(error == RMQHUB_OK, "%s: %s", rmqhub_error_name(error), rmqhub_result_reason(r));
    rmqhub_result_free(r);
    rmqhub_message_free(m);
}

/* Sends with @p ms to live; checks the outcome and returns how long the call took. */
static uint64_t send_once_late(rmqhub_producer_t *p, uint32_t ms, int wanted)
{
    rmqhub_message_t *m = message("late");
    rmqhub_result_t *r = rmqhub_result_new();
    uint64_t began = now_ms();
    int error = rmqhub_send(p, m, in_ms(ms), r);
    uint64_t took = now_ms() - began;
    CHECK(error == wanted, "%s: %s", rmqhub_error_name(error), rmqhub_result_reason(r));
    CHECK(took >= ms, "took only %llu ms of %u", (unsigned long long)took, ms);
    CHECK(rmqhub_result_reason(r)[0], "no reason given");
    rmqhub_result_free(r);
    rmqhub_message_free(m);
    return took;
}

/* A machine that gives this process no CPU makes a call late; a library that is late is so each time. */
static void send_late(rmqhub_producer_t *p, uint32_t ms, int wanted)
{
    uint64_t took = UINT64_MAX;
    for (int i = 0; i < 4 && took > ms + GRACE_MS; i++)
        took = send_once_late(p, ms, wanted);
    CHECK(took <= ms + GRACE_MS, "took %llu ms of %u, four times", (unsigned long long)took, ms);
}

/* ---- cases ---- */

static void no_hub(void)
{
    rmqhub_t *hub = NULL;
    CHECK_ERROR(rmqhub_attach(NULL, in_ms(1000), &hub), RMQHUB_ERR_HUB_NOT_RUNNING);
}

static void states(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = NULL;
    char text[200];
    CHECK_ERROR(rmqhub_producer_new(hub, NULL, &p), RMQHUB_ERR_GROUP_ILLEGAL);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "null"), "%s", text);
    CHECK_ERROR(rmqhub_producer_new(hub, "", &p), RMQHUB_ERR_GROUP_ILLEGAL);
    CHECK_ERROR(rmqhub_producer_new(hub, "DEFAULT_PRODUCER", &p), RMQHUB_ERR_GROUP_ILLEGAL);
    CHECK_ERROR(rmqhub_producer_new(hub, "a b", &p), RMQHUB_ERR_GROUP_ILLEGAL);
    char long_name[257];
    memset(long_name, 'g', 256);
    long_name[256] = '\0';
    CHECK_ERROR(rmqhub_producer_new(hub, long_name, &p), RMQHUB_ERR_GROUP_ILLEGAL);
    long_name[255] = '\0';
    CHECK_ERROR(rmqhub_producer_new(hub, long_name, &p), RMQHUB_OK);
    rmqhub_producer_free(p);
    CHECK_ERROR(rmqhub_producer_new(hub, "States", &p), RMQHUB_OK);
    rmqhub_message_t *m = message("x");
    CHECK_ERROR(rmqhub_send(p, m, in_ms(100), NULL), RMQHUB_ERR_STATE);
    CHECK_ERROR(rmqhub_producer_shutdown(p, RMQHUB_SHUTDOWN_LINGER, in_ms(100)), RMQHUB_ERR_STATE);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(1000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(1000)), RMQHUB_ERR_STATE);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "RUNNING"), "%s", text);
    CHECK_ERROR(rmqhub_producer_set_unit_name(p, "late"), RMQHUB_ERR_STATE);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "takes no setting: its state is RUNNING"), "%s", text);
    CHECK_ERROR(rmqhub_producer_shutdown(p, RMQHUB_SHUTDOWN_FINAL, in_ms(3000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(100), NULL), RMQHUB_ERR_STATE);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "SHUTDOWN_ALREADY"), "%s", text);
    rmqhub_message_free(m);
    rmqhub_producer_free(p);
    /* A start that the hub refused is the last one. */
    CHECK_ERROR(rmqhub_producer_new(hub, "States", &p), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_cluster(p, "nowhere"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(1000)), RMQHUB_ERR_REFUSED);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(1000)), RMQHUB_ERR_STATE);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "START_FAILED"), "%s", text);
    CHECK_ERROR(rmqhub_producer_set_group(p, "Other"), RMQHUB_ERR_STATE);
    rmqhub_producer_free(p);
    /* 255 characters are too many once they are wrapped, which the hub knows. */
    CHECK_ERROR(rmqhub_producer_new(hub, long_name, &p), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_namespace(p, "ns"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(1000)), RMQHUB_ERR_REFUSED);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), "longer than 255"), "%s", text);
    CHECK(strstr(text, "ns%ggg"), "the group is named: %s", text);
    rmqhub_producer_free(p);
    rmqhub_detach(hub);
}

static void duplicate_group(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *first = start(hub, "Twice"), *joined = start(hub, "Twice"); /* joins under DEFAULT */
    rmqhub_producer_t *a = NULL, *b = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, "Twice", &a), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_new(hub, "Twice", &b), RMQHUB_OK);
    rmqhub_producer_set_instance_name(a, "named");
    rmqhub_producer_set_instance_name(b, "named");
    CHECK_ERROR(rmqhub_producer_start(a, in_ms(3000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(b, in_ms(3000)), RMQHUB_ERR_DUPLICATE_GROUP);
    /* Back in CREATE_JUST: it may start elsewhere. */
    CHECK_ERROR(rmqhub_producer_set_instance_name(b, "other"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(b, in_ms(3000)), RMQHUB_OK);
    /* Or under another group. */
    rmqhub_producer_t *c = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, "Twice", &c), RMQHUB_OK);
    rmqhub_producer_set_instance_name(c, "named");
    CHECK_ERROR(rmqhub_producer_start(c, in_ms(3000)), RMQHUB_ERR_DUPLICATE_GROUP);
    CHECK_ERROR(rmqhub_producer_set_group(c, "a b"), RMQHUB_ERR_GROUP_ILLEGAL);
    CHECK_ERROR(rmqhub_producer_set_group(c, NULL), RMQHUB_ERR_GROUP_ILLEGAL);
    CHECK_ERROR(rmqhub_producer_set_group(c, "TwiceOther"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(c, in_ms(3000)), RMQHUB_OK);
    send_ok(c, "0");
    send_ok(first, "1");
    send_ok(joined, "2");
    send_ok(a, "3");
    send_ok(b, "4");
    rmqhub_detach(hub);
}

static void expect_problem(rmqhub_t *hub, int error, const char *part)
{
    char text[200];
    CHECK_ERROR(error, RMQHUB_ERR_INVALID_ARGUMENT);
    CHECK(strstr(rmqhub_last_problem(hub, text, sizeof(text)), part), "%s", text);
}

/* The largest queue id that ten messages to a topic that nobody made before are sent to. */
static int32_t largest_queue(rmqhub_producer_t *p, const char *topic)
{
    rmqhub_message_t *m = NULL;
    rmqhub_result_t *r = rmqhub_result_new();
    int32_t largest = -1;
    CHECK_ERROR(rmqhub_message_new(topic, "x", 1, &m), RMQHUB_OK);
    for (int i = 0; i < 10; i++) {
        CHECK_ERROR(rmqhub_send(p, m, in_ms(10000), r), RMQHUB_OK);
        if (rmqhub_result_queue_id(r) > largest)
            largest = rmqhub_result_queue_id(r);
    }
    rmqhub_result_free(r);
    rmqhub_message_free(m);
    return largest;
}

/* Two producers of one group with settings of their own, side by side in one instance. */
static void settings(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *narrow = NULL, *plain = start(hub, "Settings"), *lost = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, "Settings", &narrow), RMQHUB_OK);
    expect_problem(hub, rmqhub_producer_set_default_topic_queue_nums(narrow, 0), "default_topic_queue_nums");
    expect_problem(hub, rmqhub_producer_set_default_topic_queue_nums(narrow, 65536), "default_topic_queue_nums");
    expect_problem(hub, rmqhub_producer_set_create_topic_key(narrow, ""), "create_topic_key");
    expect_problem(hub, rmqhub_producer_set_create_topic_key(narrow, "a b"), "create_topic_key");
    expect_problem(hub, rmqhub_producer_set_max_message_size(narrow, 0), "max_message_size");
    expect_problem(hub, rmqhub_producer_set_max_message_size(narrow, 4194305), "max_message_size");
    CHECK_ERROR(rmqhub_producer_set_create_topic_key(narrow, NULL), RMQHUB_ERR_INVALID_ARGUMENT);
    char long_text[513];
    memset(long_text, 'u', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    expect_problem(hub, rmqhub_producer_set_unit_name(narrow, long_text), "longer than 511");
    CHECK_ERROR(rmqhub_producer_set_default_topic_queue_nums(narrow, 1), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(narrow, in_ms(3000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_default_topic_queue_nums(narrow, 2), RMQHUB_ERR_STATE);
    CHECK_ERROR(rmqhub_producer_set_create_topic_key(narrow, "Key"), RMQHUB_ERR_STATE);
    int32_t queue = largest_queue(narrow, "NarrowTopic");
    CHECK(queue == 0, "one queue, and it went to %d", queue);
    queue = largest_queue(plain, "PlainTopic");
    CHECK(queue == 3, "four queues by default, and it went to %d", queue);
    /* With a key that no broker has, a topic is not made. */
    CHECK_ERROR(rmqhub_producer_new(hub, "Settings", &lost), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_create_topic_key(lost, "NoSuchKey"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(lost, in_ms(3000)), RMQHUB_OK);
    rmqhub_message_t *m = NULL;
    rmqhub_result_t *r = rmqhub_result_new();
    CHECK_ERROR(rmqhub_message_new("LostTopic", "x", 1, &m), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(lost, m, in_ms(10000), r), RMQHUB_ERR_NOT_STORED);
    CHECK(rmqhub_result_code(r) == 10005, "code %d", rmqhub_result_code(r));
    CHECK_ERROR(rmqhub_send(plain, m, in_ms(10000), r), RMQHUB_OK);
    rmqhub_result_free(r);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

static void bad_messages(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Bad");
    rmqhub_message_t *m = NULL;
    char topic[130];
    memset(topic, 't', 129);
    topic[128] = '\0';
    CHECK_ERROR(rmqhub_message_new("", "x", 1, &m), RMQHUB_ERR_TOPIC_ILLEGAL);
    CHECK_ERROR(rmqhub_message_new(topic, "x", 1, &m), RMQHUB_ERR_TOPIC_ILLEGAL);
    CHECK_ERROR(rmqhub_message_new("a/b", "x", 1, &m), RMQHUB_ERR_TOPIC_ILLEGAL);
    CHECK_ERROR(rmqhub_message_new("SCHEDULE_TOPIC_XXXX", "x", 1, &m), RMQHUB_ERR_TOPIC_ILLEGAL);
    CHECK_ERROR(rmqhub_message_new("T", "", 0, &m), RMQHUB_ERR_MESSAGE_ILLEGAL);
    char *big = calloc(1, 4194305);
    CHECK_ERROR(rmqhub_message_new("T", big, 4194305, &m), RMQHUB_ERR_MESSAGE_TOO_LARGE);
    m = message("fine");
    CHECK_ERROR(rmqhub_message_put_property(m, "KEYS", "k"), RMQHUB_ERR_PROPERTY_ILLEGAL);
    CHECK_ERROR(rmqhub_message_put_property(m, "", "v"), RMQHUB_ERR_PROPERTY_ILLEGAL);
    CHECK_ERROR(rmqhub_message_put_property(m, "n", "a\1b"), RMQHUB_ERR_PROPERTY_ILLEGAL);
    char *text = calloc(1, 32768);
    memset(text, 'v', 32000);
    CHECK_ERROR(rmqhub_message_put_property(m, "n", text), RMQHUB_OK);
    CHECK_ERROR(rmqhub_message_put_property(m, "n", text), RMQHUB_OK); /* takes the place of the first */
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK);
    memset(text, 'v', 32767);
    CHECK_ERROR(rmqhub_message_put_property(m, "n", text), RMQHUB_ERR_MESSAGE_TOO_LARGE);
    free(text);
    CHECK_ERROR(rmqhub_message_set_uniq_key(m, "nothex"), RMQHUB_ERR_INVALID_ARGUMENT);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK);
    rmqhub_producer_t *small = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, "Small", &small), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_max_message_size(small, 3), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(small, in_ms(3000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(small, m, in_ms(5000), NULL), RMQHUB_ERR_MESSAGE_TOO_LARGE);
    CHECK_ERROR(rmqhub_message_set_body(m, big, 256 * 1024), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK); /* the largest that fits beside its properties today */
    CHECK_ERROR(rmqhub_message_set_body(m, big, 256 * 1024 + 1), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_ERR_MESSAGE_TOO_LARGE);
    free(big);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

static void hub_gone(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Gone");
    send_ok(p, "before");
    kill(hub_pid, SIGKILL);
    send_late(p, 300, RMQHUB_ERR_NOT_STORED);
    send_late(p, 10, RMQHUB_ERR_NOT_STORED);
    struct rmqhub_stats stats;
    CHECK_ERROR(rmqhub_get_stats(hub, &stats), RMQHUB_OK);
    CHECK(stats.accepted == 3 && stats.not_stored == 2 && stats.in_flight == 0, "%llu accepted", (unsigned long long)stats.accepted);
    rmqhub_detach(hub);
}

static void shutdown_without_hub(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "ShutdownGone"), *q = start(hub, "ShutdownGoneToo");
    send_ok(p, "before");
    kill(hub_pid, SIGKILL);
    uint64_t began = now_ms();
    CHECK_ERROR(rmqhub_producer_shutdown(p, RMQHUB_SHUTDOWN_LINGER, in_ms(5000)), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_shutdown(q, RMQHUB_SHUTDOWN_FINAL, in_ms(5000)), RMQHUB_OK);
    CHECK(now_ms() - began < 1000, "waited %llu ms for a hub that is gone", (unsigned long long)(now_ms() - began));
    rmqhub_detach(hub);
}

static void hub_stopped(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Stopped");
    send_ok(p, "before");
    kill(hub_pid, SIGSTOP);
    send_late(p, 300, RMQHUB_ERR_UNKNOWN_OUTCOME);
    kill(hub_pid, SIGCONT);
    send_ok(p, "after");
    struct rmqhub_stats stats = {0};
    for (uint64_t until = now_ms() + 5000; now_ms() < until;) {
        CHECK_ERROR(rmqhub_get_stats(hub, &stats), RMQHUB_OK);
        if (stats.late == 1)
            break;
        poll(NULL, 0, 5);
    }
    CHECK(stats.late == 1 && stats.unknown == 1, "late %llu", (unsigned long long)stats.late);
    rmqhub_detach(hub);
}

struct tally {
    int calls;
    enum rmqhub_outcome last;
};

static void count(void *ctx, const rmqhub_result_t *result)
{
    struct tally *tally = ctx;
    tally->calls++;
    tally->last = rmqhub_result_outcome(result);
}

static void async_hub_stopped(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "AsyncStopped");
    send_ok(p, "before");
    struct tally tally = {0};
    rmqhub_message_t *m = message("async");
    kill(hub_pid, SIGSTOP);
    uint64_t began = now_ms();
    CHECK_ERROR(rmqhub_send_async(p, m, in_ms(300), count, &tally), RMQHUB_OK);
    /* An application that only polls must hear of a deadline that no hub announces. */
    while (!tally.calls) {
        struct pollfd fd = {.fd = rmqhub_fd(hub), .events = POLLIN};
        CHECK(poll(&fd, 1, 1000) == 1, "the descriptor stayed silent");
        rmqhub_dispatch(hub, 0);
    }
    uint64_t took = now_ms() - began;
    CHECK(took >= 300 && took <= 300 + GRACE_MS, "took %llu ms", (unsigned long long)took);
    CHECK(tally.last == RMQHUB_UNKNOWN, "%s", rmqhub_outcome_name(tally.last));
    kill(hub_pid, SIGCONT);
    send_ok(p, "after");
    rmqhub_dispatch(hub, 0);
    CHECK(tally.calls == 1, "told %d times", tally.calls);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

static void credit(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Credit");
    send_ok(p, "before");
    struct tally tally = {0};
    rmqhub_message_t *m = message("credit");
    int accepted = 0, error;
    while ((error = rmqhub_send_async(p, m, in_ms(5000), count, &tally)) == RMQHUB_OK)
        accepted++; /* nobody dispatches, so no slot comes back */
    CHECK(error == RMQHUB_ERR_WOULD_BLOCK && accepted == 256, "%d accepted, then %s", accepted, rmqhub_error_name(error));
    uint64_t began = now_ms();
    CHECK_ERROR(rmqhub_send(p, m, in_ms(100), NULL), RMQHUB_ERR_TIMEOUT);
    CHECK(now_ms() - began <= 100 + GRACE_MS, "late");
    CHECK_ERROR(rmqhub_flush(hub, in_ms(5000)), RMQHUB_OK);
    CHECK(tally.calls == accepted, "%d of %d told", tally.calls, accepted);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

/* The largest deadline is as good as none. */
static void no_deadline(void)
{
    rmqhub_t *hub = NULL;
    rmqhub_producer_t *p = NULL;
    struct tally tally = {0};
    rmqhub_message_t *m = message("patient");
    CHECK_ERROR(rmqhub_attach(NULL, UINT64_MAX, &hub), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_new(hub, "Patient", &p), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, UINT64_MAX), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, UINT64_MAX, NULL), RMQHUB_OK);
    kill(hub_pid, SIGSTOP);
    CHECK_ERROR(rmqhub_send_async(p, m, UINT64_MAX, count, &tally), RMQHUB_OK);
    rmqhub_fd(hub);
    for (uint64_t until = now_ms() + 100; now_ms() < until;)
        CHECK(rmqhub_dispatch(hub, 0) == 0, "told %s", rmqhub_outcome_name(tally.last));
    kill(hub_pid, SIGCONT);
    CHECK_ERROR(rmqhub_flush(hub, UINT64_MAX), RMQHUB_OK);
    CHECK(tally.calls == 1 && tally.last == RMQHUB_STORED, "%s", rmqhub_outcome_name(tally.last));
    CHECK_ERROR(rmqhub_producer_shutdown(p, RMQHUB_SHUTDOWN_FINAL, UINT64_MAX), RMQHUB_OK);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

static void oneway(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Oneway");
    struct tally tally = {0};
    rmqhub_message_t *m = message("oneway");
    for (int i = 0; i < 1000; i++) {
        CHECK_ERROR(rmqhub_send_oneway(p, m, in_ms(5000), NULL, NULL), RMQHUB_OK);
        /* With a callback the slot comes back by dispatch alone. */
        CHECK_ERROR(rmqhub_send_oneway(p, m, in_ms(5000), count, &tally), RMQHUB_OK);
        rmqhub_dispatch(hub, 0);
    }
    CHECK_ERROR(rmqhub_flush(hub, in_ms(5000)), RMQHUB_OK);
    CHECK(tally.calls == 1000 && tally.last == RMQHUB_UNKNOWN, "%d, %s", tally.calls, rmqhub_outcome_name(tally.last));
    struct rmqhub_stats stats;
    CHECK_ERROR(rmqhub_get_stats(hub, &stats), RMQHUB_OK);
    CHECK(stats.accepted == 2000 && stats.unknown == 2000 && stats.in_flight == 0, "%llu unknown", (unsigned long long)stats.unknown);
    rmqhub_message_free(m);
    rmqhub_detach(hub);
}

static void after_fork(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Fork");
    send_ok(p, "parent");
    pid_t child = fork();
    if (child == 0) {
        rmqhub_message_t *m = message("child");
        rmqhub_result_t *r = rmqhub_result_new();
        CHECK_ERROR(rmqhub_send(p, m, in_ms(1000), r), RMQHUB_ERR_FORKED);
        CHECK_ERROR(rmqhub_dispatch(hub, 0), RMQHUB_ERR_FORKED);
        CHECK_ERROR(rmqhub_producer_set_namespace(p, "ns"), RMQHUB_ERR_FORKED);
        CHECK_ERROR(rmqhub_flush(hub, in_ms(10)), RMQHUB_ERR_FORKED);
        CHECK(rmqhub_fd(hub) == RMQHUB_ERR_FORKED, "fd");
        rmqhub_detach(hub);
        hub = attach();
        send_ok(start(hub, "Fork"), "child, attached anew");
        rmqhub_detach(hub);
        rmqhub_result_free(r);
        rmqhub_message_free(m);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "child ended with %d", status);
    send_ok(p, "parent still");
    rmqhub_detach(hub);
}

/* What a process does that turns itself into a daemon without forking: its own descriptors take the library's numbers. */
static void closed_descriptors(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Closed");
    send_ok(p, "before");
    int fds[64], files[2];
    CHECK(close_range(3, ~0u, 0) == 0, "close_range: %s", strerror(errno));
    CHECK(pipe(files) == 0, "pipe");
    int file = memfd_create("application", MFD_CLOEXEC);
    for (int i = 0; i < 64; i++)
        fds[i] = dup(file);
    for (int i = 0; i < 5; i++)
        send_ok(p, "after");
    for (int i = 0; i < 64; i++)
        CHECK(fcntl(fds[i], F_GETFD) >= 0, "descriptor %d of the application was closed", fds[i]);
    CHECK(fcntl(files[0], F_GETFD) >= 0 && fcntl(files[1], F_GETFD) >= 0, "the application's pipe was closed");
    rmqhub_detach(hub);
    for (int i = 0; i < 64; i++)
        CHECK(fcntl(fds[i], F_GETFD) >= 0, "descriptor %d of the application was closed by detach", fds[i]);
    CHECK(lseek(file, 0, SEEK_END) == 0, "%lld bytes were written into a file of the application", (long long)lseek(file, 0, SEEK_END));
}

/* The same, and nothing is called in between. */
static void closed_and_left(void)
{
    rmqhub_t *hub = attach();
    int fds[64];
    CHECK(close_range(3, ~0u, 0) == 0, "close_range: %s", strerror(errno));
    fds[0] = memfd_create("application", MFD_CLOEXEC);
    for (int i = 1; i < 64; i++)
        fds[i] = dup(fds[0]);
    rmqhub_detach(hub);
    for (int i = 0; i < 64; i++)
        CHECK(fcntl(fds[i], F_GETFD) >= 0, "descriptor %d of the application was closed by detach", fds[i]);
}

struct sender {
    pthread_t thread;
    rmqhub_producer_t *producer;
    int stored;
};

static void *send_many(void *ctx)
{
    struct sender *s = ctx;
    for (int i = 0; i < 500; i++) {
        send_ok(s->producer, "threads");
        s->stored++;
    }
    return NULL;
}

static void threads(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Threads");
    struct sender senders[8] = {0};
    for (int i = 0; i < 8; i++) {
        senders[i].producer = p;
        CHECK(pthread_create(&senders[i].thread, NULL, send_many, &senders[i]) == 0, "thread");
    }
    for (int i = 0; i < 8; i++)
        pthread_join(senders[i].thread, NULL);
    struct rmqhub_stats stats;
    CHECK_ERROR(rmqhub_get_stats(hub, &stats), RMQHUB_OK);
    CHECK(stats.stored == 4000 && stats.accepted == 4000, "%llu stored", (unsigned long long)stats.stored);
    rmqhub_detach(hub);
}

static void uniq_key(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "Uniq");
    rmqhub_result_t *r = rmqhub_result_new();
    rmqhub_message_t *m = message("u");
    char first[64];
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), r), RMQHUB_OK);
    snprintf(first, sizeof(first), "%s", rmqhub_result_uniq_key(r));
    CHECK(strlen(first) == 32, "%s", first);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), r), RMQHUB_OK);
    CHECK(strcmp(first, rmqhub_result_uniq_key(r)) != 0, "the same key twice: %s", first);
    CHECK_ERROR(rmqhub_message_set_uniq_key(m, first), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), r), RMQHUB_OK);
    CHECK(strcmp(first, rmqhub_result_uniq_key(r)) == 0, "%s", rmqhub_result_uniq_key(r));
    const char *v6 = "FD00000000000000000000000000000112345678901234567890ABCD";
    CHECK_ERROR(rmqhub_message_set_uniq_key(m, v6), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), r), RMQHUB_OK);
    CHECK(strcmp(v6, rmqhub_result_uniq_key(r)) == 0, "%s", rmqhub_result_uniq_key(r));
    CHECK(strlen(rmqhub_result_offset_msg_id(r)) == 32, "%s", rmqhub_result_offset_msg_id(r));
    rmqhub_message_free(m);
    rmqhub_result_free(r);
    rmqhub_detach(hub);
}

/* The calls of the Java program whose frames stand in tests/frames; test_wire.py compares what reaches the broker. */
static void recorded(void)
{
    enum { QUEUES = 4 }; /* each of them is met once */
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = NULL;
    CHECK_ERROR(rmqhub_producer_new(hub, "SpecGroup", &p), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_set_instance_name(p, "specInst"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_start(p, in_ms(5000)), RMQHUB_OK);
    rmqhub_message_t *m = NULL, *oneway = NULL;
    CHECK_ERROR(rmqhub_message_new("SpecJava", "hello", 5, &m), RMQHUB_OK);
    CHECK_ERROR(rmqhub_message_set_tag(m, "TagA"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_message_set_keys(m, "key1 key2"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_message_put_property(m, "u1", "v1"), RMQHUB_OK);
    CHECK_ERROR(rmqhub_message_new("SpecJava", "ow", 2, &oneway), RMQHUB_OK);
    for (int i = 0; i < QUEUES; i++)
        CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK);
    for (int i = 0; i < QUEUES; i++)
        CHECK_ERROR(rmqhub_send_oneway(p, oneway, in_ms(5000), NULL, NULL), RMQHUB_OK);
    CHECK_ERROR(rmqhub_producer_shutdown(p, RMQHUB_SHUTDOWN_FINAL, in_ms(5000)), RMQHUB_OK);
    rmqhub_message_free(m);
    rmqhub_message_free(oneway);
    rmqhub_detach(hub);
}

static void ignore(void *ctx, const rmqhub_result_t *result)
{
    (void)ctx;
    (void)result;
}

/* Leaves at once with messages that the hub has hardly seen, and lives on until its stdin ends. */
static void leaves_and_lives(void)
{
    rmqhub_t *hub = attach();
    rmqhub_producer_t *p = start(hub, "leaves");
    rmqhub_message_t *m = NULL;
    char byte;
    CHECK_ERROR(rmqhub_message_new("Left", "body", 4, &m), RMQHUB_OK);
    CHECK_ERROR(rmqhub_send(p, m, in_ms(5000), NULL), RMQHUB_OK);
    for (int i = 0; i < 200; i++)
        CHECK_ERROR(rmqhub_send_async(p, m, in_ms(60000), ignore, NULL), RMQHUB_OK);
    rmqhub_detach(hub);
    rmqhub_message_free(m);
    while (read(0, &byte, 1) > 0)
        ;
}

/* Leaves, when it is told to, while a child still has copies of its descriptors; both live on until stdin ends. */
static void leaves_a_child_behind(void)
{
    rmqhub_t *hub = attach();
    char byte;
    int to_child[2];
    CHECK(pipe(to_child) == 0, "pipe");
    pid_t child = fork();
    if (child == 0) {
        close(to_child[1]);
        while (read(to_child[0], &byte, 1) > 0)
            ;
        _exit(0);
    }
    CHECK(read(0, &byte, 1) == 1, "told to leave");
    rmqhub_detach(hub);
    while (read(0, &byte, 1) > 0)
        ;
    close(to_child[1]);
    waitpid(child, NULL, 0);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"no_hub", no_hub},
    {"states", states},
    {"duplicate_group", duplicate_group},
    {"settings", settings},
    {"bad_messages", bad_messages},
    {"hub_gone", hub_gone},
    {"shutdown_without_hub", shutdown_without_hub},
    {"hub_stopped", hub_stopped},
    {"async_hub_stopped", async_hub_stopped},
    {"credit", credit},
    {"oneway", oneway},
    {"after_fork", after_fork},
    {"closed_descriptors", closed_descriptors},
    {"threads", threads},
    {"uniq_key", uniq_key},
    {"recorded", recorded},
    {"no_deadline", no_deadline},
    {"leaves_and_lives", leaves_and_lives},
    {"leaves_a_child_behind", leaves_a_child_behind},
    {"closed_and_left", closed_and_left},
};

int main(int argc, char **argv)
{
    hub_pid = argc > 2 ? (pid_t)atoi(argv[2]) : 0;
    for (size_t i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: library_probe CASE HUB_PID; cases:");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        fprintf(stderr, " %s", cases[i].name);
    fputc('\n', stderr);
    return 2;
}
