#include "tui/send_report.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/clock.h"
#include "shm/base/text.h"

#define LATENCIES_MAX 4000000

int send_report_init(struct send_report *r, const struct send_options *options)
{
    memset(r, 0, sizeof(*r));
    r->options = options;
    r->each = !options->count_given;
    r->latency_cap = options->count < LATENCIES_MAX ? (size_t)options->count : LATENCIES_MAX;
    r->latencies_us = r->each ? NULL : calloc(r->latency_cap, sizeof(*r->latencies_us));
    if (!r->each && !r->latencies_us)
        return -ENOMEM;
    pthread_mutex_init(&r->mutex, NULL);
    if (r->each && !options->json)
        setvbuf(stdout, NULL, _IOLBF, 0); /* whoever feeds lines through a pipe waits for each answer */
    if (options->json)
        printf("{\"schema\":\"rmqhub.send/1\",\"items\":[");
    return 0;
}

void send_report_deinit(struct send_report *r)
{
    pthread_mutex_destroy(&r->mutex);
    free(r->latencies_us);
}

static void count_reason(struct send_report *r, const char *text)
{
    for (unsigned i = 0; i < SEND_REASONS_MAX; i++) {
        struct send_reason *reason = &r->reasons[i];
        if (reason->count == 0)
            snprintf(reason->text, sizeof(reason->text), "%s", text);
        if (i + 1 == SEND_REASONS_MAX && strcmp(reason->text, text) != 0)
            snprintf(reason->text, sizeof(reason->text), "(other reasons)");
        if (i + 1 == SEND_REASONS_MAX || strcmp(reason->text, text) == 0) {
            reason->count++;
            return;
        }
    }
}

static void describe(char *dst, size_t cap, int error, const rmqhub_result_t *result)
{
    char safe[400];
    const char *reason = result ? rmqhub_result_reason(result) : "";
    if (!reason || !*reason)
        reason = rmqhub_error_text(error);
    text_escape(safe, sizeof(safe), reason, strlen(reason));
    if (result && rmqhub_result_code(result) != 0)
        snprintf(dst, cap, "code %d: %s", (int)rmqhub_result_code(result), safe);
    else
        snprintf(dst, cap, "%s", safe);
}

static void print_line(int error, const rmqhub_result_t *result, uint32_t total_us, bool accepted, bool oneway)
{
    char why[512], broker[300];
    describe(why, sizeof(why), error, result);
    if (!accepted) {
        printf("REFUSED %s: %s\n", rmqhub_error_name(error), why);
        return;
    }
    const char *name = rmqhub_result_broker_name(result);
    text_escape(broker, sizeof(broker), name ? name : "", name ? strlen(name) : 0);
    struct rmqhub_timings t = rmqhub_result_timings(result);
    enum rmqhub_outcome outcome = rmqhub_result_outcome(result);
    if (outcome == RMQHUB_STORED)
        printf("STORED %s %s queue %d offset %lld msgId %s%s  %.1f ms (ring %.1f, hub %.1f, connect %.1f, wire %.1f)\n",
               rmqhub_send_status_name(rmqhub_result_send_status(result)), broker, (int)rmqhub_result_queue_id(result),
               (long long)rmqhub_result_queue_offset(result), rmqhub_result_uniq_key(result),
               rmqhub_result_maybe_duplicated(result) ? " maybe-duplicated" : "", total_us / 1e3, t.ring_us / 1e3, t.hub_us / 1e3,
               t.connect_us / 1e3, t.wire_us / 1e3);
    else if (oneway && outcome == RMQHUB_UNKNOWN)
        printf("WRITTEN %s queue %d msgId %s  %.1f ms\n", broker, (int)rmqhub_result_queue_id(result), rmqhub_result_uniq_key(result),
               total_us / 1e3);
    else
        printf("%s msgId %s %s\n", rmqhub_outcome_name(outcome), rmqhub_result_uniq_key(result), why);
}

static json_t *escaped(const char *text)
{
    char safe[1200];
    if (!text || !*text)
        return json_null();
    text_escape(safe, sizeof(safe), text, strlen(text));
    return json_string(safe);
}

