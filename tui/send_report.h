/*
 * What became of the messages of one `rmqhub send`: one line or JSON item each, or a
 * summary of all. Thread-safe.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "libclient/include/rmqhub.h"
#include "tui/send_options.h"

#define SEND_REASONS_MAX 8

/** Messages that ended alike. */
struct send_reason {
    char text[600];
    uint64_t count;
};

struct send_report {
    pthread_mutex_t mutex;
    const struct send_options *options;
    bool each; /* print every result */
    uint64_t stored, not_stored, unknown, refused, written, maybe_duplicated, items;
    struct send_reason reasons[SEND_REASONS_MAX];
    uint32_t *latencies_us; /* of STORED, the first latency_cap of them */
    size_t latency_count, latency_cap;
    int worst_refusal; /* an enum rmqhub_error, 0: none */
};

/** 0 or -ENOMEM. */
int send_report_init(struct send_report *report, const struct send_options *options);
void send_report_deinit(struct send_report *report);

/** One message ended. @p error: what the call returned, or RMQHUB_OK for a callback. @p result may be NULL when refused. */
void send_report_add(struct send_report *report, uint64_t index, int error, const rmqhub_result_t *result, uint32_t total_us);

/** The end: closes the envelope or prints the summary. Returns the exit code. */
int send_report_finish(struct send_report *report, uint64_t elapsed_ns);

/** Exit code for a call of the library that failed. */
int send_exit_code(int rmqhub_error);
