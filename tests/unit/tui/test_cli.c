/*
 * The reading verbs of the rmqhub program against a table written here: text and
 * JSON compared with tests/unit/tui/golden/ (UPDATE=1 rewrites them), and every
 * exit code that does not need a hub.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/runtime_dir.h"
#include "shm/table_writer.h"

#define OUTPUT_CAP (1u << 20)

static char dir[64], path[96], lock_path[96];
static char out[OUTPUT_CAP], err[OUTPUT_CAP];
static int lock_fd = -1;
static uint64_t published_ns; /* 0: now */

static uint64_t fake_monotonic(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return published_ns ? published_ns : (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int64_t fake_realtime(void *ctx)
{
    (void)ctx;
    return INT64_C(1767323045678); /* 2026-01-02T03:04:05.678Z */
}

static void take_lock(void)
{
    lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(lock_fd, F_OFD_SETLK, &whole), 0);
}

static void drop_lock(void)
{
    if (lock_fd >= 0)
        close(lock_fd);
    lock_fd = -1;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/rmqhub-cli-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/table", dir);
    snprintf(lock_path, sizeof(lock_path), "%s/lock", dir);
    setenv("RMQHUB_RUNTIME_DIR", dir, 1);
    static const struct clock_source source = {fake_monotonic, fake_realtime, NULL};
    clock_set_source(&source);
    published_ns = 0;
    take_lock();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    drop_lock();
    unlink(path);
    unlink(lock_path);
    return rmdir(dir);
}

#define SET(field, text) snprintf(field, sizeof(field), "%s", text)

static void add_instance_and_groups(struct table_writer *w)
{
    struct table_instance *i = table_writer_add(w, TABLE_INSTANCES);
    *i = (struct table_instance){.state = TABLE_RUNNING,
                                 .groups = 2,
                                 .clients = 2,
                                 .topics = 2,
                                 .brokers = 2,
                                 .connections = 3,
                                 .pending = 2,
                                 .stored = 1234567,
                                 .not_stored = 3,
                                 .unknown = 1,
                                 .start_age_ms = 352800000,
                                 .heartbeat_age_ms = 4210,
                                 .factory_index = 3,
                                 .tls = TABLE_TLS_VERIFIED,
                                 .handles = 5,
                                 .extra_connections = 1,
                                 .async_in_use = 2,
                                 .async_limit = 65535,
                                 .oneway_limit = 65535,
                                 .late_replies = 4,
                                 .scans = 352800,
                                 .route_polls = 11760,
                                 .topics_expired = 6,
                                 .namesrv_requests = 12,
                                 .namesrv_failures = 1,
                                 .namesrv_failovers = 1,
                                 .namesrv_ok_age_ms = 4100,
                                 .discovery_ok_age_ms = 120000,
                                 .discovery_fetches = 9,
                                 .discovery_answers = 8,
                                 .discovery_unconfirmed = 1};
    SET(i->namesrv_chosen, "10.0.3.3:9876");
    SET(i->namesrv_list, "10.0.3.3:9876;10.0.3.2:9876");
    SET(i->discovery_url, "http://jmenv.example:8080/rocketmq/nsaddr");
    SET(i->discovery_error, "404 Not Found");
    SET(i->tls_identity, "3f2a9c01d4e5b677");
    SET(i->credentials, "77aa0c13bd20f9e1");
    SET(i->marker_group, "RMQHUB_0123456789ABCDEF");
    SET(i->client_id, "10.0.1.9@812#88121");
    SET(i->cluster, "default");
    SET(i->namesrv_addr, "10.0.3.2:9876;10.0.3.3:9876");
    struct table_group *g = table_writer_add(w, TABLE_GROUPS);
    *g = (struct table_group){.clients = 2,
                              .handles = 4,
                              .outstanding = 2,
                              .uid = 33,
                              .linger_left_ms = TABLE_NEVER,
                              .start_age_ms = 7500000,
                              .accepted = 1234570,
                              .stored = 1234566,
                              .not_stored = 3,
                              .unknown = 1};
    SET(g->group, "ORDER_PG");
    g = table_writer_add(w, TABLE_GROUPS);
    *g = (struct table_group){
        .state = TABLE_GROUP_LINGERING, .uid = 1000, .linger_left_ms = 41300, .start_age_ms = 60000, .accepted = 1, .stored = 1};
    SET(g->group, "evil\x1b]0;title\x07\r\xff group");
    g = table_writer_add(w, TABLE_GROUPS);
    *g = (struct table_group){.instance = 7, .linger_left_ms = TABLE_NEVER, .start_age_ms = TABLE_NEVER};
    SET(g->group, "no-such-instance");
}

static void add_clients(struct table_writer *w)
{
    struct table_client *c = table_writer_add(w, TABLE_CLIENTS);
    *c = (struct table_client){.number = 1,
                               .pid = 4410,
                               .uid = 33,
                               .gid = 33,
                               .lanes = 1,
                               .abi_major = 1,
                               .registrations = 3,
                               .in_flight = 2,
                               .body_bytes = 200,
                               .segment_bytes = 1572864,
                               .accepted = 1234570,
                               .stored = 1234565,
                               .not_stored = 3,
                               .unknown = 1,
                               .attach_age_ms = 7500000,
                               .last_send_age_ms = 3};
    SET(c->command, "php-fpm");
    SET(c->group, "ORDER_PG");
    c = table_writer_add(w, TABLE_CLIENTS);
    *c = (struct table_client){.number = UINT64_C(18446744073709551615),
                               .pid = 881,
                               .uid = 33,
                               .gid = 33,
                               .state = TABLE_CLIENT_QUARANTINED,
                               .lanes = 1,
                               .abi_major = 1,
                               .segment_bytes = 900,
                               .attach_age_ms = 1000,
                               .last_send_age_ms = TABLE_NEVER};
    SET(c->command, "order-\xe5\xba\x94\xe7\x94\xa8");
    SET(c->reason, "tail 300 is more than 256 ahead of 12");
}

static void add_network(struct table_writer *w)
{
    struct table_broker *b = table_writer_add(w, TABLE_BROKERS);
    *b = (struct table_broker){.state = TABLE_CHANNEL_CONNECTED,
                               .connections = 1,
                               .pending = 2,
                               .oldest_pending_age_ms = 8400,
                               .sends = 100,
                               .stored = 96,
                               .not_stored = 3,
                               .unknown = 1,
                               .heartbeat_age_ms = 4210};
    SET(b->name, "broker-a");
    SET(b->cluster, "DefaultCluster");
    SET(b->address, "10.0.3.11:10911");
    b = table_writer_add(w, TABLE_BROKERS);
    *b = (struct table_broker){.state = TABLE_CHANNEL_BACKOFF, .oldest_pending_age_ms = TABLE_NEVER, .heartbeat_age_ms = TABLE_NEVER};
    SET(b->name, "broker-b");
    SET(b->address, "10.0.3.12:10911");
    SET(b->last_error, "connect 10.0.3.12:10911: Connection refused");
    struct table_route *r = table_writer_add(w, TABLE_ROUTES);
    *r = (struct table_route){.state = TABLE_ROUTE_OK,
                              .source = TABLE_ROUTE_FROM_NAMESERVER,
                              .perm = 6,
                              .brokers = 2,
                              .read_queues = 8,
                              .write_queues = 8,
                              .references = 2,
                              .fetches = 12,
                              .failures = 1,
                              .queue_datas = 2,
                              .fetched_age_ms = 96000,
                              .changed_age_ms = 7800000,
                              .used_age_ms = 3,
                              .expires_in_ms = TABLE_NEVER,
                              .changes = 2,
                              .queue_data = {{0, 4, 4, 6, {0}}, {1, 4, 4, 6, {0}}}};
    SET(r->topic, "ORDER_PAY");
    SET(r->from, "10.0.3.2:9876");
    r = table_writer_add(w, TABLE_ROUTES);
    *r = (struct table_route){.fetched_age_ms = TABLE_NEVER,
                              .changed_age_ms = TABLE_NEVER,
                              .used_age_ms = 100,
                              .expires_in_ms = 3599900,
                              .unconfirmed = 1,
                              .fetches = 9,
                              .failures = 9,
                              .failures_in_a_row = 9};
    SET(r->topic, "TBW102");
    SET(r->last_error, "code 17: No topic route info");
    struct table_connection *c = table_writer_add(w, TABLE_CONNECTIONS);
    *c = (struct table_connection){.state = TABLE_CHANNEL_CONNECTED,
                                   .fd = 19,
                                   .pending = 2,
                                   .state_age_ms = 352800000,
                                   .bytes_in = 317440,
                                   .bytes_out = UINT64_C(4294967296),
                                   .frames_in = 100,
                                   .frames_out = 102,
                                   .send_queue_bytes = 812,
                                   .connects = 1,
                                   .next_try_ms = TABLE_NEVER,
                                   .last_in_age_ms = 12,
                                   .tls = TABLE_TLS_VERIFIED,
                                   .tls_resumed = 1,
                                   .held_back = 3};
    SET(c->tls_protocol, "TLSv1.3");
    SET(c->tls_cipher, "TLS_AES_256_GCM_SHA384");
    SET(c->tls_peer, "broker-a.example");
    SET(c->peer_name, "broker-a");
    SET(c->peer_address, "10.0.3.11:10911");
    SET(c->local_address, "10.0.1.9:41210");
    c = table_writer_add(w, TABLE_CONNECTIONS);
    *c = (struct table_connection){.state = TABLE_CHANNEL_BACKOFF,
                                   .fd = -1,
                                   .state_age_ms = 2000,
                                   .connect_failures = 6,
                                   .reconnects = 1,
                                   .connects = 2,
                                   .next_try_ms = 700,
                                   .closes = 1,
                                   .exceptions = 1,
                                   .tls = TABLE_TLS_INSECURE,
                                   .last_in_age_ms = TABLE_NEVER};
    SET(c->peer_name, "broker-b");
    SET(c->peer_address, "10.0.3.12:10911");
    SET(c->last_error, "Connection refused");
    struct table_heartbeat *h = table_writer_add(w, TABLE_HEARTBEATS);
    *h = (struct table_heartbeat){.rt_us = 2100,
                                  .last_ok_age_ms = 4210,
                                  .next_in_ms = 25790,
                                  .ok = 17,
                                  .failed = 3,
                                  .history = 0xffff4,
                                  .history_bits = 20,
                                  .last_late_ms = 2,
                                  .worst_late_ms = 40,
                                  .coalesced = 1,
                                  .broker_version = 399};
    SET(h->broker_name, "broker-a");
    SET(h->address, "10.0.3.11:10911");
    struct table_pending *p = table_writer_add(w, TABLE_PENDING);
    *p = (struct table_pending){.opaque = 190211,
                                .code = 310,
                                .mode = TABLE_MODE_ASYNC,
                                .state = TABLE_REQUEST_ON_WIRE,
                                .age_ms = 8400,
                                .deadline_in_ms = -5400,
                                .client = 1,
                                .pid = 4410};
    SET(p->broker_name, "broker-a");
    SET(p->topic, "ORDER_PAY");
    SET(p->group, "ORDER_PG");
    p = table_writer_add(w, TABLE_PENDING);
    *p = (struct table_pending){.opaque = -5, .code = 34, .mode = TABLE_MODE_INTERNAL, .age_ms = 100, .deadline_in_ms = 2900};
    SET(p->broker_name, "broker-b");
}

static void add_rest(struct table_writer *w)
{
    struct table_task *t = table_writer_add(w, TABLE_TASKS);
    *t = (struct table_task){.period_ms = 30000,
                             .last_run_age_ms = 4210,
                             .next_in_ms = 25790,
                             .runs = 20,
                             .last_us = 90,
                             .worst_us = 700,
                             .last_late_us = 120,
                             .worst_late_us = 9000,
                             .skipped = 2,
                             .errors = 1,
                             .last_error = -ENOMEM};
    SET(t->name, "send_heartbeat_to_all_broker");
    struct table_counter *c = table_writer_add(w, TABLE_COUNTERS);
    *c = (struct table_counter){.value = UINT64_C(9007199254740993)};
    SET(c->name, "bytes_out_bytes");
    struct table_config *k = table_writer_add(w, TABLE_CONFIG);
    *k = (struct table_config){.source = TABLE_CONFIG_FILE, .reloadable = 1};
    SET(k->key, "hub.linger_ms");
    SET(k->value, "60000");
    SET(k->unit, "ms");
    SET(k->origin, "/etc/rmqhub/rmqhub.conf:3");
    k = table_writer_add(w, TABLE_CONFIG);
    *k = (struct table_config){.source = TABLE_CONFIG_DEFAULT};
    SET(k->key, "cluster default.client_worker_threads");
    SET(k->value, "4");
    SET(k->note, "One thread does the work of all connections.");
    struct table_problem *x = table_writer_add(w, TABLE_PROBLEMS);
    *x = (struct table_problem){.severity = TABLE_SEVERITY_CRIT, .since_age_ms = 352800000};
    SET(x->rule, "duplicate-client-id");
    SET(x->object, "10.0.1.9@812#88121");
    SET(x->text, "10.0.1.9:41210 and 10.0.7.7:5000 use it at 10.0.3.11:10911");
    x = table_writer_add(w, TABLE_PROBLEMS);
    *x = (struct table_problem){.severity = TABLE_SEVERITY_WARN, .since_age_ms = 4000};
    SET(x->rule, "heartbeat-late");
    SET(x->object, "broker-b\x1b[2J");
    SET(x->text, "no answer for 61 s");
    struct table_service *s = table_writer_add(w, TABLE_SERVICES);
    *s = (struct table_service){.queued = 1, .delayed = 2, .tasks = 3, .queued_most = 9, .executed = 100, .ran_tasks = 5, .errors = 4};
    SET(s->name, "PullMessageService");
    SET(s->state, "running");
    struct table_request *q = table_writer_add(w, TABLE_REQUESTS);
    *q = (struct table_request){.code = 39, .received = 12, .answered = 0, .ignored = 9, .refused = 1, .limited = 1, .too_big = 1};
    SET(q->name, "CHECK_TRANSACTION_STATE");
    struct table_hub *hub = table_writer_hub(w);
    *hub = (struct table_hub){.pid = 812,
                              .state = TABLE_HUB_RUNNING,
                              .epoch = UINT64_C(12345678901234567890),
                              .start_wall_ms = INT64_C(1766970000000),
                              .up_ms = 353045678,
                              .rss_bytes = 9437184,
                              .private_bytes = 5242880,
                              .segment_bytes = 2097152,
                              .cpu_us = 1200000,
                              .loop_rounds = 1000,
                              .loop_wakeups = 900,
                              .loop_worst_round_ns = 1200000,
                              .open_fds = 41,
                              .fd_limit = 65536,
                              .linger_ms = 60000,
                              .problems_crit = 1,
                              .problems_warn = 1,
                              .uid = 0};
    SET(hub->version, "0.1.0");
    SET(hub->host, "web-07");
    SET(hub->cluster, "default");
    SET(hub->namesrv_addr, "10.0.3.2:9876;10.0.3.3:9876");
    SET(hub->runtime_dir, "/run/rmqhub");
    SET(hub->state_dir, "/var/lib/rmqhub");
}

static void publish(bool full, enum table_hub_state hub_state)
{
    static struct table_event events[4096] = {{.seq = 0,
                                               .count = 1,
                                               .first_wall_ms = 1767323040000,
                                               .last_wall_ms = 1767323040000,
                                               .level = LOG_LEVEL_INFO,
                                               .who = "hub",
                                               .text = "running"},
                                              {.seq = 1,
                                               .count = 12,
                                               .first_wall_ms = 1767323041000,
                                               .last_wall_ms = 1767323045004,
                                               .level = LOG_LEVEL_WARN,
                                               .who = "broker-b 10.0.3.12:10911",
                                               .text = "connect refused \x1b[2J"}};
    struct table_event_ring ring = {events, 4096, full ? 2 : 0};
    struct table_writer *w = NULL;
    assert_int_equal(table_writer_new(&w, dir, NULL), 0);
    table_writer_begin(w);
    if (full) {
        add_instance_and_groups(w);
        add_clients(w);
        add_network(w);
        add_rest(w);
    }
    table_writer_hub(w)->pid = 812;
    table_writer_hub(w)->state = (uint8_t)hub_state;
    assert_int_equal(table_writer_publish(w, &ring), 0);
    table_writer_free(w);
}

static void read_all(const char *file, char *dst)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n, used = 0;
    while (fd >= 0 && (n = read(fd, dst + used, OUTPUT_CAP - 1 - (size_t)used)) > 0)
        used += n;
    dst[used] = '\0';
    if (fd >= 0)
        close(fd);
}

