/*
 * many_threads: one process whose threads do everything at once to one attachment, while test_threads.py
 * kills the hub again and again: synchronous senders with long and with short deadlines, an asynchronous
 * one, a oneway one, and two that dispatch, one of them only when the descriptor says so.
 *
 *   many_threads RUNTIME_DIR MILLISECONDS LATE_MS
 *
 * Prints "started" once it is attached, and at its end one line per accepted message, "UNIQ_KEY OUTCOME DUPLICATED", and ends with status 1 when a
 * call came back later than its deadline and LATE_MS, when a callback ran twice or never, or when the
 * library said something impossible.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"
#include "shm/base/clock.h"

#define MESSAGES_MAX 300000u
#define SYNC_THREADS 4

struct told {
    _Atomic unsigned times;
    bool maybe_duplicated;
    enum rmqhub_outcome outcome;
    char key[57];
};

static struct told told[MESSAGES_MAX];
static _Atomic unsigned count, failures, async_accepted, async_told;
static _Atomic bool stop, stop_dispatching;
static rmqhub_t *hub;
static rmqhub_producer_t *producer;
static uint64_t late_ns;

static void failed(const char *what)
{
    fprintf(stderr, "many_threads: %s\n", what);
    atomic_fetch_add(&failures, 1);
}

static void note(const rmqhub_result_t *result)
{
    unsigned i = atomic_fetch_add(&count, 1);
    if (i >= MESSAGES_MAX) {
        atomic_store(&stop, true);
        failed("more messages than there is room for");
        return;
    }
    snprintf(told[i].key, sizeof(told[i].key), "%s", rmqhub_result_uniq_key(result));
    told[i].outcome = rmqhub_result_outcome(result);
    told[i].maybe_duplicated = rmqhub_result_maybe_duplicated(result) != 0;
}

static bool is_refusal(int error)
{
    return error == RMQHUB_ERR_TIMEOUT || error == RMQHUB_ERR_WOULD_BLOCK;
}

static void *send_sync(void *arg)
{
    uint32_t timeout_ms = (uintptr_t)arg % 2 ? 30 : 3000;
    rmqhub_message_t *m = NULL;
    rmqhub_result_t *result = rmqhub_result_new();
    rmqhub_message_new("Threads", "sync", 4, &m);
    while (!atomic_load(&stop)) {
        uint64_t deadline_ns = rmqhub_deadline_after_ms(timeout_ms);
        int error = rmqhub_send(producer, m, deadline_ns, result);
        uint64_t now_ns = mono_now_ns();
        if (now_ns > deadline_ns + late_ns) {
            fprintf(stderr, "%llu ms late\n", (unsigned long long)((now_ns - deadline_ns) / NS_PER_MS));
            failed("a synchronous send came back late");
        }
        if (error == RMQHUB_OK || error == RMQHUB_ERR_NOT_STORED || error == RMQHUB_ERR_UNKNOWN_OUTCOME)
            note(result);
        else if (!is_refusal(error))
            failed(rmqhub_error_name(error));
        usleep(300);
    }
    rmqhub_message_free(m);
    rmqhub_result_free(result);
    return NULL;
}

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    _Atomic unsigned *times = ctx;
    if (atomic_fetch_add(times, 1) != 0)
        failed("a callback ran twice");
    atomic_fetch_add(&async_told, 1);
    note(result);
}

/* Asynchronous and oneway, with a counter of callbacks for each. */
static void *send_async(void *arg)
{
    static _Atomic unsigned times[2][MESSAGES_MAX];
    bool oneway = (uintptr_t)arg != 0;
    rmqhub_message_t *m = NULL;
    rmqhub_message_new("Threads", oneway ? "oneway" : "async", oneway ? 6 : 5, &m);
    for (unsigned i = 0; i < MESSAGES_MAX && !atomic_load(&stop); i++) {
        uint64_t deadline_ns = rmqhub_deadline_after_ms(i % 4 ? 3000 : 30);
        int error = oneway ? rmqhub_send_oneway(producer, m, deadline_ns, on_result, &times[1][i])
                           : rmqhub_send_async(producer, m, deadline_ns, on_result, &times[0][i]);
        if (error == RMQHUB_OK)
            atomic_fetch_add(&async_accepted, 1);
        else if (!is_refusal(error))
            failed(rmqhub_error_name(error));
        usleep(error == RMQHUB_OK ? 200 : 1000);
    }
    rmqhub_message_free(m);
    return NULL;
}

