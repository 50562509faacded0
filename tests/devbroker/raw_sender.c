/*
 * rmqhub-raw-sender: how fast a broker takes prepared frames from one bare socket.
 * The yardstick for the hub and for the devbroker: nothing is encoded per message
 * (opaque and UNIQ_KEY are patched in place), replies are counted and their code
 * is looked at. Latencies assume that replies come in the order of the requests,
 * which is true for the devbroker and for a window of 1.
 */
#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEY_DIGITS 8           /* of the UNIQ_KEY, patched per message */
#define OPAQUE_FIRST 100000000 /* nine digits, so that the JSON header has one width */
#define OPAQUE_SPAN 900000000
#define RECEIVE_BYTES ((size_t)1 << 20)

static const char usage[] = "usage: rmqhub-raw-sender --broker IP:PORT [options]\n"
                            "Sends prepared frames to a broker over one socket and prints rate, latency and CPU time per message.\n"
                            "\n"
                            "  --count N        messages (100000)\n"
                            "  --window N       most requests without a reply (512)\n"
                            "  --body-bytes N   (100)\n"
                            "  --topic NAME     (RawSender)\n"
                            "  --header binary|json   header encoding (binary, as the hub)\n"
                            "  --json           print one JSON object\n";

struct settings {
    struct sockaddr_in broker;
    int64_t count, window, body_bytes;
    const char *topic;
    enum serialize_type header;
    bool json;
};

/* Frames of equal length, one after the other. */
struct prepared {
    char *data;
    size_t frame_len, opaque_at, key_at;
    enum serialize_type header;
};

struct run {
    const struct settings *settings;
    struct prepared frames;
    int fd;
    char *in;
    size_t in_len;
    int64_t sent, received;
    uint64_t *sent_ns;    /* by message modulo window */
    uint32_t *latency_ns; /* by message */
};

static void die(const char *what)
{
    fprintf(stderr, "rmqhub-raw-sender: %s\n", what);
    exit(1);
}