/* Runs "rmqhub ARGS" through the shell; out and err receive what it wrote. Returns the exit code. */
static int run(const char *args)
{
    char command[2048], out_file[96], err_file[96];
    snprintf(out_file, sizeof(out_file), "%s/stdout", dir);
    snprintf(err_file, sizeof(err_file), "%s/stderr", dir);
    snprintf(command, sizeof(command), "exec %s %s >%s 2>%s </dev/null", RMQHUB_BINARY, args, out_file, err_file);
    int status;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    read_all(out_file, out);
    read_all(err_file, err);
    unlink(out_file);
    unlink(err_file);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Replaces what stands between two marks, wherever they occur, by @p with: times that cannot be fixed. */
static void blank(char *text, const char *before, const char *after, const char *with)
{
    for (char *p = strstr(text, before); p; p = strstr(p, before)) {
        p += strlen(before);
        char *end = strstr(p, after);
        if (!end)
            return;
        size_t rest = strlen(end) + 1, n = strlen(with);
        memmove(p + n, end, rest);
        for (size_t i = 0; i < n; i++)
            p[i] = with[i];
        p += n;
    }
}

static void compare_with_golden(const char *name)
{
    char file[512];
    static char golden[OUTPUT_CAP];
    blank(out, "\"data_age_ms\":", ",", "N");
    blank(out, "/tmp/rmqhub-cli-", "\"", "DIR");
    blank(out, "03:04:05.678Z, ", " old", "AGE");
    blank(out, "published nothing for ", ";", "AGE");
    snprintf(file, sizeof(file), "%s/%s", GOLDEN_DIR, name);
    if (getenv("UPDATE")) {
        FILE *f = fopen(file, "we");
        assert_non_null(f);
        fputs(out, f);
        fclose(f);
        return;
    }
    read_all(file, golden);
    assert_string_equal(out, golden);
}

static const char *const verbs[] = {"status",      "instances", "groups", "clients", "routes", "brokers",  "heartbeats", "pending",
                                    "connections", "tasks",     "events", "stats",   "config", "problems", "services",   "requests"};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static void golden_run(const char *args, const char *name)
{
    int code = run(args);
    if (code != 0)
        fail_msg("%s: exit %d: %s", args, code, err);
    assert_string_equal(err, "");
    compare_with_golden(name);
}

static void test_every_verb_as_text_and_json(void **state)
{
    (void)state;
    char args[128], name[128];
    publish(true, TABLE_HUB_RUNNING);
    for (unsigned i = 0; i < VERB_COUNT; i++) {
        snprintf(name, sizeof(name), "%s.txt", verbs[i]);
        golden_run(verbs[i], name);
        snprintf(args, sizeof(args), "%s --json", verbs[i]);
        snprintf(name, sizeof(name), "%s.json", verbs[i]);
        golden_run(args, name);
    }
}

static void test_json_parses_and_has_the_envelope(void **state)
{
    (void)state;
    publish(true, TABLE_HUB_RUNNING);
    for (unsigned i = 0; i < VERB_COUNT; i++) {
        char args[128], schema[64];
        json_error_t error;
        snprintf(args, sizeof(args), "%s --json", verbs[i]);
        snprintf(schema, sizeof(schema), "rmqhub.%s/1", verbs[i]);
        assert_int_equal(run(args), 0);
        json_t *root = json_loads(out, JSON_REJECT_DUPLICATES, &error);
        assert_non_null(root);
        assert_string_equal(json_string_value(json_object_get(root, "schema")), schema);
        assert_true(json_is_object(json_object_get(root, "hub")));
        assert_string_equal(json_string_value(json_object_get(json_object_get(root, "hub"), "state")), "running");
        assert_true(json_is_integer(json_object_get(root, "data_age_ms")));
        assert_true(json_is_false(json_object_get(root, "stale")));
        assert_true(json_array_size(json_object_get(root, "items")) > 0);
        json_decref(root);
    }
}

/* No byte of another process may reach the terminal as a control character. */
static void test_output_is_printable(void **state)
{
    (void)state;
    publish(true, TABLE_HUB_RUNNING);
    for (unsigned i = 0; i < VERB_COUNT; i++) {
        assert_int_equal(run(verbs[i]), 0);
        for (const char *p = out; *p; p++)
            assert_true(*p == '\n' || (unsigned char)*p >= 0x20);
    }
}

static void test_empty_table(void **state)
{
    (void)state;
    publish(false, TABLE_HUB_STARTING);
    static char all[OUTPUT_CAP];
    size_t used = 0;
    for (unsigned i = 1; i < VERB_COUNT; i++) {
        assert_int_equal(run(verbs[i]), 0);
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s: %s", verbs[i], out);
    }
    snprintf(out, sizeof(out), "%s", all);
    compare_with_golden("empty.txt");
}

static void test_selection(void **state)
{
    (void)state;
    static const struct {
        const char *args, *expected;
    } cases[] = {
        {"clients --no-headers --columns pid", "4410\n 881\n"},
        {"clients --no-headers --columns pid --sort pid", " 881\n4410\n"},
        {"clients --no-headers --columns pid --sort=-pid", "4410\n 881\n"},
        {"clients --no-headers --columns pid --sort last_send_age_ms", " 881\n4410\n"},
        {"clients --no-headers --columns pid --filter PHP", "4410\n"},
        {"clients --no-headers --columns pid --filter '!php'", "881\n"},
        {"clients --no-headers --columns pid --filter 'pid>1000'", "4410\n"},
        {"clients --no-headers --columns pid --filter 'pid<1000'", "881\n"},
        {"clients --no-headers --columns pid --filter 'state=quarantined|pid=4410'", "4410\n 881\n"},
        {"clients --no-headers --columns pid --filter 'state!=quarantined'", "4410\n"},
        {"clients --no-headers --columns pid --filter uid=33 --filter pid=881", "881\n"},
        {"clients --no-headers --columns client 18446744073709551615", "18446744073709551615\n"},
        {"routes ORDER_PAY --columns topic,queues --no-headers", "ORDER_PAY  broker-a:r4w4p6 broker-b:r4w4p6\n"},
    };
    publish(true, TABLE_HUB_RUNNING);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(run(cases[i].args), 0);
        assert_string_equal(err, "");
        assert_string_equal(out, cases[i].expected);
    }
    assert_int_equal(run("clients --filter nobody"), 0);
    assert_string_equal(out, "the filter hides all 2 rows\n");
    assert_int_equal(run("routes NO_SUCH_TOPIC"), 4);
    assert_non_null(strstr(err, "no such topic: NO_SUCH_TOPIC"));
}

