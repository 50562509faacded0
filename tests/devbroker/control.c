/*
 * Control socket of the devbroker. See control.h.
 *
 * Answers are written while the loop waits, at most for SEND_TIMEOUT_S: whoever
 * holds this socket is the test that drives us.
 */
#include "tests/devbroker/control.h"

#include "shm/base/text.h"
#include "tests/devbroker/devbroker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 16384
#define SEND_TIMEOUT_S 2

struct control {
    struct devbroker *dev;
    struct event *event;
    int fd;
    struct list_link sessions;
    struct sockaddr_un address;
};

struct session {
    struct list_link link;
    struct control *control;
    struct event *event;
    int fd;
    size_t len;
    char line[LINE_MAX_BYTES];
};

/* What a command answers: it prints to @p out; the result is NULL, or why it failed. */
struct command {
    const char *name;
    const char *(*run)(struct devbroker *dev, char *args, FILE *out);
};

static struct listener *listener_by_name(struct devbroker *dev, const char *name)
{
    if (strcmp(name, "nameserver") == 0)
        return &dev->nameserver;
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        if (strcmp(name, dev->brokers[i].name) == 0)
            return &dev->brokers[i].listener;
    return NULL;
}

static const char *broker_name(void *ctx, unsigned i)
{
    const struct devbroker *dev = ctx;
    return dev->brokers[i].name;
}

static const char *run_log(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    if (!args[0])
        return "log needs a file";
    int err = journal_write(&dev->journal, args, broker_name, dev);
    return err ? strerror(-err) : NULL;
}

static const char *run_fault(struct devbroker *dev, char *args, FILE *out)
{
    const char *reason;
    if (strcmp(args, "clear") == 0) {
        fault_plan_clear(&dev->faults);
        return NULL;
    }
    if (fault_plan_add(&dev->faults, args, &reason) < 0)
        return reason;
    fprintf(out, "rule %u\n", dev->faults.last_number);
    return NULL;
}

static const char *run_faults(struct devbroker *dev, char *args, FILE *out)
{
    (void)args;
    LIST_FOR_EACH_SAFE (it, next, &dev->faults.rules) {
        const struct fault_rule *rule = LIST_ENTRY(it, struct fault_rule, link);
        fprintf(out, "%u\tseen=%" PRIu64 "\tapplied=%" PRIu64 "\t%s\n", rule->number, rule->seen, rule->applied, rule->text);
    }
    return NULL;
}

static const char *run_seed(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    int64_t seed;
    if (!text_parse_i64(args, 0, INT64_MAX, &seed))
        return "seed needs a number";
    fault_plan_seed(&dev->faults, (uint64_t)seed);
    return NULL;
}

static void print_requests(FILE *out, const char *where, const uint64_t counts[COUNTED_CODES])
{
    for (unsigned code = 0; code < COUNTED_CODES; code++)
        if (counts[code])
            fprintf(out, "%s.requests.%s%.0u %" PRIu64 "\n", where, code ? "" : "other", code, counts[code]);
}

static unsigned members_of(struct list_link *groups)
{
    unsigned count = 0;
    LIST_FOR_EACH_SAFE (it, next, groups)
        LIST_FOR_EACH_SAFE (im, mnext, &LIST_ENTRY(it, struct client_group, link)->members)
            count++;
    return count;
}

static void print_listener(FILE *out, const char *name, const struct listener *l)
{
    fprintf(out, "%s.connections_ever %" PRIu64 "\n%s.connections_open %u\n", name, l->accepted, name, l->open);
}

static const char *run_stats(struct devbroker *dev, char *args, FILE *out)
{
    (void)args;
    print_listener(out, "nameserver", &dev->nameserver);
    print_requests(out, "nameserver", dev->nameserver_requests);
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        struct broker *b = &dev->brokers[i];
        print_listener(out, b->name, &b->listener);
        fprintf(out,
                "%s.stored %" PRIu64 "\n%s.stored_body_bytes %" PRIu64 "\n%s.producer_registrations_ever %" PRIu64
                "\n%s.producer_registrations %u\n%s.consumer_registrations_ever %" PRIu64
                "\n%s.consumer_registrations %u\n%s.registrations_expired %" PRIu64 "\n",
                b->name, b->stored_messages, b->name, b->stored_bytes, b->name, b->clients.producer_registrations, b->name,
                members_of(&b->clients.producer_groups), b->name, b->clients.consumer_registrations, b->name,
                members_of(&b->clients.consumer_groups), b->name, b->clients.expiries);
        print_requests(out, b->name, b->requests);
    }
    fprintf(out, "journal.lost %" PRIu64 "\n", dev->journal.lost);
    return NULL;
}

static void print_connection(void *ctx, struct connection *c)
{
    const struct broker *b = c->listener->owner;
    fprintf(ctx, "connection\t%" PRIu64 "\t%s\t%s\tframes=%" PRIu64 "\n", c->number, b ? b->name : "nameserver", connection_peer(c),
            c->frames);
}

