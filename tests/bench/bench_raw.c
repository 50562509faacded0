/*
 * The same request as the hub sends, as one prepared frame on one bare socket: what server and kernel cost alone.
 *   bench_raw PORT COUNT BODY_BYTES WINDOW      WINDOW 1: latency of one after the other; prints one line of name=value
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"

#define IN_BYTES (256 * 1024)
#define FRAMES_MAX 512

struct raw {
    int fd;
    char *frames; /* FRAMES_MAX copies of the same frame, to be written in one call */
    size_t frame_len;
    char in[IN_BYTES];
    size_t in_len;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void raw_connect(struct raw *raw, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    raw->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (raw->fd < 0 || connect(raw->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail("bench_raw: connect");
    setsockopt(raw->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void raw_prepare(struct raw *raw, size_t body_bytes)
{
    static const char properties[] = "UNIQ_KEY\001"
                                     "7F0000010000000000000000000000AB"
                                     "\002WAIT\001true\002";
    struct send_message_header header = {.producer_group = SPAN_LITERAL("bench"),
                                         .topic = SPAN_LITERAL("Bench"),
                                         .default_topic = SPAN_LITERAL("TBW102"),
                                         .properties = SPAN_LITERAL(properties),
                                         .born_timestamp_ms = wall_now_ms(),
                                         .default_topic_queue_nums = 4,
                                         .queue_id = 0,
                                         .max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT};
    struct remoting_identity identity = {
        .serialize_type = SERIALIZE_JSON, .language = LANGUAGE_CPP, .version = PROTOCOL_VERSION_4_9_3, .opaque = 7};
    size_t cap = send_message_frame_bound(identity.serialize_type, &header, body_bytes);
    char *frame = malloc(cap);
    char *body = frame ? send_message_encode(frame, cap, &identity, &header, body_bytes, &raw->frame_len) : NULL;
    raw->frames = body ? malloc(raw->frame_len * FRAMES_MAX) : NULL;
    if (!raw->frames) {
        fputs("bench_raw: cannot prepare the frame\n", stderr);
        exit(1);
    }
    memset(body, 'x', body_bytes);
    for (unsigned i = 0; i < FRAMES_MAX; i++)
        memcpy(raw->frames + i * raw->frame_len, frame, raw->frame_len);
    free(frame);
}

static void raw_write(struct raw *raw, uint64_t frames)
{
    size_t left = frames * raw->frame_len;
    for (const char *from = raw->frames; left > 0;) {
        ssize_t n = send(raw->fd, from, left, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            fail("bench_raw: send");
        if (n > 0) {
            from += n;
            left -= (size_t)n;
        }
    }
}

/* Blocks until at least one reply came; returns how many. */
static uint64_t raw_read(struct raw *raw)
{
    uint64_t replies = 0;
    while (replies == 0) {
        ssize_t n = recv(raw->fd, raw->in + raw->in_len, sizeof(raw->in) - raw->in_len, 0);
        if (n <= 0)
            fail("bench_raw: recv");
        raw->in_len += (size_t)n;
        size_t at = 0, len = 0;
        while (remoting_frame_split(raw->in + at, raw->in_len - at, &len) == 0) {
            at += len;
            replies++;
        }
        memmove(raw->in, raw->in + at, raw->in_len - at);
        raw->in_len -= at;
    }
    return replies;
}

/* Keeps between half a window and a window unanswered, so that both sides work in batches. */
static void raw_stream(struct raw *raw, uint64_t count, uint64_t window)
{
    uint64_t sent = 0, answered = 0;
    while (answered < count) {
        uint64_t room = window - (sent - answered);
        if (sent < count && room >= (window + 1) / 2) {
            uint64_t frames = room < count - sent ? room : count - sent;
            raw_write(raw, frames);
            sent += frames;
        }
        answered += raw_read(raw);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_latency(struct raw *raw, uint64_t count)
{
    uint64_t *spent_ns = calloc(count, sizeof(*spent_ns));
    if (!spent_ns)
        fail("bench_raw");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = mono_now_ns();
        raw_write(raw, 1);
        raw_read(raw);
        spent_ns[i] = mono_now_ns() - start;
    }
    qsort(spent_ns, count, sizeof(*spent_ns), compare);
    printf("p50_us=%.1f p99_us=%.1f\n", (double)spent_ns[count / 2] / 1000.0, (double)spent_ns[count * 99 / 100] / 1000.0);
    free(spent_ns);
}

int main(int argc, char **argv)
{
    static struct raw raw;
    uint64_t count = argc == 5 ? strtoull(argv[2], NULL, 10) : 0, window = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
    if (count == 0 || window == 0 || window > FRAMES_MAX) {
        fputs("usage: bench_raw PORT COUNT BODY_BYTES WINDOW(1-512)\n", stderr);
        return 2;
    }
    raw_connect(&raw, (uint16_t)strtoul(argv[1], NULL, 10));
    raw_prepare(&raw, strtoul(argv[3], NULL, 10));
    raw_stream(&raw, 200, 1);
    if (window == 1) {
        print_latency(&raw, count);
    } else {
        uint64_t start = mono_now_ns();
        raw_stream(&raw, count, window);
        printf("seconds=%.6f\n", (double)(mono_now_ns() - start) / 1e9);
    }
    free(raw.frames);
    close(raw.fd);
    return 0;
}