static void test_dead_and_silent_hubs(void **state)
{
    (void)state;
    publish(true, TABLE_HUB_RUNNING);
    drop_lock();
    golden_run("groups", "dead_groups.txt");
    golden_run("groups --json --columns group", "dead_groups.json");
    assert_int_equal(run("groups --no-headers --columns group"), 0);
    assert_non_null(strstr(err, "HUB DOWN pid 812"));
    assert_null(strstr(out, "HUB DOWN"));
    publish(true, TABLE_HUB_STOPPED);
    golden_run("pending", "stopped_pending.txt");
    take_lock();
    published_ns = 1;
    publish(true, TABLE_HUB_RUNNING);
    golden_run("tasks", "silent_tasks.txt");
    golden_run("tasks --json --columns task", "silent_tasks.json");
    assert_int_equal(run("tasks --fresh 1000"), 9);
    assert_non_null(strstr(err, "ms old"));
    published_ns = 0;
    publish(true, TABLE_HUB_RUNNING);
    assert_int_equal(run("tasks --fresh 60000"), 0);
}

/* Whatever an operator looks at says so. */
static void test_insecure_is_said_everywhere(void **state)
{
    (void)state;
    struct table_writer *w = NULL;
    assert_int_equal(table_writer_new(&w, dir, NULL), 0);
    table_writer_begin(w);
    struct table_instance *i = table_writer_add(w, TABLE_INSTANCES);
    i->tls = TABLE_TLS_INSECURE;
    table_writer_hub(w)->insecure_instances = 1;
    assert_int_equal(table_writer_publish(w, NULL), 0);
    table_writer_free(w);
    for (unsigned v = 0; v < VERB_COUNT; v++) {
        assert_int_equal(run(verbs[v]), 0);
        assert_non_null(strstr(out, "TLS INSECURE: 1 of 1 instances accept any certificate"));
    }
    assert_int_equal(run("instances --no-headers --columns tls"), 0);
    assert_string_equal(out, "INSECURE\n");
    assert_non_null(strstr(err, "TLS INSECURE"));
}

