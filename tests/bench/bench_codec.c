/*
 * What the codec costs per message: the request of a send written, its reply
 * read. Recorded replies of both servers, and the general decoder beside the
 * fast one. The best of many short rounds, since everything else on the machine
 * only adds. Prints JSON, nanoseconds.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hub/protocol/send_message_header.h"
#include "shm/base/clock.h"

#define ROUNDS 500
#define CALLS 2000

struct bench {
    char frame[4096], out[4096], scratch[4096];
    size_t frame_len;
    struct remoting_identity identity;
    struct send_message_header header;
};

static void load(struct bench *b, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", RMQHUB_FRAMES_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(1);
    }
    b->frame_len = fread(b->frame, 1, sizeof(b->frame), f);
    fclose(f);
}

static int read_reply(struct bench *b)
{
    struct send_response response;
    return send_response_decode(b->frame, b->frame_len, &response, b->scratch, sizeof(b->scratch));
}

static int read_generally(struct bench *b)
{
    struct remoting_command command;
    return remoting_command_decode(&command, b->frame, b->frame_len, b->scratch, sizeof(b->scratch));
}

static int write_request(struct bench *b)
{
    size_t len;
    return send_message_encode(b->out, sizeof(b->out), &b->identity, &b->header, 100, &len) ? 0 : -1;
}

static double best_ns(struct bench *b, int (*call)(struct bench *))
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = mono_now_ns();
        for (int i = 0; i < CALLS; i++)
            if (call(b) < 0)
                exit(1);
        double ns = (double)(mono_now_ns() - start) / CALLS;
        best = ns < best ? ns : best;
    }
    return best;
}

int main(void)
{
    static struct bench b = {
        .identity = {SERIALIZE_ROCKETMQ, LANGUAGE_CPP, PROTOCOL_VERSION_4_9_3, 123456, 0},
        .header = {.producer_group = SPAN_LITERAL("SpecGroup"),
                   .topic = SPAN_LITERAL("SpecTopic"),
                   .default_topic = SPAN_LITERAL(TOPIC_AUTO_CREATE),
                   .properties = SPAN_LITERAL("UNIQ_KEY\x01"
                                              "7F0000010BB863947C6B4D5C7A0A0001\x02WAIT\x01true\x02TAGS\x01TagA\x02KEYS\x01k1 k2"),
                   .born_timestamp_ms = 1795462867134,
                   .default_topic_queue_nums = 4,
                   .max_reconsume_times = MAX_RECONSUME_TIMES_ABSENT},
    };
    printf("{\"send_encode_binary\":%.0f", best_ns(&b, write_request));
    b.identity.serialize_type = SERIALIZE_JSON;
    printf(",\"send_encode_json\":%.0f", best_ns(&b, write_request));
    load(&b, "java_send_v2_resp.bin");
    printf(",\"reply_decode_4.9.3\":%.0f,\"reply_decode_general\":%.0f", best_ns(&b, read_reply), best_ns(&b, read_generally));
    load(&b, "v5_send_v2_ok_resp.bin");
    printf(",\"reply_decode_5.3.3\":%.0f", best_ns(&b, read_reply));
    load(&b, "py_send_v2_missing_topic_resp.bin");
    printf(",\"reply_decode_error\":%.0f}\n", best_ns(&b, read_reply));
    return 0;
}
