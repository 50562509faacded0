#include "tests/unit/hub/net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/protocol/codes.h"
#include "hub/protocol/heartbeat_data.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define FAKE_IN_BYTES (1u << 20)

/* ---- servers ---- */

void fake_server_listen(struct fake_server *s)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
    s->port = ntohs(addr.sin_port);
    snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", s->port);
}

void fake_server_unlisten(struct fake_server *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void fake_server_open(struct fake_server **out)
{
    struct fake_server *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        s->conns[i].fd = -1;
    fake_server_listen(s);
    *out = s;
}

static void close_conn(struct fake_conn *c, bool reset)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (c->fd < 0)
        return;
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(c->fd);
    free(c->in);
    *c = (struct fake_conn){.fd = -1};
}

void fake_server_drop_conns(struct fake_server *s, bool reset)
{
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        close_conn(&s->conns[i], reset);
}

void fake_server_close(struct fake_server *s)
{
    if (!s)
        return;
    fake_server_drop_conns(s, false);
    fake_server_unlisten(s);
    free(s);
}

unsigned fake_server_open_conns(const struct fake_server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        n += s->conns[i].fd >= 0;
    return n;
}

struct fake_conn *fake_server_last_conn(struct fake_server *s)
{
    struct fake_conn *last = NULL;
    for (unsigned i = 0; i < FAKE_CONNS; i++)
        if (s->conns[i].fd >= 0 && (!last || s->conns[i].number > last->number))
            last = &s->conns[i];
    return last;
}

void fake_server_add_topic(struct fake_server *s, const char *topic)
{
    snprintf(s->topics[s->topic_count++], sizeof(s->topics[0]), "%s", topic);
}

bool fake_request_names(const struct fake_request *heartbeat, const char *group)
{
    size_t len = strlen(group);
    for (const char *at = heartbeat ? heartbeat->text : ""; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == len && memcmp(at, group, len) == 0)
            return true;
    return false;
}

unsigned fake_server_count(const struct fake_server *s, int32_t code)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->log_count; i++)
        n += code == 0 || s->log[i].code == code;
    return n;
}

const struct fake_request *fake_server_last(const struct fake_server *s, int32_t code)
{
    for (unsigned i = s->log_count; i-- > 0;)
        if (s->log[i].code == code)
            return &s->log[i];
    return NULL;
}

void fake_server_send(struct fake_conn *c, const void *data, size_t len)
{
    if (c->fd >= 0)
        assert_int_equal(send(c->fd, data, len, MSG_NOSIGNAL), (int)len);
}

void fake_server_reply(struct fake_conn *c, int32_t opaque, int32_t code, const char *remark, const struct ext_field *ext,
                       unsigned ext_count, struct span body)
{
    char buf[8192];
    size_t len;
    struct remoting_encoder e;
    remoting_encode_begin(&e, buf, sizeof(buf), SERIALIZE_JSON, code, LANGUAGE_JAVA, PROTOCOL_VERSION_4_9_3, opaque,
                          REMOTING_FLAG_RESPONSE);
    if (remark)
        remoting_encode_remark(&e, span_of(remark));
    for (unsigned i = 0; i < ext_count; i++)
        remoting_encode_ext(&e, ext[i].key.data, ext[i].value);
    void *at = remoting_encode_body(&e, body.len, &len);
    assert_non_null(at);
    if (body.len)
        memcpy(at, body.data, body.len);
    fake_server_send(c, buf, len);
}

void fake_server_reply_send(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd, int32_t code)
{
    char offset[24];
    struct span queue = remoting_command_ext(cmd, "e");
    snprintf(offset, sizeof(offset), "%lld", (long long)s->next_offset++);
    struct ext_field ext[] = {{SPAN_LITERAL("msgId"), SPAN_LITERAL("7F000001000051AF0000000020F5634C")},
                              {SPAN_LITERAL("queueId"), queue},
                              {SPAN_LITERAL("queueOffset"), span_of(offset)}};
    bool stored = response_code_is_stored(code);
    fake_server_reply(c, cmd->opaque, code, code ? "scripted" : NULL, ext, stored ? 3 : 0, (struct span){"", 0});
}

static void copy_text(char *dst, size_t cap, struct span text)
{
    snprintf(dst, cap, "%.*s", (int)text.len, text.data ? text.data : "");
}

