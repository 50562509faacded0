/*
 * A program with an event loop of its own: many messages in flight, one thread, no blocking.
 * rmqhub_fd() says when rmqhub_dispatch() has something to do; callbacks run inside dispatch.
 *
 *   producer_async GROUP TOPIC COUNT
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rmqhub.h>

struct progress {
    int stored, not_stored, unknown;
};

/* Runs on our thread, exactly once per accepted message. The result is ours during this call only. */
static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct progress *progress = ctx;
    switch (rmqhub_result_outcome(result)) {
    case RMQHUB_STORED:
        progress->stored++;
        break;
    case RMQHUB_NOT_STORED: /* safe to send again */
        progress->not_stored++;
        fprintf(stderr, "not stored: %s\n", rmqhub_result_reason(result));
        break;
    case RMQHUB_UNKNOWN: /* may be stored: a repeat should carry the same UNIQ_KEY */
        progress->unknown++;
        fprintf(stderr, "unknown: %s: %s\n", rmqhub_result_uniq_key(result), rmqhub_result_reason(result));
        break;
    }
}

/* Lets finished sends in; sleeps only if there are none. */
static void turn(rmqhub_t *hub)
{
    if (rmqhub_dispatch(hub, 0) == 0) {
        struct pollfd p = {.fd = rmqhub_fd(hub), .events = POLLIN};
        poll(&p, 1, 1000); /* an application puts its other descriptors here */
    }
}

static int send_all(rmqhub_t *hub, rmqhub_producer_t *producer, const char *topic, int count, struct progress *progress)
{
    for (int i = 0; i < count; i++) {
        char body[64];
        rmqhub_message_t *message = NULL;
        snprintf(body, sizeof(body), "async %d", i);
        int error = rmqhub_message_new(topic, body, strlen(body), &message);
        /* The body is copied when the message is accepted, so it may be freed at once. */
        while (!error && (error = rmqhub_send_async(producer, message, rmqhub_deadline_after_ms(5000), on_result, progress)) ==
                             RMQHUB_ERR_WOULD_BLOCK) {
            turn(hub); /* all slots are in use: let some finish */
            error = 0;
        }
        rmqhub_message_free(message);
        if (error)
            return error;
    }
    return RMQHUB_OK;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: producer_async GROUP TOPIC COUNT\n");
        return 2;
    }
    struct progress progress = {0};
    rmqhub_t *hub = NULL;
    rmqhub_producer_t *producer = NULL;
    int error = rmqhub_attach(NULL, rmqhub_deadline_after_ms(3000), &hub);
    if (!error)
        error = rmqhub_producer_new(hub, argv[1], &producer);
    if (!error)
        error = rmqhub_producer_start(producer, rmqhub_deadline_after_ms(3000));
    if (!error)
        error = send_all(hub, producer, argv[2], atoi(argv[3]), &progress);
    if (!error) /* waits for what is still in flight, then leaves the group */
        error = rmqhub_producer_shutdown(producer, RMQHUB_SHUTDOWN_LINGER, rmqhub_deadline_after_ms(10000));
    if (error)
        fprintf(stderr, "%s: %s\n", rmqhub_error_name(error), rmqhub_error_text(error));
    printf("stored %d, not stored %d, unknown %d\n", progress.stored, progress.not_stored, progress.unknown);
    rmqhub_detach(hub);
    return error || progress.stored != atoi(argv[3]);
}