static void test_usage_errors(void **state)
{
    (void)state;
    static const struct {
        const char *args, *says;
    } cases[] = {
        {"", "usage:"},
        {"sttaus", "did you mean status?"},
        {"xyzzy", "see rmqhub help"},
        {"clients --jsno", "did you mean --json?"},
        {"clients --zzzzzz", "see --help"},
        {"clients --json=1", "takes no value"},
        {"clients --filter", "needs a value"},
        {"clients --filter '|'", "empty alternative"},
        {"clients --filter 'pdi=3'", "did you mean pid?"},
        {"clients --sort nosuchthing", "there are: client pid"},
        {"clients --columns pid,grup", "did you mean group?"},
        {"clients --columns ''", "names no column"},
        {"clients --watch=x", "1 to 3600"},
        {"clients --fresh -1", "milliseconds"},
        {"clients a b", "only one name"},
        {"status x", "no name"},
        {"help nosuchverb", "unknown verb"},
        {"version x", "no argument"},
        {"send", "--group is missing"},
        {"send --group g", "--topic is missing"},
        {"send --group g --topic t", "no body"},
        {"send --group g --topic t --body x --size 3", "more than one body"},
        {"send --group g --topic t --body x --mode batch", "not supported by this version"},
        {"send --group g --topic t --body x --queue b:1", "not supported by this version"},
        {"send --group g --topic t --body x --delay-level 3", "not supported by this version"},
        {"send --group g --topic t --body x --mode async1", "sync, async or oneway"},
        {"send --group g --topic t --body x --property a", "NAME=VALUE"},
        {"send --group g --topic t --body x --count 0", "1 to"},
        {"send --group g --topic t --body x --count 2 --uniq-key 00", "one message"},
        {"send --group g --topic t --file /nonexistent/x", "No such file"},
    };
    publish(true, TABLE_HUB_RUNNING);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int code = run(cases[i].args);
        if (code != 2 || !strstr(err, cases[i].says))
            fail_msg("%s: exit %d, %s", cases[i].args, code, err);
        assert_string_equal(out, "");
    }
}

