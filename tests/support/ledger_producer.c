/*
 * ledger_producer: an ordinary application of librmqhub that writes down what the library told it, so that somebody
 * else can compare that with what a broker holds. Used by tests/real, tests/torture and the demo.
 *
 * The ledger is a text file of one line per fact. Each line is one write() to a descriptor opened with O_APPEND, so a
 * SIGKILL leaves whole lines and the file may be read while it grows:
 *   I <seq> <uniq_key> <crc32> <length>       offered: written before the library is called
 *   S <seq> <uniq_key> <crc32> <length>       accepted
 *   X <seq> <error>                           refused: the library said that it did not accept (the same seq is offered again)
 *   R <seq> <outcome> <send status> <code> <attempts> <maybe duplicated> <queue> <offset> <uniq_key> <reason...>
 * "-" stands for what is not known. A synchronous send is accepted and completed in one call: its S and R follow each
 * other, and a process killed inside the call leaves an I alone. --resume goes on after the last seq of the ledger.
 *
 * The messages follow a rule (message_body) that tests/real/Sender.java and message_rule.py know too: a reader can
 * tell from name and seq alone what must have arrived. SIGTERM ends the sending early: what is open is waited for.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"

enum exit_code { EXIT_ALL_STORED = 0, EXIT_SOME_NOT_STORED = 1, EXIT_USAGE = 2, EXIT_NO_HUB = 3, EXIT_SOME_UNKNOWN = 7 };
enum mode { MODE_SYNC, MODE_ASYNC, MODE_ONEWAY };

struct settings {
    const char *runtime_dir, *group, *topic, *namesrv, *cluster, *name_space, *ledger, *name;
    uint32_t count, in_flight, rate_per_s, timeout_ms, attach_timeout_ms, size_bytes;
    enum mode mode;
    bool resume, with_properties, library_keys, final;
};

struct ledger_producer {
    struct settings set;
    char default_name[64];
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    rmqhub_result_t *result;
    unsigned char *body;
    int ledger_fd;
    uint32_t next_seq;
    uint32_t in_flight;
    uint64_t key_base;
    uint64_t started_ns, first_stored_ns, worst_overdue_ns; /* the last: a result after its deadline */
    uint32_t accepted, stored, not_stored, unknown, duplicated, refused;
};

static volatile sig_atomic_t stopping;