static void note_heartbeat(struct fake_request *r, const struct remoting_command *cmd)
{
    struct heartbeat_data *hb = malloc(sizeof(*hb));
    char scratch[4096];
    size_t used = 0;
    assert_int_equal(heartbeat_data_decode(hb, cmd->body.data, cmd->body.len, scratch, sizeof(scratch)), 0);
    copy_text(r->client_id, sizeof(r->client_id), hb->client_id);
    r->groups = hb->producer_group_count;
    for (unsigned i = 0; i < hb->producer_group_count && used < sizeof(r->text); i++)
        used += (size_t)snprintf(r->text + used, sizeof(r->text) - used, "%s%.*s", i ? "," : "", (int)hb->producer_groups[i].len,
                                 hb->producer_groups[i].data);
    free(hb);
}

static struct fake_request *note(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd)
{
    assert_true(s->log_count < FAKE_LOG);
    struct fake_request *r = &s->log[s->log_count++];
    *r = (struct fake_request){.code = cmd->code, .opaque = cmd->opaque, .flag = cmd->flag, .conn = c->number, .body_len = cmd->body.len};
    int64_t queue;
    switch (cmd->code) {
    case REQUEST_HEART_BEAT:
        note_heartbeat(r, cmd);
        break;
    case REQUEST_UNREGISTER_CLIENT:
        copy_text(r->text, sizeof(r->text), remoting_command_ext(cmd, "producerGroup"));
        copy_text(r->client_id, sizeof(r->client_id), remoting_command_ext(cmd, "clientID"));
        break;
    case REQUEST_GET_ROUTEINFO_BY_TOPIC:
        copy_text(r->text, sizeof(r->text), remoting_command_ext(cmd, "topic"));
        break;
    case REQUEST_SEND_MESSAGE_V2:
        copy_text(r->text, sizeof(r->text), remoting_command_ext(cmd, "b"));
        if (remoting_command_ext_i64(cmd, "e", &queue))
            r->queue_id = (int32_t)queue;
        break;
    default:
        break;
    }
    return r;
}

static bool topic_exists(const struct fake_server *s, const char *topic)
{
    for (unsigned i = 0; i < s->topic_count; i++)
        if (strcmp(s->topics[i], topic) == 0)
            return true;
    return false;
}

static void answer(struct fake_server *s, struct fake_conn *c, const struct remoting_command *cmd, const struct fake_request *r)
{
    static const struct span none = {"", 0};
    switch (cmd->code) {
    case REQUEST_GET_ROUTEINFO_BY_TOPIC:
        if (s->route_code)
            fake_server_reply(c, cmd->opaque, s->route_code, "scripted", NULL, 0, none);
        else if (topic_exists(s, r->text))
            fake_server_reply(c, cmd->opaque, 0, NULL, NULL, 0, span_of(s->route_body));
        else
            fake_server_reply(c, cmd->opaque, RESPONSE_TOPIC_NOT_EXIST, "No topic route info in name server", NULL, 0, none);
        break;
    case REQUEST_SEND_MESSAGE_V2:
        if (!(cmd->flag & REMOTING_FLAG_ONEWAY))
            fake_server_reply_send(s, c, cmd, s->send_code);
        break;
    default:
        if (!(cmd->flag & (REMOTING_FLAG_ONEWAY | REMOTING_FLAG_RESPONSE)))
            fake_server_reply(c, cmd->opaque, 0, NULL, NULL, 0, none);
    }
}

static void handle(struct fake_server *s, struct fake_conn *c, const uint8_t *frame, size_t len)
{
    struct remoting_command cmd;
    char scratch[REMOTING_SCRATCH_BYTES];
    assert_int_equal(remoting_command_decode(&cmd, frame, len, scratch, sizeof(scratch)), 0);
    struct fake_request *r = note(s, c, &cmd);
    if (s->hook && s->hook(s, c, &cmd))
        return;
    if (s->mute || (s->mute_code && s->mute_code == cmd.code))
        return;
    r->answered = true;
    answer(s, c, &cmd, r);
}

static bool poll_conn(struct fake_server *s, struct fake_conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, FAKE_IN_BYTES - c->in_len, MSG_DONTWAIT);
    if (n < 0)
        return errno != EAGAIN && (close_conn(c, false), true);
    if (n == 0) {
        close_conn(c, false);
        return true;
    }
    c->in_len += (size_t)n;
    size_t at = 0, frame_len;
    while (c->fd >= 0 && remoting_frame_split(c->in + at, c->in_len - at, &frame_len) == 0) {
        handle(s, c, c->in + at, frame_len);
        at += frame_len;
    }
    if (c->fd >= 0) {
        memmove(c->in, c->in + at, c->in_len - at);
        c->in_len -= at;
    }
    return true;
}