static void die_errno(const char *what)
{
    fprintf(stderr, "rmqhub-raw-sender: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocate(size_t count, size_t bytes)
{
    void *p = calloc(count, bytes);
    if (!p)
        die("out of memory");
    return p;
}

static void prepare(struct prepared *p, const struct settings *s)
{
    static const char key[] = "7F0000010001A1B2C3D4E5F600000000";
    char properties[128];
    int n = snprintf(properties, sizeof(properties), "UNIQ_KEY\x01%s\x02WAIT\x01true", key);
    struct send_message_header header = {.producer_group = SPAN_LITERAL("raw-sender"),
                                         .topic = span_of(s->topic),
                                         .default_topic = SPAN_LITERAL(TOPIC_AUTO_CREATE),
                                         .default_topic_queue_nums = 4,
                                         .born_timestamp_ms = wall_now_ms(),
                                         .properties = {properties, (size_t)n},
                                         .max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT};
    struct remoting_identity identity = {
        .serialize_type = s->header, .language = LANGUAGE_CPP, .version = PROTOCOL_VERSION_4_9_3, .opaque = OPAQUE_FIRST};
    size_t cap = send_message_frame_bound(s->header, &header, (size_t)s->body_bytes);
    char *frame = allocate(1, cap);
    char *body = send_message_encode(frame, cap, &identity, &header, (size_t)s->body_bytes, &p->frame_len);
    if (!body)
        die("the frame does not fit the protocol's limits");
    memset(body, 'x', (size_t)s->body_bytes);
    const char *key_text = memmem(frame, p->frame_len, key, sizeof(key) - 1);
    const char *opaque_text = memmem(frame, p->frame_len, "\"opaque\":100000000", 18);
    p->header = s->header;
    p->key_at = (size_t)(key_text - frame) + sizeof(key) - 1 - KEY_DIGITS;
    p->opaque_at = s->header == SERIALIZE_JSON ? (size_t)(opaque_text - frame) + 9 : 13; /* after lengths, code, language, version */
    p->data = allocate((size_t)s->window, p->frame_len);
    for (int64_t i = 0; i < s->window; i++)
        memcpy(p->data + (size_t)i * p->frame_len, frame, p->frame_len);
    free(frame);
}

static void patch(const struct prepared *p, char *frame, int64_t message)
{
    uint32_t opaque = OPAQUE_FIRST + (uint32_t)(message % OPAQUE_SPAN);
    for (unsigned i = 0; i < KEY_DIGITS; i++)
        frame[p->key_at + i] = "0123456789ABCDEF"[(uint32_t)message >> (4 * (KEY_DIGITS - 1 - i)) & 15];
    if (p->header == SERIALIZE_ROCKETMQ) {
        be32_store(frame + p->opaque_at, opaque);
        return;
    }
    for (unsigned i = 9; i-- > 0; opaque /= 10)
        frame[p->opaque_at + i] = (char)('0' + opaque % 10);
}

static void send_more(struct run *r)
{
    const struct settings *s = r->settings;
    int64_t room = s->window - (r->sent - r->received), left = s->count - r->sent;
    int64_t n = room < left ? room : left;
    for (int64_t i = 0; i < n; i++)
        patch(&r->frames, r->frames.data + (size_t)i * r->frames.frame_len, r->sent + i);
    uint64_t now_ns = mono_now_ns();
    for (int64_t i = 0; i < n; i++)
        r->sent_ns[(r->sent + i) % s->window] = now_ns;
    size_t len = (size_t)n * r->frames.frame_len, at = 0;
    while (at < len) {
        ssize_t done = send(r->fd, r->frames.data + at, len - at, MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR)
            die_errno("send");
        at += done > 0 ? (size_t)done : 0;
    }
    r->sent += n;
}

static void check_reply(const char *frame, size_t len)
{
    static const char good[] = "{\"code\":0,";
    if (len > 8 + sizeof(good) && memcmp(frame + 8, good, sizeof(good) - 1) == 0)
        return;
    char scratch[REMOTING_SCRATCH_BYTES];
    struct send_response response;
    if (send_response_decode(frame, len, &response, scratch, sizeof(scratch)) < 0)
        die("a reply cannot be decoded");
    if (response.code != RESPONSE_SUCCESS) {
        fprintf(stderr, "rmqhub-raw-sender: reply code %d: %.*s\n", response.code, (int)response.remark.len,
                response.remark.data ? response.remark.data : "");
        exit(1);
    }
}

static void receive(struct run *r)
{
    ssize_t n = recv(r->fd, r->in + r->in_len, RECEIVE_BYTES - r->in_len, 0);
    if (n == 0)
        die("the broker closed the connection");
    if (n < 0 && errno == EINTR)
        return;
    if (n < 0)
        die_errno("recv");
    r->in_len += (size_t)n;
    uint64_t now_ns = mono_now_ns();
    size_t at = 0, frame_len;
    while (remoting_frame_split(r->in + at, r->in_len - at, &frame_len) == 0) {
        check_reply(r->in + at, frame_len);
        uint64_t took_ns = now_ns - r->sent_ns[r->received % r->settings->window];
        r->latency_ns[r->received++] = took_ns < UINT32_MAX ? (uint32_t)took_ns : UINT32_MAX;
        at += frame_len;
        if (r->received == r->sent)
            break;
    }
    memmove(r->in, r->in + at, r->in_len - at);
    r->in_len -= at;
}

static uint64_t cpu_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report(struct run *r, uint64_t wall_ns, uint64_t used_ns)
{
    const struct settings *s = r->settings;
    double n = (double)s->count, rate = n * 1e9 / (double)wall_ns;
    qsort(r->latency_ns, (size_t)s->count, sizeof(*r->latency_ns), by_value);
    size_t middle = (size_t)s->count / 2, late = (size_t)s->count * 99 / 100;
    double p50 = r->latency_ns[middle] / 1e3, p99 = r->latency_ns[late] / 1e3;
    double cpu_ns = (double)used_ns / n;
    if (s->json)
        printf("{\"count\":%lld,\"window\":%lld,\"rate\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_ns\":%.0f}\n", (long long)s->count,
               (long long)s->window, rate, p50, p99, cpu_ns);
    else
        printf("%lld messages, window %lld: %.0f msg/s, p50 %.1f us, p99 %.1f us, %.0f ns CPU per message\n", (long long)s->count,
               (long long)s->window, rate, p50, p99, cpu_ns);
}

static int64_t number(const char *text, int64_t min, int64_t max)
{
    int64_t n;
    if (!text_parse_i64(text, min, max, &n)) {
        fprintf(stderr, "rmqhub-raw-sender: %s: a number from %lld to %lld is needed\n", text, (long long)min, (long long)max);
        exit(2);
    }
    return n;
}

static void parse_address(struct settings *s, char *text)
{
    char *colon = strrchr(text, ':');
    if (colon)
        *colon = '\0';
    s->broker.sin_family = AF_INET;
    if (!colon || inet_pton(AF_INET, text, &s->broker.sin_addr) != 1)
        die("--broker needs IP:PORT");
    s->broker.sin_port = htons((uint16_t)number(colon + 1, 1, 65535));
}

static void parse_arguments(struct settings *s, int argc, char **argv)
{
    static const struct option options[] = {{"broker", required_argument, NULL, 'b'},
                                            {"count", required_argument, NULL, 'n'},
                                            {"window", required_argument, NULL, 'w'},
                                            {"body-bytes", required_argument, NULL, 's'},
                                            {"topic", required_argument, NULL, 't'},
                                            {"header", required_argument, NULL, 'e'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    *s = (struct settings){.count = 100000, .window = 512, .body_bytes = 100, .topic = "RawSender", .header = SERIALIZE_ROCKETMQ};
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (id) {
        case 'b':
            parse_address(s, optarg);
            break;
        case 'n':
            s->count = number(optarg, 1, 1000000000);
            break;
        case 'w':
            s->window = number(optarg, 1, 16384);
            break;
        case 's':
            s->body_bytes = number(optarg, 1, 4 << 20);
            break;
        case 't':
            s->topic = optarg;
            break;
        case 'e':
            s->header = strcmp(optarg, "json") == 0 ? SERIALIZE_JSON : SERIALIZE_ROCKETMQ;
            break;
        case 'j':
            s->json = true;
            break;
        default:
            fputs(usage, id == 'h' ? stdout : stderr);
            exit(id == 'h' ? 0 : 2);
        }
    if (!s->broker.sin_port)
        die("--broker is needed");
}

int main(int argc, char **argv)
{
    struct settings s;
    parse_arguments(&s, argc, argv);
    struct run r = {.settings = &s, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int one = 1;
    if (r.fd < 0 || connect(r.fd, (struct sockaddr *)&s.broker, sizeof(s.broker)) < 0)
        die_errno("connect");
    setsockopt(r.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    prepare(&r.frames, &s);
    r.in = allocate(1, RECEIVE_BYTES);
    r.sent_ns = allocate((size_t)s.window, sizeof(*r.sent_ns));
    r.latency_ns = allocate((size_t)s.count, sizeof(*r.latency_ns));
    uint64_t wall_from = mono_now_ns(), cpu_from = cpu_now_ns();
    while (r.received < s.count) {
        send_more(&r);
        receive(&r);
    }
    report(&r, mono_now_ns() - wall_from, cpu_now_ns() - cpu_from);
    free(r.frames.data);
    free(r.in);
    free(r.sent_ns);
    free(r.latency_ns);
    close(r.fd);
    return 0;
}