static void test_help_and_version(void **state)
{
    (void)state;
    assert_int_equal(run("help"), 0);
    for (unsigned i = 0; i < VERB_COUNT; i++)
        assert_non_null(strstr(out, verbs[i]));
    assert_int_equal(run("help send"), 0);
    assert_non_null(strstr(out, "--in-flight"));
    assert_int_equal(run("clients --help"), 0);
    assert_non_null(strstr(out, "columns: client pid"));
    assert_int_equal(run("--version"), 0);
    assert_non_null(strstr(out, "librmqhub"));
}

/* The page names every verb, every column and every option that the program knows. */
static void test_the_page_is_complete(void **state)
{
    (void)state;
    static char page[OUTPUT_CAP];
    read_all(CLI_PAGE, page);
    char args[64], wanted[128];
    for (unsigned i = 0; i <= VERB_COUNT; i++) {
        snprintf(args, sizeof(args), "%s --help", i < VERB_COUNT ? verbs[i] : "send");
        assert_int_equal(run(args), 0);
        bool columns = false;
        char *rest = out;
        for (char *word = strtok_r(rest, " \n[=:)", &rest); word; word = strtok_r(rest, " \n[=:)", &rest)) {
            bool option = strncmp(word, "--", 2) == 0;
            snprintf(wanted, sizeof(wanted), option ? "%s" : "`%s`", word);
            if ((columns || option) && !strstr(page, wanted))
                fail_msg("%s: docs/cli.md does not mention %s", args, wanted);
            columns = columns || strcmp(word, "columns") == 0;
        }
    }
}