bool fake_server_poll(struct fake_server *s)
{
    bool moved = false;
    int fd = s->fd >= 0 ? accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    for (unsigned i = 0; fd >= 0 && i < FAKE_CONNS; i++) {
        if (s->conns[i].fd >= 0)
            continue;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        s->conns[i] = (struct fake_conn){.fd = fd, .number = ++s->accepted, .in = malloc(FAKE_IN_BYTES)};
        moved = true;
        break;
    }
    for (unsigned i = 0; i < FAKE_CONNS && !s->stop_reading; i++)
        if (s->conns[i].fd >= 0)
            moved |= poll_conn(s, &s->conns[i]);
    return moved;
}

/* ---- the fixture ---- */

static uint64_t fake_monotonic(void *ctx)
{
    return ((struct net_fixture *)ctx)->now_ns;
}

static int64_t fake_realtime(void *ctx)
{
    return ((struct net_fixture *)ctx)->wall_ms;
}

static int cluster_of(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr,
                      const struct client_config **config)
{
    struct net_fixture *fx = ctx;
    if (name && strcmp(name, "default") != 0)
        return -ENOENT;
    *cluster_name = "default";
    *namesrv_addr = fx->namesrv_addr;
    *config = &fx->config;
    return 0;
}

static void on_changed(void *ctx)
{
    ((struct net_fixture *)ctx)->changes++;
}

void net_set_route(struct net_fixture *fx, unsigned brokers, unsigned queues)
{
    char qd[512] = "", bd[512] = "";
    for (unsigned i = 0; i < brokers; i++) {
        size_t a = strlen(qd), b = strlen(bd);
        snprintf(qd + a, sizeof(qd) - a,
                 "%s{\"brokerName\":\"broker-%c\",\"perm\":6,\"readQueueNums\":%u,\"topicSysFlag\":0,\"writeQueueNums\":%u}", i ? "," : "",
                 (char)('a' + i), queues, queues);
        snprintf(bd + b, sizeof(bd) - b, "%s{\"brokerAddrs\":{0:\"%s\"},\"brokerName\":\"broker-%c\",\"cluster\":\"C\"}", i ? "," : "",
                 fx->brokers[i]->address, (char)('a' + i));
    }
    snprintf(fx->route_body, sizeof(fx->route_body), "{\"brokerDatas\":[%s],\"filterServerTable\":{},\"queueDatas\":[%s]}", bd, qd);
}

void net_setup(struct net_fixture *fx)
{
    memset(fx, 0, sizeof(*fx));
    fx->now_ns = 1000 * NS_PER_S;
    fx->wall_ms = INT64_C(1700000000000);
    struct clock_source source = {fake_monotonic, fake_realtime, fx};
    static struct clock_source kept;
    kept = source;
    clock_set_source(&kept);
    log_configure(LOG_LEVEL_ERROR, false);
    client_config_init(&fx->config);
    snprintf(fx->config.client_ip, sizeof(fx->config.client_ip), "192.0.2.2");
    for (unsigned i = 0; i < 3; i++) {
        fake_server_open(&fx->brokers[i]);
        fake_server_open(&fx->name_servers[i]);
        fx->name_servers[i]->route_body = fx->route_body;
        fake_server_add_topic(fx->name_servers[i], "TBW102");
        fake_server_add_topic(fx->name_servers[i], "T");
    }
    snprintf(fx->namesrv_addr, sizeof(fx->namesrv_addr), "%s", fx->name_servers[0]->address);
    net_set_route(fx, 1, 2);
    assert_int_equal(event_loop_new(&fx->loop), 0);
}

struct mq_client_instance *net_instance(struct net_fixture *fx)
{
    struct mq_client_manager_ops ops = {.cluster_of = cluster_of, .changed = on_changed, .route_store = fx->store, .ctx = fx};
    struct instance_key key = {.instance_name = "unit"};
    if (!fx->manager)
        assert_int_equal(mq_client_manager_new(&fx->manager, fx->loop, &ops), 0);
    assert_int_equal(mq_client_manager_get_or_create(fx->manager, &key, &fx->instance, NULL), 0);
    return fx->instance;
}

void net_teardown(struct net_fixture *fx)
{
    mq_client_manager_free(fx->manager);
    event_loop_free(fx->loop);
    for (unsigned i = 0; i < 3; i++) {
        fake_server_close(fx->brokers[i]);
        fake_server_close(fx->name_servers[i]);
    }
    clock_set_source(NULL);
}