static void on_sigterm(int number)
{
    (void)number;
    stopping = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_until_ns(uint64_t when_ns)
{
    struct timespec when = {.tv_sec = (time_t)(when_ns / 1000000000u), .tv_nsec = (long)(when_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

/* --- the test message --------------------------------------------------- */

/* "name:seq:" and then bytes that depend on seq and position alone; returns the length. */
static size_t message_body(unsigned char *body, const char *name, uint32_t seq, uint32_t size_bytes)
{
    size_t len = (size_t)sprintf((char *)body, "%s:%" PRIu32 ":", name, seq);
    for (; len < size_bytes; len++)
        body[len] = (unsigned char)(seq * 31u + (uint32_t)len * 7u);
    return len;
}

static uint32_t crc32_of(const unsigned char *data, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static int put_properties(rmqhub_message_t *message, const char *name, uint32_t seq)
{
    char text[128];
    int error;
    snprintf(text, sizeof text, "tag%" PRIu32, seq % 3);
    if ((error = rmqhub_message_set_tag(message, text)) != RMQHUB_OK)
        return error;
    snprintf(text, sizeof text, "%s-%" PRIu32, name, seq);
    if ((error = rmqhub_message_set_keys(message, text)) != RMQHUB_OK)
        return error;
    if ((error = rmqhub_message_put_property(message, "producer", name)) != RMQHUB_OK)
        return error;
    snprintf(text, sizeof text, "%" PRIu32, seq);
    if ((error = rmqhub_message_put_property(message, "sequence", text)) != RMQHUB_OK)
        return error;
    snprintf(text, sizeof text, "na\xc3\xafve caf\xc3\xa9 \xe2\x84\x96%" PRIu32, seq);
    return rmqhub_message_put_property(message, "note", text);
}

/* --- the ledger --------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void ledger_line(struct ledger_producer *p, const char *format, ...)
{
    char line[768];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len > sizeof line - 2)
        len = sizeof line - 2;
    line[len++] = '\n';
    if (write(p->ledger_fd, line, (size_t)len) != len) {
        perror("ledger_producer: ledger");
        _exit(EXIT_USAGE); /* a ledger with holes would accuse the hub */
    }
}

/* With --resume, next_seq becomes the one after the last that an earlier life offered. */
static int ledger_open(struct ledger_producer *p)
{
    FILE *old = p->set.resume ? fopen(p->set.ledger, "r") : NULL;
    if (old) {
        char line[1024];
        while (fgets(line, sizeof line, old)) {
            uint32_t seq = line[0] == 'I' ? (uint32_t)strtoul(line + 1, NULL, 10) : 0;
            if (line[0] == 'I' && seq >= p->next_seq)
                p->next_seq = seq + 1;
        }
        fclose(old);
    }
    p->ledger_fd = open(p->set.ledger, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (p->set.resume ? 0 : O_TRUNC), 0644);
    return p->ledger_fd < 0 ? -errno : 0;
}

/* --- sending ------------------------------------------------------------ */

struct offer {
    rmqhub_message_t *message;
    uint32_t seq, crc;
    size_t len;
    char uniq_key[33];
};

static void offer_drop(struct offer *offer)
{
    rmqhub_message_free(offer->message);
    offer->message = NULL;
}

/* Builds message seq. Unless --library-keys, it carries a key of our own: pid and start time, then seq. */
static int offer_make(struct ledger_producer *p, uint32_t seq, struct offer *offer)
{
    offer->seq = seq;
    offer->len = message_body(p->body, p->set.name, seq, p->set.size_bytes);
    offer->crc = crc32_of(p->body, offer->len);
    snprintf(offer->uniq_key, sizeof offer->uniq_key, "-");
    int error = rmqhub_message_new(p->set.topic, p->body, offer->len, &offer->message);
    if (error == RMQHUB_OK && p->set.with_properties)
        error = put_properties(offer->message, p->set.name, seq);
    if (error == RMQHUB_OK && !p->set.library_keys) {
        snprintf(offer->uniq_key, sizeof offer->uniq_key, "%08" PRIX32 "%016" PRIX64 "%08" PRIX32, (uint32_t)getpid(), p->key_base, seq);
        error = rmqhub_message_set_uniq_key(offer->message, offer->uniq_key);
    }
    if (error != RMQHUB_OK)
        fprintf(stderr, "ledger_producer: message %" PRIu32 ": %s: %s\n", seq, rmqhub_error_name(error), rmqhub_error_text(error));
    return error;
}

static void count_outcome(struct ledger_producer *p, const rmqhub_result_t *result)
{
    switch (rmqhub_result_outcome(result)) {
    case RMQHUB_STORED:
        p->stored++;
        if (!p->first_stored_ns)
            p->first_stored_ns = now_ns();
        break;
    case RMQHUB_NOT_STORED:
        p->not_stored++;
        break;
    case RMQHUB_UNKNOWN:
        p->unknown++;
        break;
    }
    p->duplicated += rmqhub_result_maybe_duplicated(result) != 0;
}

static void write_result(struct ledger_producer *p, uint32_t seq, const rmqhub_result_t *result)
{
    enum rmqhub_outcome outcome = rmqhub_result_outcome(result);
    count_outcome(p, result);
    ledger_line(p, "R %" PRIu32 " %s %s %" PRId32 " %" PRIu32 " %d %" PRId32 " %" PRId64 " %s %s", seq, rmqhub_outcome_name(outcome),
                outcome == RMQHUB_STORED ? rmqhub_send_status_name(rmqhub_result_send_status(result)) : "-", rmqhub_result_code(result),
                rmqhub_result_attempts(result), rmqhub_result_maybe_duplicated(result), rmqhub_result_queue_id(result),
                rmqhub_result_queue_offset(result), rmqhub_result_uniq_key(result), rmqhub_result_reason(result));
}

static void write_accepted(struct ledger_producer *p, const struct offer *offer)
{
    p->accepted++;
    ledger_line(p, "S %" PRIu32 " %s %" PRIu32 " %zu", offer->seq, offer->uniq_key, offer->crc, offer->len);
}

/* One open asynchronous send: what its callback needs. */
struct open_send {
    struct ledger_producer *p;
    uint32_t seq;
    uint64_t deadline_ns;
};

static void note_overdue(struct ledger_producer *p, uint64_t deadline_ns)
{
    uint64_t now = now_ns();
    if (now > deadline_ns && now - deadline_ns > p->worst_overdue_ns)
        p->worst_overdue_ns = now - deadline_ns;
}

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct open_send *open_send = ctx;
    note_overdue(open_send->p, open_send->deadline_ns);
    write_result(open_send->p, open_send->seq, result);
    open_send->p->in_flight--;
    free(open_send);
}

/* RMQHUB_OK when accepted, else why not. A callback cannot run before the S line: it runs only in dispatch and flush. */
static int offer_async(struct ledger_producer *p, const struct offer *offer, uint64_t deadline_ns)
{
    struct open_send *open_send = malloc(sizeof *open_send);
    if (!open_send)
        return RMQHUB_ERR_NO_MEMORY;
    *open_send = (struct open_send){.p = p, .seq = offer->seq, .deadline_ns = deadline_ns};
    int error = p->set.mode == MODE_ONEWAY ? rmqhub_send_oneway(p->producer, offer->message, deadline_ns, on_result, open_send)
                                           : rmqhub_send_async(p->producer, offer->message, deadline_ns, on_result, open_send);
    if (error != RMQHUB_OK) {
        free(open_send);
        return error;
    }
    p->in_flight++;
    write_accepted(p, offer);
    return RMQHUB_OK;
}

static int offer_sync(struct ledger_producer *p, struct offer *offer, uint64_t deadline_ns)
{
    int error = rmqhub_send(p->producer, offer->message, deadline_ns, p->result);
    note_overdue(p, deadline_ns);
    if (error != RMQHUB_OK && error != RMQHUB_ERR_NOT_STORED && error != RMQHUB_ERR_UNKNOWN_OUTCOME)
        return error;
    if (p->set.library_keys) {
        ledger_line(p, "S %" PRIu32 " %s %" PRIu32 " %zu", offer->seq, rmqhub_result_uniq_key(p->result), offer->crc, offer->len);
        p->accepted++;
    } else {
        write_accepted(p, offer);
    }
    write_result(p, offer->seq, p->result);
    return RMQHUB_OK;
}

static void wait_for_results(struct ledger_producer *p, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = rmqhub_fd(p->hub), .events = POLLIN};
    poll(&poll_fd, 1, timeout_ms);
    rmqhub_dispatch(p->hub, 0);
}

/* Refusals that pass by themselves: no slot free, or the hub is away or too busy to give credit. */
static bool is_worth_repeating(int error)
{
    return error == RMQHUB_ERR_WOULD_BLOCK || error == RMQHUB_ERR_TIMEOUT || error == RMQHUB_ERR_HUB_NOT_RUNNING ||
           error == RMQHUB_ERR_HUB_DRAINING || error == RMQHUB_ERR_LIMIT;
}

static int offer_until_credit(struct ledger_producer *p, struct offer *offer, uint64_t give_up_ns)
{
    int error;
    do {
        uint64_t deadline_ns = rmqhub_deadline_after_ms(p->set.timeout_ms);
        error = p->set.mode == MODE_SYNC ? offer_sync(p, offer, deadline_ns) : offer_async(p, offer, deadline_ns);
        if (error == RMQHUB_ERR_WOULD_BLOCK)
            wait_for_results(p, 100);
    } while (error == RMQHUB_ERR_WOULD_BLOCK && now_ns() < give_up_ns);
    return error;
}

/* Offers message seq until it is accepted; gives up after four of its deadlines. */
static int send_one(struct ledger_producer *p, uint32_t seq)
{
    struct offer offer = {0};
    int error = offer_make(p, seq, &offer);
    uint64_t give_up_ns = rmqhub_deadline_after_ms(p->set.timeout_ms) + 3u * (uint64_t)p->set.timeout_ms * 1000000u;
    if (error == RMQHUB_OK)
        ledger_line(p, "I %" PRIu32 " %s %" PRIu32 " %zu", seq, offer.uniq_key, offer.crc, offer.len);
    while (error == RMQHUB_OK) {
        error = offer_until_credit(p, &offer, give_up_ns);
        if (error == RMQHUB_OK)
            break;
        p->refused++;
        ledger_line(p, "X %" PRIu32 " %s", seq, rmqhub_error_name(error));
        if (!is_worth_repeating(error) || now_ns() >= give_up_ns)
            break;
        wait_for_results(p, 20);
        error = RMQHUB_OK;
    }
    offer_drop(&offer);
    return error;
}

static int send_all(struct ledger_producer *p)
{
    uint64_t interval_ns = p->set.rate_per_s ? 1000000000u / p->set.rate_per_s : 0;
    uint64_t due_ns = now_ns();
    for (; p->next_seq < p->set.count && !stopping; p->next_seq++) {
        if (interval_ns) {
            while (p->in_flight && now_ns() < due_ns)
                wait_for_results(p, 1);
            sleep_until_ns(due_ns);
            due_ns += interval_ns;
        }
        int error = send_one(p, p->next_seq);
        if (error != RMQHUB_OK)
            return error;
        rmqhub_dispatch(p->hub, 0);
        while (p->in_flight >= p->set.in_flight)
            wait_for_results(p, 100);
    }
    return RMQHUB_OK;
}

/* --- life --------------------------------------------------------------- */

static void log_line(void *ctx, enum rmqhub_log_level level, const char *line)
{
    (void)ctx;
    if (level <= RMQHUB_LOG_WARN)
        fprintf(stderr, "ledger_producer: library: %s\n", line);
}

static int attach(struct ledger_producer *p)
{
    rmqhub_options_t *options = rmqhub_options_new();
    if (!options)
        return RMQHUB_ERR_NO_MEMORY;
    int error = p->set.runtime_dir ? rmqhub_options_set_runtime_dir(options, p->set.runtime_dir) : RMQHUB_OK;
    if (error == RMQHUB_OK)
        error = rmqhub_options_set_log(options, log_line, NULL);
    uint64_t deadline_ns = rmqhub_deadline_after_ms(p->set.attach_timeout_ms);
    while (error == RMQHUB_OK) {
        error = rmqhub_attach(options, deadline_ns, &p->hub);
        if (error != RMQHUB_ERR_HUB_NOT_RUNNING || now_ns() >= deadline_ns)
            break;
        sleep_until_ns(now_ns() + 20000000u); /* a hub that is being started again */
        error = RMQHUB_OK;
    }
    rmqhub_options_free(options);
    return error;
}

static int start_producer(struct ledger_producer *p)
{
    int error = rmqhub_producer_new(p->hub, p->set.group, &p->producer);
    if (error == RMQHUB_OK && p->set.cluster)
        error = rmqhub_producer_set_cluster(p->producer, p->set.cluster);
    if (error == RMQHUB_OK && p->set.namesrv)
        error = rmqhub_producer_set_namesrv(p->producer, p->set.namesrv);
    if (error == RMQHUB_OK && p->set.name_space)
        error = rmqhub_producer_set_namespace(p->producer, p->set.name_space);
    if (error == RMQHUB_OK)
        error = rmqhub_producer_start(p->producer, rmqhub_deadline_after_ms(p->set.attach_timeout_ms));
    return error;
}

static int complain(struct ledger_producer *p, const char *what, int error)
{
    char problem[256] = "";
    if (p->hub)
        rmqhub_last_problem(p->hub, problem, sizeof problem);
    fprintf(stderr, "ledger_producer %s: %s: %s: %s%s%s\n", p->set.name, what, rmqhub_error_name(error), rmqhub_error_text(error),
            problem[0] ? ": " : "", problem);
    return error == RMQHUB_OK ? EXIT_ALL_STORED : EXIT_SOME_NOT_STORED;
}

static int finish(struct ledger_producer *p, int error)
{
    if (error != RMQHUB_OK)
        complain(p, "sending stopped", error);
    int flushed = rmqhub_flush(p->hub, rmqhub_deadline_after_ms(p->set.timeout_ms + 5000));
    if (flushed != RMQHUB_OK)
        complain(p, "flush", flushed);
    int left = rmqhub_producer_shutdown(p->producer, p->set.final ? RMQHUB_SHUTDOWN_FINAL : RMQHUB_SHUTDOWN_LINGER,
                                        rmqhub_deadline_after_ms(5000));
    if (left != RMQHUB_OK)
        complain(p, "shutdown", left);
    printf("name=%s accepted=%" PRIu32 " stored=%" PRIu32 " not_stored=%" PRIu32 " unknown=%" PRIu32 " maybe_duplicated=%" PRIu32
           " refused=%" PRIu32 " open=%" PRIu32 " first_stored_us=%" PRId64 " worst_overdue_us=%" PRIu64 " total_ms=%" PRIu64 "\n",
           p->set.name, p->accepted, p->stored, p->not_stored, p->unknown, p->duplicated, p->refused, p->in_flight,
           p->first_stored_ns ? (int64_t)(p->first_stored_ns - p->started_ns) / 1000 : -1, p->worst_overdue_ns / 1000,
           (now_ns() - p->started_ns) / 1000000u);
    if (error != RMQHUB_OK || flushed != RMQHUB_OK || left != RMQHUB_OK)
        return EXIT_SOME_NOT_STORED;
    if (p->unknown && p->set.mode != MODE_ONEWAY)
        return EXIT_SOME_UNKNOWN;
    return p->not_stored ? EXIT_SOME_NOT_STORED : EXIT_ALL_STORED;
}

static void deinit(struct ledger_producer *p)
{
    rmqhub_producer_free(p->producer);
    rmqhub_detach(p->hub);
    rmqhub_result_free(p->result);
    free(p->body);
    if (p->ledger_fd >= 0)
        close(p->ledger_fd);
}

static int run(struct ledger_producer *p)
{
    int error = attach(p);
    if (error != RMQHUB_OK) {
        complain(p, "attach", error);
        return EXIT_NO_HUB;
    }
    if ((error = start_producer(p)) != RMQHUB_OK)
        return complain(p, "start", error);
    return finish(p, send_all(p));
}

/* --- command line ------------------------------------------------------- */

static const char USAGE[] =
    "usage: ledger_producer --group G --topic T --ledger FILE [--runtime-dir D] [--cluster C | --namesrv L] [--namespace N]\n"
    "         [--name NAME] [--count N] [--size BYTES] [--mode sync|async|oneway] [--in-flight N] [--rate PER_SECOND]\n"
    "         [--timeout MS] [--attach-timeout MS] [--resume] [--properties] [--library-keys] [--final]\n"
    "Sends messages NAME:0 to NAME:N-1 through the hub and writes each fact into the ledger (see the head of its source).\n";

enum option_id {
    OPT_RUNTIME_DIR = 256,
    OPT_GROUP,
    OPT_TOPIC,
    OPT_NAMESRV,
    OPT_CLUSTER,
    OPT_NAMESPACE,
    OPT_NAME,
    OPT_COUNT,
    OPT_SIZE,
    OPT_MODE,
    OPT_IN_FLIGHT,
    OPT_LEDGER,
    OPT_RESUME,
    OPT_RATE,
    OPT_TIMEOUT,
    OPT_ATTACH_TIMEOUT,
    OPT_PROPERTIES,
    OPT_LIBRARY_KEYS,
    OPT_FINAL
};

static const struct option OPTIONS[] = {
    {"runtime-dir", required_argument, NULL, OPT_RUNTIME_DIR},
    {"group", required_argument, NULL, OPT_GROUP},
    {"topic", required_argument, NULL, OPT_TOPIC},
    {"namesrv", required_argument, NULL, OPT_NAMESRV},
    {"cluster", required_argument, NULL, OPT_CLUSTER},
    {"namespace", required_argument, NULL, OPT_NAMESPACE},
    {"name", required_argument, NULL, OPT_NAME},
    {"count", required_argument, NULL, OPT_COUNT},
    {"size", required_argument, NULL, OPT_SIZE},
    {"mode", required_argument, NULL, OPT_MODE},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"resume", no_argument, NULL, OPT_RESUME},
    {"rate", required_argument, NULL, OPT_RATE},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"attach-timeout", required_argument, NULL, OPT_ATTACH_TIMEOUT},
    {"properties", no_argument, NULL, OPT_PROPERTIES},
    {"library-keys", no_argument, NULL, OPT_LIBRARY_KEYS},
    {"final", no_argument, NULL, OPT_FINAL},
    {NULL, 0, NULL, 0},
};

