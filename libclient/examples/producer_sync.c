/*
 * The shortest whole program: attach, start a producer, send, say what became of each message.
 *
 *   producer_sync GROUP TOPIC COUNT
 *
 * Start a hub first (rmqhubd --namesrv host:port). Read producer_async.c next.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rmqhub.h>

static int fail(rmqhub_t *hub, const char *what, int error)
{
    char problem[200] = "";
    if (hub)
        rmqhub_last_problem(hub, problem, sizeof(problem));
    fprintf(stderr, "%s: %s: %s%s%s\n", what, rmqhub_error_name(error), rmqhub_error_text(error), problem[0] ? ": " : "", problem);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: producer_sync GROUP TOPIC COUNT\n");
        return 2;
    }
    rmqhub_t *hub = NULL;
    rmqhub_producer_t *producer = NULL;
    /* NULL: default options; the runtime directory comes from $RMQHUB_RUNTIME_DIR or the system's default. */
    int error = rmqhub_attach(NULL, rmqhub_deadline_after_ms(3000), &hub);
    if (error)
        return fail(NULL, "attach", error);
    error = rmqhub_producer_new(hub, argv[1], &producer);
    if (!error)
        error = rmqhub_producer_start(producer, rmqhub_deadline_after_ms(3000));
    if (error) {
        int status = fail(hub, "start", error);
        rmqhub_detach(hub); /* frees the producer, too */
        return status;
    }
    rmqhub_result_t *result = rmqhub_result_new();
    int not_stored = 0;
    for (int i = 0; i < atoi(argv[3]); i++) {
        char body[64];
        rmqhub_message_t *message = NULL;
        snprintf(body, sizeof(body), "hello %d", i);
        error = rmqhub_message_new(argv[2], body, strlen(body), &message);
        if (error)
            break;
        rmqhub_message_set_tag(message, "example");
        /* Blocks until the broker answered or three seconds are over. RMQHUB_OK means: stored. */
        error = rmqhub_send(producer, message, rmqhub_deadline_after_ms(3000), result);
        rmqhub_message_free(message);
        printf("%s %s %s queue %d offset %lld\n", rmqhub_outcome_name(rmqhub_result_outcome(result)), rmqhub_result_uniq_key(result),
               rmqhub_result_broker_name(result), rmqhub_result_queue_id(result), (long long)rmqhub_result_queue_offset(result));
        if (error) {
            not_stored++;
            fprintf(stderr, "message %d: %s: %s\n", i, rmqhub_error_name(error), rmqhub_result_reason(result));
        }
    }
    rmqhub_result_free(result);
    /* LINGER keeps the group registered for a while: if this program starts again soon, no broker notices. */
    rmqhub_producer_shutdown(producer, RMQHUB_SHUTDOWN_LINGER, rmqhub_deadline_after_ms(3000));
    rmqhub_detach(hub);
    return not_stored != 0;
}