static void print_groups(FILE *out, const char *kind, const struct broker *b, struct list_link *groups)
{
    LIST_FOR_EACH_SAFE (it, next, groups) {
        struct client_group *g = LIST_ENTRY(it, struct client_group, link);
        LIST_FOR_EACH_SAFE (im, mnext, &g->members) {
            const struct client_info *info = LIST_ENTRY(im, struct client_member, link)->info;
            char group[1024], client[1024];
            text_escape(group, sizeof(group), g->name, strlen(g->name));
            text_escape(client, sizeof(client), info->client_id, strlen(info->client_id));
            struct connection *reply_to = clients_route(&b->clients, span_of(info->client_id));
            fprintf(out, "%s\t%" PRIu64 "\t%s\t%s\t%s\treplies_to=%" PRIu64 "\n", kind, info->connection->number, b->name, group, client,
                    reply_to ? reply_to->number : 0);
        }
    }
}

static const char *run_connections(struct devbroker *dev, char *args, FILE *out)
{
    (void)args;
    server_each_connection(dev->server, print_connection, out);
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        struct broker *b = &dev->brokers[i];
        print_groups(out, "producer", b, &b->clients.producer_groups);
        print_groups(out, "consumer", b, &b->clients.consumer_groups);
    }
    return NULL;
}

static void set_topic(struct broker *b, const char *name, int32_t queues, int32_t perm)
{
    struct topic *t = broker_ensure_topic(b, span_of(name), queues, perm);
    if (!t)
        return;
    t->read_queue_nums = t->write_queue_nums = queues;
    t->perm = perm;
}

static const char *run_topic(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    char *save = NULL;
    const char *name = strtok_r(args, " ", &save), *count = strtok_r(NULL, " ", &save);
    const char *perm_text = strtok_r(NULL, " ", &save), *where = strtok_r(NULL, " ", &save);
    int64_t queues, perm = PERM_READ | PERM_WRITE;
    if (!name || strlen(name) > TOPIC_NAME_MAX || !count || !text_parse_i64(count, 0, TOPIC_QUEUES_MAX, &queues) ||
        (perm_text && !text_parse_i64(perm_text, 0, 15, &perm)))
        return "topic NAME QUEUES [PERM [BROKER]]";
    bool found = false;
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        if (!where || strcmp(where, dev->brokers[i].name) == 0) {
            set_topic(&dev->brokers[i], name, (int32_t)queues, (int32_t)perm);
            found = true;
        }
    return found ? NULL : "no such broker";
}

static const char *run_route(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    char *save = NULL;
    const char *how = strtok_r(args, " ", &save), *name = strtok_r(NULL, " ", &save);
    if (!name || (strcmp(how, "on") != 0 && strcmp(how, "off") != 0))
        return "route on|off BROKER";
    for (unsigned i = 0; i < dev->options.broker_count; i++)
        if (strcmp(dev->brokers[i].name, name) == 0) {
            dev->brokers[i].hidden = strcmp(how, "off") == 0;
            return NULL;
        }
    return "no such broker";
}

static const char *run_listen(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    char *save = NULL;
    const char *how = strtok_r(args, " ", &save), *name = strtok_r(NULL, " ", &save);
    struct listener *l = name ? listener_by_name(dev, name) : NULL;
    if (!l || (strcmp(how, "on") != 0 && strcmp(how, "off") != 0))
        return "listen on|off nameserver|BROKER";
    if (strcmp(how, "off") == 0) {
        listener_close(l);
        return NULL;
    }
    int err = l->fd < 0 ? listener_open(l, dev->server, l->owner, l->port) : 0;
    return err ? strerror(-err) : NULL;
}

struct disconnect {
    const struct listener *at; /* NULL: everywhere */
    int64_t number;            /* 0: all */
    bool reset;
};

static void disconnect_one(void *ctx, struct connection *c)
{
    const struct disconnect *d = ctx;
    if ((d->at && d->at != c->listener) || (d->number && (uint64_t)d->number != c->number))
        return;
    if (d->reset)
        connection_reset(c, "control socket");
    else
        connection_close(c, "control socket");
}

static const char *run_disconnect(struct devbroker *dev, char *args, FILE *out)
{
    (void)out;
    char *save = NULL;
    const char *which = strtok_r(args, " ", &save), *how = strtok_r(NULL, " ", &save);
    struct disconnect d = {.reset = how && strcmp(how, "rst") == 0};
    if (!which || (how && !d.reset))
        return "disconnect all|NUMBER|nameserver|BROKER [rst]";
    if (strcmp(which, "all") != 0 && !text_parse_i64(which, 1, INT64_MAX, &d.number) && !(d.at = listener_by_name(dev, which)))
        return "no such connection or broker";
    server_each_connection(dev->server, disconnect_one, &d);
    return NULL;
}