static bool parse_number(const char *text, uint32_t max, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool parse_mode(const char *text, enum mode *out)
{
    static const char *const NAMES[] = {"sync", "async", "oneway"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(text, NAMES[i]) == 0) {
            *out = (enum mode)i;
            return true;
        }
    }
    return false;
}

static bool parse_option(struct settings *set, int id, const char *value)
{
    switch (id) {
    case OPT_RUNTIME_DIR:
        set->runtime_dir = value;
        return true;
    case OPT_GROUP:
        set->group = value;
        return true;
    case OPT_TOPIC:
        set->topic = value;
        return true;
    case OPT_NAMESRV:
        set->namesrv = value;
        return true;
    case OPT_CLUSTER:
        set->cluster = value;
        return true;
    case OPT_NAMESPACE:
        set->name_space = value;
        return true;
    case OPT_NAME:
        set->name = value;
        return true;
    case OPT_LEDGER:
        set->ledger = value;
        return true;
    case OPT_COUNT:
        return parse_number(value, 1u << 30, &set->count);
    case OPT_SIZE:
        return parse_number(value, 4u << 20, &set->size_bytes);
    case OPT_IN_FLIGHT:
        return parse_number(value, 65535, &set->in_flight) && set->in_flight > 0;
    case OPT_RATE:
        return parse_number(value, 1000000, &set->rate_per_s);
    case OPT_TIMEOUT:
        return parse_number(value, 600000, &set->timeout_ms);
    case OPT_ATTACH_TIMEOUT:
        return parse_number(value, 600000, &set->attach_timeout_ms);
    case OPT_MODE:
        return parse_mode(value, &set->mode);
    case OPT_RESUME:
        return set->resume = true;
    case OPT_PROPERTIES:
        return set->with_properties = true;
    case OPT_LIBRARY_KEYS:
        return set->library_keys = true;
    case OPT_FINAL:
        return set->final = true;
    default:
        return false;
    }
}

