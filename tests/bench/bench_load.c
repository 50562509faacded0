/*
 * Load through the hub, from an ordinary application of librmqhub.
 *   bench_load sync|async RUNTIME_DIR COUNT BODY_BYTES IN_FLIGHT    sends, then prints one line of name=value
 *   bench_load idle RUNTIME_DIR 1 BODY_BYTES 1                      sends one, says so, waits for a signal
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"

#define TIMEOUT_MS 10000
#define WARM_UP 200

struct load {
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    rmqhub_message_t *message;
    rmqhub_result_t *result;
    uint64_t *spent_ns; /* of each synchronous send */
    uint64_t count, stored;
    uint32_t in_flight, in_flight_max;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void must(int error, const char *what)
{
    if (error != RMQHUB_OK) {
        fprintf(stderr, "bench_load: %s: %s\n", what, rmqhub_error_text(error));
        exit(1);
    }
}

static void load_init(struct load *load, const char *runtime_dir, size_t body_bytes)
{
    char *body = malloc(body_bytes);
    rmqhub_options_t *options = rmqhub_options_new();
    load->result = rmqhub_result_new();
    load->spent_ns = calloc(load->count + 1, sizeof(*load->spent_ns));
    if (!body || !options || !load->result || !load->spent_ns) {
        fputs("bench_load: no memory\n", stderr);
        exit(1);
    }
    memset(body, 'x', body_bytes);
    must(rmqhub_options_set_runtime_dir(options, runtime_dir), "runtime directory");
    must(rmqhub_attach(options, rmqhub_deadline_after_ms(TIMEOUT_MS), &load->hub), "attach");
    must(rmqhub_producer_new(load->hub, "bench", &load->producer), "producer");
    must(rmqhub_producer_start(load->producer, rmqhub_deadline_after_ms(TIMEOUT_MS)), "start");
    must(rmqhub_message_new("Bench", body, body_bytes, &load->message), "message");
    rmqhub_options_free(options);
    free(body);
}

static void load_deinit(struct load *load)
{
    rmqhub_message_free(load->message);
    rmqhub_producer_free(load->producer);
    rmqhub_detach(load->hub);
    rmqhub_result_free(load->result);
    free(load->spent_ns);
}

static void send_sync(struct load *load, uint64_t i)
{
    uint64_t start = now_ns();
    must(rmqhub_send(load->producer, load->message, rmqhub_deadline_after_ms(TIMEOUT_MS), load->result), "send");
    load->spent_ns[i] = now_ns() - start;
    load->stored++;
}

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct load *load = ctx;
    load->in_flight--;
    load->stored += rmqhub_result_outcome(result) == RMQHUB_STORED;
}

static void wait_for_results(struct load *load)
{
    struct pollfd pfd = {.fd = rmqhub_fd(load->hub), .events = POLLIN};
    if (rmqhub_dispatch(load->hub, 0) == 0)
        poll(&pfd, 1, 100);
}

static void send_async(struct load *load)
{
    int error;
    while (load->in_flight >= load->in_flight_max)
        wait_for_results(load);
    while ((error = rmqhub_send_async(load->producer, load->message, rmqhub_deadline_after_ms(TIMEOUT_MS), on_result, load)) ==
           RMQHUB_ERR_WOULD_BLOCK)
        wait_for_results(load);
    must(error, "send");
    load->in_flight++;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_us(struct load *load, unsigned percent)
{
    return (double)load->spent_ns[(load->count - 1) * percent / 100] / 1000.0;
}

static void run(struct load *load, bool async)
{
    for (uint64_t i = 0; !async && i < WARM_UP && i < load->count; i++)
        send_sync(load, i);
    load->stored = 0;
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < load->count; i++) {
        if (async)
            send_async(load);
        else
            send_sync(load, i);
    }
    must(rmqhub_flush(load->hub, rmqhub_deadline_after_ms(TIMEOUT_MS)), "flush");
    double seconds = (double)(now_ns() - start) / 1e9;
    qsort(load->spent_ns, load->count, sizeof(*load->spent_ns), compare);
    printf("stored=%" PRIu64 " seconds=%.6f p50_us=%.1f p99_us=%.1f\n", load->stored, seconds, percentile_us(load, 50),
           percentile_us(load, 99));
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: bench_load sync|async|idle RUNTIME_DIR COUNT BODY_BYTES IN_FLIGHT\n", stderr);
        return 2;
    }
    struct load load = {.count = strtoull(argv[3], NULL, 10), .in_flight_max = (uint32_t)strtoul(argv[5], NULL, 10)};
    if (load.count == 0 || load.in_flight_max == 0)
        return 2;
    uint64_t start = now_ns();
    load_init(&load, argv[2], strtoul(argv[4], NULL, 10));
    must(rmqhub_send(load.producer, load.message, rmqhub_deadline_after_ms(TIMEOUT_MS), load.result), "first send");
    printf("first_send_us=%.1f\n", (double)(now_ns() - start) / 1000.0);
    fflush(stdout);
    if (strcmp(argv[1], "idle") == 0)
        pause();
    else
        run(&load, strcmp(argv[1], "async") == 0);
    load_deinit(&load);
    return 0;
}
