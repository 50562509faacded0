/*
 * `rmqhub send`: the public library and nothing else, so that what works here works
 * for an application.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shm/base/clock.h"
#include "tui/send_report.h"

#define BODY_MAX (4u << 20)
/* How long a thread with nothing to submit waits for results before it looks again. */
#define WAIT_SLICE_MS 20

struct sender {
    const struct command *command;
    const struct send_options *options;
    struct send_report report;
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    char *body; /* of every message, unless --lines */
    size_t body_len;
    FILE *lines;
    pthread_mutex_t input; /* line reader and index */
    uint64_t next_index, start_ns;
    atomic_bool stop;
};

/* One asynchronous send, from submission to callback. */
struct flight {
    struct sender *sender;
    atomic_uint *in_flight; /* of the submitting thread */
    uint64_t index, start_ns;
};

static uint32_t since_us(uint64_t start_ns)
{
    uint64_t us = (mono_now_ns() - start_ns) / NS_PER_US;
    return us < INT32_MAX ? (uint32_t)us : INT32_MAX;
}

/* The next message's index and body; false at the end. @p line belongs to the caller (getline). */
static bool next_message(struct sender *s, uint64_t *index, char **line, size_t *line_cap, const char **body, size_t *len)
{
    bool more;
    pthread_mutex_lock(&s->input);
    *body = s->body;
    *len = s->body_len;
    if (s->lines) {
        ssize_t n = getline(line, line_cap, s->lines);
        more = n >= 0;
        if (n > 0 && (*line)[n - 1] == '\n')
            n--;
        *body = *line;
        *len = more ? (size_t)n : 0;
    } else {
        more = s->next_index < (uint64_t)s->options->count;
    }
    *index = s->next_index;
    s->next_index += more;
    pthread_mutex_unlock(&s->input);
    return more && !atomic_load(&s->stop);
}

static int build_message(struct sender *s, const char *body, size_t len, rmqhub_message_t **out)
{
    const struct send_options *o = s->options;
    rmqhub_message_t *m = NULL;
    int error = rmqhub_message_new(o->topic, body, len, &m);
    if (error == RMQHUB_OK && o->tag)
        error = rmqhub_message_set_tag(m, o->tag);
    if (error == RMQHUB_OK && o->key)
        error = rmqhub_message_set_keys(m, o->key);
    if (error == RMQHUB_OK && o->uniq_key)
        error = rmqhub_message_set_uniq_key(m, o->uniq_key);
    for (unsigned i = 0; error == RMQHUB_OK && i < o->property_count; i++)
        error = rmqhub_message_put_property(m, o->property_names[i], o->property_values[i]);
    if (error != RMQHUB_OK) {
        rmqhub_message_free(m);
        return error;
    }
    *out = m;
    return RMQHUB_OK;
}