static bool poll_servers(struct net_fixture *fx)
{
    bool moved = false;
    for (unsigned i = 0; i < 3; i++) {
        moved |= fake_server_poll(fx->brokers[i]);
        moved |= fake_server_poll(fx->name_servers[i]);
    }
    return moved;
}

void net_pump(struct net_fixture *fx)
{
    uint64_t events = 0;
    for (unsigned quiet = 0; quiet < 3; quiet++) {
        assert_int_equal(event_loop_round(fx->loop, false), 0);
        uint64_t seen = event_loop_counters(fx->loop)->io_events;
        if (poll_servers(fx) || seen != events)
            quiet = 0;
        events = seen;
    }
}

void net_pump_client(struct net_fixture *fx, struct remoting_client *client)
{
    for (unsigned i = 0; i < 4; i++) { /* an answer may lead to new requests */
        remoting_client_flush(client);
        net_pump(fx);
    }
}

void net_wait_for_the_resolver(const struct channel *channel, void (*pump)(void))
{
    for (unsigned i = 0; channel->state == CHANNEL_RESOLVING && i < 20000; i++) {
        pump();
        usleep(500);
    }
    pump();
}

struct producer *net_join(struct net_fixture *fx, const char *group)
{
    struct producer *producer = NULL;
    const char *why = NULL;
    if (producer_acquire(net_instance(fx), span_of(group), 1000, &producer, &why) != 0)
        fail_msg("%s: %s", group, why ? why : "no reason");
    return producer;
}

struct topic_entry *net_topic(struct net_fixture *fx, const char *name)
{
    struct topic_entry *topic = topic_entry_acquire(net_instance(fx), span_of(name), NULL);
    assert_non_null(topic);
    net_pump(fx);
    return topic;
}

struct topic_entry *net_connect(struct net_fixture *fx)
{
    struct topic_entry *topic = net_topic(fx, "T");
    assert_int_equal(fake_server_open_conns(fx->brokers[0]), 1);
    return topic;
}

static void step(struct net_fixture *fx, uint64_t ms)
{
    fx->now_ns += ms * NS_PER_MS;
    fx->wall_ms += (int64_t)ms;
    net_pump(fx);
}

void net_advance(struct net_fixture *fx, uint64_t ms)
{
    while (ms > 0) {
        uint64_t one = ms > 200 ? 25 : ms > 5 ? 5 : 1;
        step(fx, one);
        ms -= one;
    }
}

void net_skip(struct net_fixture *fx, uint64_t ms)
{
    for (; ms > 500; ms -= 500)
        step(fx, 500);
    step(fx, ms);
}

static void on_complete(struct send_request *request, const struct send_outcome *outcome)
{
    struct net_send *send = (struct net_send *)request;
    send->outcome = *outcome;
    send->completions++;
    snprintf(send->reason, sizeof(send->reason), "%s", outcome->reason ? outcome->reason : "");
    snprintf(send->broker, sizeof(send->broker), "%s", outcome->broker_name ? outcome->broker_name : "");
    send->outcome.reason = send->reason;
}

void net_send_init(struct net_send *send, struct net_fixture *fx, struct producer *producer, struct topic_entry *topic)
{
    const char *why;
    memset(send, 0, sizeof(*send));
    struct span group = {producer->group, producer->group_len};
    assert_int_equal(producer_settings_init(&send->settings, &fx->config, group, SPAN_LITERAL(""), 0, 0, &why), 0);
    send->request = (struct send_request){.producer = producer,
                                          .settings = &send->settings,
                                          .topic = topic,
                                          .properties = "UNIQ_KEY\1"
                                                        "A\2WAIT\1true",
                                          .properties_len = 20,
                                          .body = "hello",
                                          .body_len = 5,
                                          .queue_id = -1,
                                          .mode = SEND_SYNC,
                                          .taken_ns = fx->now_ns,
                                          .deadline_ns = fx->now_ns + 3 * NS_PER_S,
                                          .complete = on_complete};
}

void black_hole_open(struct black_hole *hole)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    hole->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(hole->fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(listen(hole->fd, 0), 0);
    assert_int_equal(getsockname(hole->fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(hole->address, sizeof(hole->address), "127.0.0.1:%u", ntohs(addr.sin_port));
    for (unsigned i = 0; i < BLACK_HOLE_FILL; i++) {
        hole->fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_true(connect(hole->fill[i], (struct sockaddr *)&addr, len) == 0 || errno == EINPROGRESS);
    }
}

void black_hole_close(struct black_hole *hole)
{
    for (unsigned i = 0; i < BLACK_HOLE_FILL; i++)
        close(hole->fill[i]);
    close(hole->fd);
}