static void *dispatch(void *arg)
{
    bool polls = (uintptr_t)arg != 0;
    while (!atomic_load(&stop_dispatching)) {
        struct pollfd p = {.fd = polls ? rmqhub_fd(hub) : -1, .events = POLLIN};
        poll(&p, 1, polls ? 100 : 1);
        if (rmqhub_dispatch(hub, polls ? 0 : 7) < 0)
            failed("dispatch");
    }
    return NULL;
}

static void print_ledger(void)
{
    static const char *const names[] = {"?", "STORED", "NOT_STORED", "UNKNOWN"};
    for (unsigned i = 0; i < atomic_load(&count) && i < MESSAGES_MAX; i++)
        printf("%s %s %d\n", told[i].key, names[told[i].outcome], told[i].maybe_duplicated);
}

static int start(const char *runtime_dir)
{
    rmqhub_options_t *options = rmqhub_options_new();
    rmqhub_options_set_runtime_dir(options, runtime_dir);
    int error = rmqhub_attach(options, rmqhub_deadline_after_ms(5000), &hub);
    rmqhub_options_free(options);
    if (error == RMQHUB_OK)
        error = rmqhub_producer_new(hub, "many-threads", &producer);
    if (error == RMQHUB_OK)
        error = rmqhub_producer_start(producer, rmqhub_deadline_after_ms(5000));
    return error;
}

int main(int argc, char **argv)
{
    pthread_t senders[SYNC_THREADS + 2], dispatchers[2];
    if (argc != 4)
        return 2;
    late_ns = strtoull(argv[3], NULL, 10) * NS_PER_MS;
    int error = start(argv[1]);
    if (error != RMQHUB_OK) {
        failed(rmqhub_error_name(error));
        return 1;
    }
    puts("started");
    fflush(stdout);
    for (uintptr_t i = 0; i < SYNC_THREADS; i++)
        pthread_create(&senders[i], NULL, send_sync, (void *)i);
    for (uintptr_t i = 0; i < 2; i++) {
        pthread_create(&senders[SYNC_THREADS + i], NULL, send_async, (void *)i);
        pthread_create(&dispatchers[i], NULL, dispatch, (void *)i);
    }
    usleep((useconds_t)strtoul(argv[2], NULL, 10) * 1000);
    atomic_store(&stop, true);
    for (int i = 0; i < SYNC_THREADS + 2; i++)
        pthread_join(senders[i], NULL);
    atomic_store(&stop_dispatching, true);
    for (int i = 0; i < 2; i++)
        pthread_join(dispatchers[i], NULL);
    if (rmqhub_flush(hub, rmqhub_deadline_after_ms(10000)) != RMQHUB_OK)
        failed("flush");
    if (atomic_load(&async_told) != atomic_load(&async_accepted))
        failed("a callback never ran");
    struct rmqhub_stats stats;
    rmqhub_get_stats(hub, &stats);
    fprintf(stderr, "accepted=%llu stored=%llu not_stored=%llu unknown=%llu late=%llu reattached=%llu in_flight=%u\n",
            (unsigned long long)stats.accepted, (unsigned long long)stats.stored, (unsigned long long)stats.not_stored,
            (unsigned long long)stats.unknown, (unsigned long long)stats.late, (unsigned long long)stats.reattached, stats.in_flight);
    if (stats.accepted != stats.stored + stats.not_stored + stats.unknown || stats.in_flight)
        failed("accepted is not the sum of the outcomes");
    print_ledger();
    rmqhub_detach(hub);
    return atomic_load(&failures) != 0;
}