static const char *run_reset(struct devbroker *dev, char *args, FILE *out)
{
    (void)args, (void)out;
    fault_plan_clear(&dev->faults);
    journal_deinit(&dev->journal);
    dev->journal.lost = 0;
    memset(dev->nameserver_requests, 0, sizeof(dev->nameserver_requests));
    for (unsigned i = 0; i < dev->options.broker_count; i++) {
        struct broker *b = &dev->brokers[i];
        memset(b->requests, 0, sizeof(b->requests));
        b->stored_messages = b->stored_bytes = 0;
    }
    return NULL;
}

static const char *run_quit(struct devbroker *dev, char *args, FILE *out)
{
    (void)args, (void)out;
    server_stop(dev->server);
    return NULL;
}

static const struct command commands[] = {
    {"log", run_log},     {"fault", run_fault}, {"faults", run_faults},         {"seed", run_seed},
    {"stats", run_stats}, {"topic", run_topic}, {"listen", run_listen},         {"connections", run_connections},
    {"reset", run_reset}, {"quit", run_quit},   {"disconnect", run_disconnect}, {"route", run_route},
};

static const char *run_line(struct devbroker *dev, char *line, FILE *out)
{
    size_t name_len = strcspn(line, " \t");
    char *args = line + name_len;
    args += strspn(args, " \t");
    for (unsigned i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strlen(commands[i].name) == name_len && memcmp(line, commands[i].name, name_len) == 0)
            return commands[i].run(dev, args, out);
    return "commands: log FILE, fault RULE|clear, faults, seed N, stats, connections, topic NAME QUEUES [PERM [BROKER]], "
           "route on|off BROKER, listen on|off WHERE, disconnect WHICH [rst], reset, quit";
}

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool answer_line(struct session *s, char *line)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return false;
    const char *failure = run_line(s->control->dev, line, out);
    if (failure)
        fprintf(out, "error %s\n", failure);
    else
        fputs("ok\n", out);
    bool sent = fclose(out) == 0 && send_all(s->fd, text, len);
    free(text);
    return sent;
}

static void session_free(struct session *s)
{
    list_unlink(&s->link);
    server_unwatch(s->event);
    close(s->fd);
    free(s);
}

/* Runs the complete lines received so far; false when the session must end. */
static bool run_lines(struct session *s)
{
    char *end;
    while ((end = memchr(s->line, '\n', s->len))) {
        *end = '\0';
        if (end > s->line && end[-1] == '\r')
            end[-1] = '\0';
        if (!answer_line(s, s->line))
            return false;
        size_t used = (size_t)(end - s->line) + 1;
        memmove(s->line, s->line + used, s->len - used);
        s->len -= used;
    }
    return s->len < sizeof(s->line);
}

static void on_session_readable(int fd, short what, void *ctx)
{
    (void)what;
    struct session *s = ctx;
    struct server *server = s->control->dev->server;
    server_turn_begin(server);
    ssize_t n = recv(fd, s->line + s->len, sizeof(s->line) - s->len, MSG_DONTWAIT);
    bool alive = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (n > 0) {
        s->len += (size_t)n;
        alive = run_lines(s);
    }
    if (!alive)
        session_free(s);
    server_turn_end(server);
}

static void on_session(int fd, short what, void *ctx)
{
    (void)what;
    struct control *control = ctx;
    int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (conn < 0)
        return;
    struct timeval patience = {.tv_sec = SEND_TIMEOUT_S};
    setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    struct session *s = calloc(1, sizeof(*s));
    if (!s) {
        close(conn);
        return;
    }
    s->control = control;
    s->fd = conn;
    list_append(&control->sessions, &s->link);
    if (!(s->event = server_watch_fd(control->dev->server, conn, on_session_readable, s)))
        session_free(s);
}

struct control *control_new(struct devbroker *dev, const char *path, int *err)
{
    struct control *control = calloc(1, sizeof(*control));
    *err = -ENOMEM;
    if (!control)
        return NULL;
    control->dev = dev;
    list_init(&control->sessions);
    control->address.sun_family = AF_UNIX;
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!text_copy(control->address.sun_path, sizeof(control->address.sun_path), path, strlen(path))) {
        *err = -ENAMETOOLONG;
        control->address.sun_path[0] = '\0';
        return control_free(control);
    }
    unlink(path);
    if (control->fd < 0 || bind(control->fd, (struct sockaddr *)&control->address, sizeof(control->address)) < 0 ||
        listen(control->fd, 16) < 0) {
        *err = -errno;
        return control_free(control);
    }
    if (!(control->event = server_watch_fd(dev->server, control->fd, on_session, control)))
        return control_free(control);
    *err = 0;
    return control;
}

struct control *control_free(struct control *control)
{
    if (!control)
        return NULL;
    LIST_FOR_EACH_SAFE (it, next, &control->sessions)
        session_free(LIST_ENTRY(it, struct session, link));
    server_unwatch(control->event);
    if (control->fd >= 0) {
        close(control->fd);
        if (control->address.sun_path[0])
            unlink(control->address.sun_path);
    }
    free(control);
    return NULL;
}