static json_t *result_item(uint64_t index, const rmqhub_result_t *result, uint32_t total_us)
{
    char offset[32];
    struct rmqhub_timings t = rmqhub_result_timings(result);
    bool stored = rmqhub_result_outcome(result) == RMQHUB_STORED;
    snprintf(offset, sizeof(offset), "%lld", (long long)rmqhub_result_queue_offset(result));
    return json_pack("{s:I, s:s, s:o, s:i, s:o, s:o, s:o, s:o, s:i, s:o, s:i, s:b, s:I, s:I, s:I, s:I, s:I}", "index", (json_int_t)index,
                     "outcome", rmqhub_outcome_name(rmqhub_result_outcome(result)), "send_status",
                     stored ? escaped(rmqhub_send_status_name(rmqhub_result_send_status(result))) : json_null(), "code",
                     (int)rmqhub_result_code(result), "reason", escaped(rmqhub_result_reason(result)), "uniq_key",
                     escaped(rmqhub_result_uniq_key(result)), "offset_msg_id", escaped(rmqhub_result_offset_msg_id(result)), "broker",
                     escaped(rmqhub_result_broker_name(result)), "queue_id", (int)rmqhub_result_queue_id(result), "queue_offset",
                     stored ? json_string(offset) : json_null(), "attempts", (int)rmqhub_result_attempts(result), "maybe_duplicated",
                     rmqhub_result_maybe_duplicated(result), "total_us", (json_int_t)total_us, "ring_us", (json_int_t)t.ring_us, "hub_us",
                     (json_int_t)t.hub_us, "connect_us", (json_int_t)t.connect_us, "wire_us", (json_int_t)t.wire_us);
}

static json_t *refusal_item(uint64_t index, int error)
{
    return json_pack("{s:I, s:s, s:s, s:o}", "index", (json_int_t)index, "outcome", "REFUSED", "error", rmqhub_error_name(error), "reason",
                     escaped(rmqhub_error_text(error)));
}

static void print_item(json_t *item)
{
    if (item)
        json_dumpf(item, stdout, JSON_COMPACT);
    json_decref(item);
}