/* And every kind of problem that a hub may raise. */
static void test_the_page_names_every_problem(void **state)
{
    (void)state;
    static char page[OUTPUT_CAP], header[OUTPUT_CAP];
    char name[64], rule[64], wanted[80];
    unsigned rules = 0;
    read_all(CLI_PAGE, page);
    read_all(PROBLEMS_HEADER, header);
    for (const char *at = header; (at = strstr(at, "#define PROBLEM_")); at++) {
        assert_int_equal(sscanf(at, "#define %63s \"%63[^\"]\"", name, rule), 2);
        snprintf(wanted, sizeof(wanted), "\n| `%s` | ", rule);
        if (!strstr(page, wanted))
            fail_msg("docs/cli.md does not say what to do about %s", rule);
        rules++;
    }
    assert_true(rules > 0);
}

static void test_no_hub_no_table(void **state)
{
    (void)state;
    drop_lock();
    assert_int_equal(run("status"), 3);
    assert_non_null(strstr(err, "rmqhubd --namesrv"));
    assert_int_equal(run("status --runtime-dir /nonexistent/dir"), 3);
    assert_int_equal(run("send --group g --topic t --body x --timeout 200"), 3);
    take_lock();
    assert_int_equal(run("status"), 3);
    assert_non_null(strstr(err, "starting"));
}