/* Keeps to --rate: message i is not sent before its time. */
static void pace(const struct sender *s, uint64_t index)
{
    if (!s->options->rate)
        return;
    uint64_t rate = (uint64_t)s->options->rate;
    uint64_t due = s->start_ns + index / rate * NS_PER_S + index % rate * NS_PER_S / rate;
    struct timespec at = {(time_t)(due / NS_PER_S), (long)(due % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
    }
}

static void landed(void *ctx, const rmqhub_result_t *result)
{
    struct flight *f = ctx;
    send_report_add(&f->sender->report, f->index, RMQHUB_OK, result, since_us(f->start_ns));
    atomic_fetch_sub(f->in_flight, 1);
    free(f);
}

static void dispatch_some(struct sender *s)
{
    if (rmqhub_dispatch(s->hub, 0) > 0)
        return;
    struct pollfd pfd = {.fd = rmqhub_fd(s->hub), .events = POLLIN};
    poll(&pfd, 1, WAIT_SLICE_MS);
    rmqhub_dispatch(s->hub, 0);
}

/* Submits; while there is no credit, results are taken until the deadline. */
static int submit(struct sender *s, const rmqhub_message_t *m, uint64_t index, atomic_uint *in_flight)
{
    const struct send_options *o = s->options;
    struct flight *f = malloc(sizeof(*f));
    if (!f)
        return RMQHUB_ERR_NO_MEMORY;
    *f = (struct flight){s, in_flight, index, mono_now_ns()};
    uint64_t deadline = rmqhub_deadline_after_ms((uint32_t)o->timeout_ms);
    int error;
    atomic_fetch_add(in_flight, 1);
    do {
        error = o->mode == SEND_MODE_ONEWAY ? rmqhub_send_oneway(s->producer, m, deadline, landed, f)
                                            : rmqhub_send_async(s->producer, m, deadline, landed, f);
        if (error == RMQHUB_ERR_WOULD_BLOCK)
            dispatch_some(s);
    } while (error == RMQHUB_ERR_WOULD_BLOCK && mono_now_ns() < deadline);
    if (error == RMQHUB_OK)
        return RMQHUB_OK;
    atomic_fetch_sub(in_flight, 1);
    free(f);
    return error == RMQHUB_ERR_WOULD_BLOCK ? RMQHUB_ERR_TIMEOUT : error;
}

static int send_and_wait(struct sender *s, const rmqhub_message_t *m, uint64_t index, rmqhub_result_t *result)
{
    uint64_t start = mono_now_ns();
    int error = rmqhub_send(s->producer, m, rmqhub_deadline_after_ms((uint32_t)s->options->timeout_ms), result);
    send_report_add(&s->report, index, error, result, since_us(start));
    return error;
}

static void send_one(struct sender *s, const char *body, size_t len, uint64_t index, rmqhub_result_t *result, atomic_uint *in_flight)
{
    rmqhub_message_t *m = NULL;
    pace(s, index);
    int error = build_message(s, body, len, &m);
    if (error == RMQHUB_OK && s->options->mode == SEND_MODE_SYNC) {
        error = send_and_wait(s, m, index, result);
    } else {
        while (error == RMQHUB_OK && atomic_load(in_flight) >= (unsigned)s->options->in_flight)
            dispatch_some(s);
        if (error == RMQHUB_OK)
            error = submit(s, m, index, in_flight);
        if (error != RMQHUB_OK)
            send_report_add(&s->report, index, error, NULL, 0);
    }
    rmqhub_message_free(m);
    /* What is wrong with this one is wrong with all that look alike. */
    if (send_exit_code(error) == EXIT_USAGE && !s->lines)
        atomic_store(&s->stop, true);
}

static void *sending_thread(void *ctx)
{
    struct sender *s = ctx;
    rmqhub_result_t *result = rmqhub_result_new();
    char *line = NULL;
    size_t line_cap = 0, len;
    const char *body;
    uint64_t index;
    atomic_uint in_flight = 0;
    while (result && next_message(s, &index, &line, &line_cap, &body, &len))
        send_one(s, body, len, index, result, &in_flight);
    while (atomic_load(&in_flight) > 0)
        dispatch_some(s);
    rmqhub_result_free(result);
    free(line);
    return NULL;
}

static int read_whole(struct sender *s, FILE *in)
{
    s->body = malloc(BODY_MAX + 1);
    if (!s->body)
        return -ENOMEM;
    s->body_len = fread(s->body, 1, BODY_MAX + 1, in);
    return ferror(in) ? -EIO : 0;
}

static int open_input(struct sender *s)
{
    const struct send_options *o = s->options;
    int r = 0;
    if (o->file || o->lines) {
        bool standard = !o->file || strcmp(o->file, "-") == 0;
        FILE *in = standard ? stdin : fopen(o->file, "re");
        if (!in) {
            command_complain(s->command, "--file %s: %s", o->file, strerror(errno));
            return EXIT_USAGE;
        }
        if (o->lines) {
            s->lines = in;
            return EXIT_OK;
        }
        r = read_whole(s, in);
        if (!standard)
            fclose(in);
    } else {
        s->body_len = o->body ? strlen(o->body) : (size_t)o->size;
        s->body = malloc(s->body_len + 1);
        if (s->body && o->body)
            memcpy(s->body, o->body, s->body_len);
        for (size_t i = 0; s->body && !o->body && i < s->body_len; i++)
            s->body[i] = "abcdefghijklmnopqrstuvwxyz"[i % 26];
        r = s->body ? 0 : -ENOMEM;
    }
    if (r < 0)
        command_complain(s->command, "cannot read the body: %s", strerror(-r));
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int complain_about(struct sender *s, const char *what, int error)
{
    char problem[512] = "";
    if (s->hub)
        rmqhub_last_problem(s->hub, problem, sizeof(problem));
    command_complain(s->command, "%s: %s: %s%s%s", what, rmqhub_error_name(error), rmqhub_error_text(error), problem[0] ? "; " : "",
                     problem);
    return send_exit_code(error);
}

static int attach(struct sender *s)
{
    rmqhub_options_t *options = rmqhub_options_new();
    int error = options ? RMQHUB_OK : RMQHUB_ERR_NO_MEMORY;
    if (error == RMQHUB_OK && s->options->runtime_dir)
        error = rmqhub_options_set_runtime_dir(options, s->options->runtime_dir);
    if (error == RMQHUB_OK)
        error = rmqhub_attach(options, rmqhub_deadline_after_ms((uint32_t)s->options->timeout_ms), &s->hub);
    rmqhub_options_free(options);
    if (error != RMQHUB_ERR_TIMEOUT)
        return error == RMQHUB_OK ? EXIT_OK : complain_about(s, "attach", error);
    command_complain(s->command, "attach: %s: the hub is there but did not answer within %lld ms: it is stopped, hangs or is overloaded",
                     rmqhub_error_name(error), (long long)s->options->timeout_ms);
    return send_exit_code(error);
}

static int start_producer(struct sender *s)
{
    const struct send_options *o = s->options;
    int error = rmqhub_producer_new(s->hub, o->group, &s->producer);
    const struct {
        const char *value;
        int (*set)(rmqhub_producer_t *, const char *);
    } settings[] = {{o->cluster, rmqhub_producer_set_cluster},
                    {o->namesrv, rmqhub_producer_set_namesrv},
                    {o->instance, rmqhub_producer_set_instance_name},
                    {o->unit, rmqhub_producer_set_unit_name},
                    {o->name_space, rmqhub_producer_set_namespace}};
    for (unsigned i = 0; error == RMQHUB_OK && i < sizeof(settings) / sizeof(settings[0]); i++)
        if (settings[i].value)
            error = settings[i].set(s->producer, settings[i].value);
    if (error == RMQHUB_OK)
        error = rmqhub_producer_start(s->producer, rmqhub_deadline_after_ms((uint32_t)o->timeout_ms));
    return error == RMQHUB_OK ? EXIT_OK : complain_about(s, "producer group", error);
}

/* The first thread is this one. */
static void run_threads(struct sender *s)
{
    pthread_t threads[64];
    long started = 0;
    while (started + 1 < s->options->threads && pthread_create(&threads[started], NULL, sending_thread, s) == 0)
        started++;
    sending_thread(s);
    for (long i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static int send_all(struct sender *s)
{
    int r = send_report_init(&s->report, s->options);
    if (r < 0) {
        command_complain(s->command, "%s", strerror(-r));
        return EXIT_FAILED;
    }
    s->start_ns = mono_now_ns();
    run_threads(s);
    int code = send_report_finish(&s->report, mono_now_ns() - s->start_ns);
    rmqhub_producer_shutdown(s->producer, RMQHUB_SHUTDOWN_LINGER, rmqhub_deadline_after_ms((uint32_t)s->options->timeout_ms));
    send_report_deinit(&s->report);
    return code;
}

int command_send(const struct command *self, int argc, char **argv)
{
    struct send_options options;
    int code = send_options_parse(&options, self, argc, argv);
    if (code != EXIT_OK)
        return code;
    if (options.help) {
        send_options_print_help(self);
        return EXIT_OK;
    }
    struct sender s = {.command = self, .options = &options};
    pthread_mutex_init(&s.input, NULL);
    code = open_input(&s);
    if (code == EXIT_OK)
        code = attach(&s);
    if (code == EXIT_OK)
        code = start_producer(&s);
    if (code == EXIT_OK)
        code = send_all(&s);
    rmqhub_producer_free(s.producer);
    rmqhub_detach(s.hub);
    if (s.lines && s.lines != stdin)
        fclose(s.lines);
    free(s.body);
    pthread_mutex_destroy(&s.input);
    return code;
}
