/*
 * The client half of the benches: one process that sends, or only stays attached, and prints one
 * line of JSON about it.
 *
 *   bench_client sync   COUNT            latencies of blocking sends
 *   bench_client async  COUNT WINDOW     WINDOW outstanding
 *   bench_client first  1                attach -> first SEND_OK
 *   bench_client idle   1                attaches, sends one message, prints its memory, waits for standard input to end
 *   bench_client topics COUNT            one message to each of COUNT topics t0, t1, ...; then as idle
 *   bench_client lost   COUNT            "attached"; COUNT sends when standard input ends; "ready"; the time of the last answer
 *                                        (CLOCK_MONOTONIC, ns)
 *
 * Group and topic are fixed; the runtime directory comes from $RMQHUB_RUNTIME_DIR.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"
#include "shm/base/clock.h"

#define BODY_BYTES 100
#define DEADLINE_MS 20000

struct run {
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    rmqhub_message_t *message;
    uint32_t done, failed;
};

static void die(const char *what, int error)
{
    fprintf(stderr, "bench_client: %s: %s\n", what, rmqhub_error_text(error));
    exit(1);
}

static void start(struct run *run)
{
    char body[BODY_BYTES];
    memset(body, 'b', sizeof(body));
    int error = rmqhub_attach(NULL, rmqhub_deadline_after_ms(DEADLINE_MS), &run->hub);
    if (error)
        die("attach", error);
    if ((error = rmqhub_producer_new(run->hub, "BenchGroup", &run->producer)) ||
        (error = rmqhub_producer_start(run->producer, rmqhub_deadline_after_ms(DEADLINE_MS))))
        die("start", error);
    if ((error = rmqhub_message_new("BenchTopic", body, sizeof(body), &run->message)))
        die("message", error);
}

static void send_one(struct run *run)
{
    int error = rmqhub_send(run->producer, run->message, rmqhub_deadline_after_ms(DEADLINE_MS), NULL);
    if (error)
        die("send", error);
}

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct run *run = ctx;
    run->done++;
    run->failed += rmqhub_result_outcome(result) != RMQHUB_STORED;
}

static void turn(struct run *run)
{
    if (rmqhub_dispatch(run->hub, 0) == 0) {
        struct pollfd p = {.fd = rmqhub_fd(run->hub), .events = POLLIN};
        poll(&p, 1, 100);
    }
}

static void send_async(struct run *run, uint32_t count, uint32_t window)
{
    uint64_t deadline = rmqhub_deadline_after_ms(DEADLINE_MS);
    for (uint32_t sent = 0; run->done < count;) {
        int error = RMQHUB_OK;
        while (sent < count && sent - run->done < window && !error) {
            error = rmqhub_send_async(run->producer, run->message, deadline, on_result, run);
            sent += error == RMQHUB_OK;
        }
        if (error && error != RMQHUB_ERR_WOULD_BLOCK)
            die("send_async", error);
        turn(run);
    }
    if (run->failed)
        die("a message was not stored", RMQHUB_ERR_NOT_STORED);
}

static void send_to_topics(struct run *run, uint32_t count)
{
    char topic[16], body[BODY_BYTES] = "topics";
    for (uint32_t i = 0; i < count; i++) {
        snprintf(topic, sizeof(topic), "t%u", i);
        rmqhub_message_free(run->message);
        int error = rmqhub_message_new(topic, body, sizeof(body), &run->message);
        if (error)
            die("message", error);
        send_one(run);
    }
}

static void wait_for_end_of_input(void)
{
    char c;
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
}

/* What becomes of them is not the question, but when. */
static void lose(struct run *run, uint32_t count)
{
    printf("attached\n");
    fflush(stdout);
    wait_for_end_of_input();
    uint64_t deadline = rmqhub_deadline_after_ms(DEADLINE_MS);
    for (uint32_t i = 0; i < count; i++) {
        int error = rmqhub_send_async(run->producer, run->message, deadline, on_result, run);
        if (error)
            die("send_async", error);
    }
    printf("ready\n");
    fflush(stdout);
    while (run->done < count)
        turn(run);
    printf("{\"last_answer_ns\":%" PRIu64 ",", mono_now_ns());
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

static void send_sync(struct run *run, uint32_t count)
{
    uint64_t *ns = calloc(count, sizeof(*ns));
    if (!ns)
        die("memory", RMQHUB_ERR_NO_MEMORY);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t before = mono_now_ns();
        send_one(run);
        ns[i] = mono_now_ns() - before;
    }
    qsort(ns, count, sizeof(*ns), by_value);
    printf("\"p50_us\":%.1f,\"p99_us\":%.1f,", (double)ns[count / 2] / 1e3, (double)ns[count - 1 - count / 100] / 1e3);
    free(ns);
}

static long status_kib(const char *key)
{
    char line[256];
    long value = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    }
    if (f)
        fclose(f);
    return value;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_client sync|async|first|idle|topics|lost COUNT [WINDOW]\n");
        return 2;
    }
    struct run run = {0};
    uint32_t count = (uint32_t)strtoul(argv[2], NULL, 10);
    uint64_t began = mono_now_ns();
    long before_kib = status_kib("Private_Dirty:");
    start(&run);
    send_one(&run);
    double first_ms = (double)(mono_now_ns() - began) / 1e6;
    double cpu_before = cpu_ns();
    began = mono_now_ns();
    if (strcmp(argv[1], "lost") == 0)
        lose(&run, count);
    else
        printf("{");
    if (strcmp(argv[1], "sync") == 0)
        send_sync(&run, count);
    else if (strcmp(argv[1], "async") == 0)
        send_async(&run, count, argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 128);
    else if (strcmp(argv[1], "topics") == 0)
        send_to_topics(&run, count);
    double seconds = (double)(mono_now_ns() - began) / 1e9;
    printf(
        "\"mode\":\"%s\",\"count\":%u,\"seconds\":%.6f,\"first_ms\":%.3f,\"client_cpu_ns\":%.0f,\"private_kib\":%ld,\"shared_kib\":%ld}\n",
        argv[1], count, seconds, first_ms, (cpu_ns() - cpu_before) / count, status_kib("Private_Dirty:") - before_kib,
        status_kib("Shared_Dirty:"));
    fflush(stdout);
    if (strcmp(argv[1], "idle") == 0 || strcmp(argv[1], "topics") == 0)
        wait_for_end_of_input();
    rmqhub_message_free(run.message);
    rmqhub_detach(run.hub);
    return 0;
}