static void test_damaged_and_foreign_tables(void **state)
{
    (void)state;
    publish(true, TABLE_HUB_RUNNING);
    uint16_t version = 99;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &version, sizeof(version), offsetof(struct table_file_header, version_major)), sizeof(version));
    assert_int_equal(run("clients"), 6);
    assert_non_null(strstr(err, "version 99.0"));
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_int_equal(run("clients --json"), 1);
    assert_non_null(strstr(err, "truncated"));
    assert_string_equal(out, "");
    close(fd);
}

static void test_no_permission(void **state)
{
    (void)state;
    publish(true, TABLE_HUB_RUNNING);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
            _exit(99);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        execl(RMQHUB_BINARY, "rmqhub", "clients", (char *)NULL);
        _exit(errno == EACCES ? 98 : 97);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 98)
        skip(); /* the build directory is closed to other users */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_verb_as_text_and_json),
        TEST(test_json_parses_and_has_the_envelope),
        TEST(test_output_is_printable),
        TEST(test_empty_table),
        TEST(test_selection),
        TEST(test_dead_and_silent_hubs),
        TEST(test_insecure_is_said_everywhere),
        TEST(test_usage_errors),
        TEST(test_help_and_version),
        TEST(test_the_page_is_complete),
        TEST(test_the_page_names_every_problem),
        TEST(test_no_hub_no_table),
        TEST(test_damaged_and_foreign_tables),
        TEST(test_no_permission),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