void send_report_add(struct send_report *r, uint64_t index, int error, const rmqhub_result_t *result, uint32_t total_us)
{
    bool accepted = error == RMQHUB_OK || error == RMQHUB_ERR_NOT_STORED || error == RMQHUB_ERR_UNKNOWN_OUTCOME;
    bool oneway = r->options->mode == SEND_MODE_ONEWAY;
    enum rmqhub_outcome outcome = accepted && result ? rmqhub_result_outcome(result) : RMQHUB_NOT_STORED;
    bool written = accepted && oneway && outcome == RMQHUB_UNKNOWN;
    pthread_mutex_lock(&r->mutex);
    if (!accepted) {
        r->refused++;
        r->worst_refusal = error;
    } else if (outcome == RMQHUB_STORED) {
        r->stored++;
        r->maybe_duplicated += rmqhub_result_maybe_duplicated(result) != 0;
        if (r->latency_count < r->latency_cap && r->latencies_us)
            r->latencies_us[r->latency_count++] = total_us;
    } else if (written) {
        r->written++;
    } else if (outcome == RMQHUB_NOT_STORED) {
        r->not_stored++;
    } else {
        r->unknown++;
    }
    if (r->each && r->options->json) {
        if (r->items++)
            putchar(',');
        print_item(accepted ? result_item(index, result, total_us) : refusal_item(index, error));
    } else if (r->each) {
        print_line(error, result, total_us, accepted, oneway);
    } else if (!accepted || (outcome != RMQHUB_STORED && !written)) {
        char why[512], text[600];
        describe(why, sizeof(why), error, result);
        snprintf(text, sizeof(text), "%s %s", accepted ? rmqhub_outcome_name(outcome) : "REFUSED", why);
        count_reason(r, text);
    }
    pthread_mutex_unlock(&r->mutex);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile_us(const struct send_report *r, unsigned permille)
{
    return r->latency_count ? r->latencies_us[(r->latency_count - 1) * permille / 1000] : 0;
}

static void finish_json(const struct send_report *r, uint64_t total, double seconds)
{
    printf("],\"summary\":{\"messages\":%llu,\"stored\":%llu,\"maybe_duplicated\":%llu,\"written\":%llu,\"not_stored\":%llu,"
           "\"unknown\":%llu,\"refused\":%llu,\"elapsed_us\":%.0f,\"messages_per_second\":%.1f",
           (unsigned long long)total, (unsigned long long)r->stored, (unsigned long long)r->maybe_duplicated,
           (unsigned long long)r->written, (unsigned long long)r->not_stored, (unsigned long long)r->unknown,
           (unsigned long long)r->refused, seconds * 1e6, seconds > 0 ? (double)total / seconds : 0.0);
    if (!r->each)
        printf(",\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u", percentile_us(r, 500), percentile_us(r, 990), percentile_us(r, 1000));
    printf(",\"reasons\":[");
    for (unsigned i = 0; i < SEND_REASONS_MAX && r->reasons[i].count; i++) {
        json_t *reason = json_pack("{s:o, s:I}", "text", escaped(r->reasons[i].text), "count", (json_int_t)r->reasons[i].count);
        if (i)
            putchar(',');
        print_item(reason);
    }
    printf("]}}\n");
}

static void finish_text(const struct send_report *r, uint64_t total, double seconds)
{
    printf("%llu messages in %.3f s, %.0f/s: %llu STORED (%llu maybe duplicated)", (unsigned long long)total, seconds,
           seconds > 0 ? (double)total / seconds : 0.0, (unsigned long long)r->stored, (unsigned long long)r->maybe_duplicated);
    if (r->options->mode == SEND_MODE_ONEWAY)
        printf(", %llu WRITTEN", (unsigned long long)r->written);
    printf(", %llu NOT_STORED, %llu UNKNOWN, %llu refused\n", (unsigned long long)r->not_stored, (unsigned long long)r->unknown,
           (unsigned long long)r->refused);
    if (r->latency_count)
        printf("latency p50 %.3f ms, p99 %.3f ms, max %.3f ms\n", percentile_us(r, 500) / 1e3, percentile_us(r, 990) / 1e3,
               percentile_us(r, 1000) / 1e3);
    for (unsigned i = 0; i < SEND_REASONS_MAX && r->reasons[i].count; i++)
        printf("%8llu x %s\n", (unsigned long long)r->reasons[i].count, r->reasons[i].text);
}

int send_exit_code(int error)
{
    switch (error) {
    case RMQHUB_OK:
        return EXIT_OK;
    case RMQHUB_ERR_INVALID_ARGUMENT:
    case RMQHUB_ERR_GROUP_ILLEGAL:
    case RMQHUB_ERR_TOPIC_ILLEGAL:
    case RMQHUB_ERR_MESSAGE_ILLEGAL:
    case RMQHUB_ERR_MESSAGE_TOO_LARGE:
    case RMQHUB_ERR_PROPERTY_ILLEGAL:
        return EXIT_USAGE;
    case RMQHUB_ERR_HUB_NOT_RUNNING:
        return EXIT_NO_HUB;
    case RMQHUB_ERR_PERMISSION:
        return EXIT_PERMISSION;
    case RMQHUB_ERR_VERSION:
        return EXIT_VERSION;
    case RMQHUB_ERR_TIMEOUT:
    case RMQHUB_ERR_UNKNOWN_OUTCOME:
        return EXIT_TIMED_OUT;
    default:
        return EXIT_FAILED;
    }
}

int send_report_finish(struct send_report *r, uint64_t elapsed_ns)
{
    uint64_t total = r->stored + r->written + r->not_stored + r->unknown + r->refused;
    double seconds = (double)elapsed_ns / (double)NS_PER_S;
    if (r->latency_count)
        qsort(r->latencies_us, r->latency_count, sizeof(*r->latencies_us), compare_u32);
    if (r->options->json)
        finish_json(r, total, seconds);
    else if (!r->each || total != 1)
        finish_text(r, total, seconds);
    if (r->unknown)
        return EXIT_TIMED_OUT;
    if (r->refused)
        return send_exit_code(r->worst_refusal);
    return r->not_stored ? EXIT_FAILED : EXIT_OK;
}
