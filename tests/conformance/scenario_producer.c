/*
 * The hub's side of the conformance comparison: an application of librmqhub that does, call by call, what Scenario.java
 * does with the Java client, and prints "mark NAME NANOSECONDS" (CLOCK_MONOTONIC) at the borders of its phases.
 *
 *   scenario_producer RUNTIME_DIR GROUP KNOWN_TOPIC NEW_TOPIC IDLE_MS
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libclient/include/rmqhub.h"

enum { SEND_TIMEOUT_MS = 10000 };

struct scenario {
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    rmqhub_result_t *result;
    int outcome; /* of the asynchronous send; -1 until it is known */
};

static void mark(const char *name)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("mark %s %" PRIu64 "\n", name, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    fflush(stdout);
}

static int message(const char *topic, int number, rmqhub_message_t **out)
{
    char body[32], key[32];
    snprintf(body, sizeof body, "body %d", number);
    snprintf(key, sizeof key, "key%d", number);
    int error = rmqhub_message_new(topic, body, strlen(body), out);
    if (error == RMQHUB_OK)
        error = rmqhub_message_set_tag(*out, "TagA");
    if (error == RMQHUB_OK)
        error = rmqhub_message_set_keys(*out, key);
    if (error == RMQHUB_OK)
        error = rmqhub_message_put_property(*out, "colour", "gr\xc3\xbcn");
    return error;
}

static int send_sync(struct scenario *s, const char *topic, int number)
{
    rmqhub_message_t *m = NULL;
    int error = message(topic, number, &m);
    if (error == RMQHUB_OK)
        error = rmqhub_send(s->producer, m, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS), s->result);
    rmqhub_message_free(m);
    return error;
}

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct scenario *s = ctx;
    s->outcome = (int)rmqhub_result_outcome(result);
}

static int send_async(struct scenario *s, const char *topic, int number)
{
    rmqhub_message_t *m = NULL;
    int error = message(topic, number, &m);
    s->outcome = -1;
    if (error == RMQHUB_OK)
        error = rmqhub_send_async(s->producer, m, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS), on_result, s);
    rmqhub_message_free(m);
    if (error == RMQHUB_OK)
        error = rmqhub_flush(s->hub, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS));
    return error != RMQHUB_OK || s->outcome == RMQHUB_STORED ? error : RMQHUB_ERR_NOT_STORED;
}

static int send_oneway(struct scenario *s, const char *topic, int number)
{
    rmqhub_message_t *m = NULL;
    int error = message(topic, number, &m);
    if (error == RMQHUB_OK)
        error = rmqhub_send_oneway(s->producer, m, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS), NULL, NULL);
    rmqhub_message_free(m);
    return error;
}

static int send_all(struct scenario *s, const char *known_topic, const char *new_topic)
{
    int error = send_sync(s, known_topic, 0);
    if (error == RMQHUB_OK)
        error = send_sync(s, new_topic, 1);
    if (error == RMQHUB_OK)
        error = send_async(s, known_topic, 2);
    if (error == RMQHUB_OK)
        error = send_oneway(s, known_topic, 3);
    return error;
}

static int attach(struct scenario *s, const char *runtime_dir)
{
    rmqhub_options_t *options = rmqhub_options_new();
    s->result = rmqhub_result_new();
    if (!options || !s->result)
        return RMQHUB_ERR_NO_MEMORY;
    int error = rmqhub_options_set_runtime_dir(options, runtime_dir);
    if (error == RMQHUB_OK)
        error = rmqhub_attach(options, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS), &s->hub);
    rmqhub_options_free(options);
    return error;
}

static int play(struct scenario *s, char **argv)
{
    int error = attach(s, argv[1]);
    if (error == RMQHUB_OK)
        error = rmqhub_producer_new(s->hub, argv[2], &s->producer);
    if (error != RMQHUB_OK)
        return error;
    mark("start");
    error = rmqhub_producer_start(s->producer, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS));
    mark("started");
    poll(NULL, 0, atoi(argv[5]));
    mark("send");
    if (error == RMQHUB_OK)
        error = send_all(s, argv[3], argv[4]);
    mark("shutdown");
    int left = rmqhub_producer_shutdown(s->producer, RMQHUB_SHUTDOWN_FINAL, rmqhub_deadline_after_ms(SEND_TIMEOUT_MS));
    mark("end");
    return error != RMQHUB_OK ? error : left;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: scenario_producer RUNTIME_DIR GROUP KNOWN_TOPIC NEW_TOPIC IDLE_MS\n", stderr);
        return 2;
    }
    struct scenario s = {.outcome = -1};
    int error = play(&s, argv);
    if (error != RMQHUB_OK)
        fprintf(stderr, "scenario_producer: %s: %s\n", rmqhub_error_name(error), rmqhub_error_text(error));
    rmqhub_producer_free(s.producer);
    rmqhub_detach(s.hub);
    rmqhub_result_free(s.result);
    return error == RMQHUB_OK ? 0 : 1;
}