/* Without --name the producer is called like its ledger: "p3.ledger" gives "p3". */
static void name_after_ledger(struct ledger_producer *p)
{
    const char *slash = strrchr(p->set.ledger, '/');
    const char *base = slash ? slash + 1 : p->set.ledger;
    snprintf(p->default_name, sizeof p->default_name, "%.*s", (int)strcspn(base, "."), base);
    p->set.name = p->default_name;
}

static bool parse_arguments(struct ledger_producer *p, int argc, char **argv)
{
    p->set = (struct settings){.count = 1, .in_flight = 64, .timeout_ms = 30000, .attach_timeout_ms = 10000, .size_bytes = 128};
    for (int id; (id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (!parse_option(&p->set, id, optarg))
            return false;
    }
    if (optind != argc || !p->set.group || !p->set.topic || !p->set.ledger)
        return false;
    if (!p->set.name)
        name_after_ledger(p);
    return strlen(p->set.name) < sizeof p->default_name;
}

int main(int argc, char **argv)
{
    struct ledger_producer p = {.ledger_fd = -1, .started_ns = now_ns()};
    p.key_base = p.started_ns;
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_sigterm, .sa_flags = SA_RESTART}, NULL);
    if (!parse_arguments(&p, argc, argv)) {
        fputs(USAGE, stderr);
        return EXIT_USAGE;
    }
    int status = EXIT_USAGE;
    int error = ledger_open(&p);
    p.body = malloc((size_t)p.set.size_bytes + sizeof p.default_name + 16);
    p.result = rmqhub_result_new();
    if (error < 0)
        fprintf(stderr, "ledger_producer: %s: %s\n", p.set.ledger, strerror(-error));
    else if (!p.body || !p.result)
        fputs("ledger_producer: out of memory\n", stderr);
    else
        status = run(&p);
    deinit(&p);
    return status;
}
