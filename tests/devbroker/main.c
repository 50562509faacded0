/*
 * rmqhub-devbroker: a RocketMQ 4.9.3 nameserver and brokers on loopback, for tests.
 * This file reads the command line and says when everything is ready.
 */
#include "shm/base/text.h"
#include "tests/devbroker/devbroker.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: rmqhub-devbroker [options]\n"
                            "A RocketMQ 4.9.3 nameserver and brokers in one process on 127.0.0.1, for tests. Messages live in memory.\n"
                            "\n"
                            "  --port N             nameserver port; brokers take the ports after it (0, the default: free ports)\n"
                            "  --brokers N          number of brokers, 1 to 64 (1)\n"
                            "  --cluster NAME       cluster name (DefaultCluster)\n"
                            "  --queues N           queues of TBW102, the most that a created topic gets (8)\n"
                            "  --no-auto-create     sends do not create topics\n"
                            "  --control PATH       Unix socket for commands: log, fault, stats, connections, ... (see README.md)\n"
                            "  --fault RULE         a scripted fault, as on the control socket; may be repeated\n"
                            "  --seed N             seed of faults with p=... (1)\n"
                            "  --discard            keep no messages, only counters and the log of what was stored\n"
                            "  --no-log             keep no log either\n"
                            "  --binary-replies     answer with binary headers\n"
                            "  --channel-expiry-ms N  drop registrations not refreshed for so long (120000)\n"
                            "  --scan-ms N          look for expired registrations and idle connections so often (10000)\n"
                            "  --idle-ms N          close connections without traffic after that time (120000)\n"
                            "  --sweep-ms N         look for held pulls whose time is over so often (1000; a real broker: 5000)\n"
                            "  --max-message-bytes N  longest stored record (4194304)\n"
                            "  --acl ACCESS:SECRET  brokers execute only what is signed with this key (aclEnable=true)\n"
                            "  --help\n";

enum option_id {
    OPTION_PORT = 256,
    OPTION_BROKERS,
    OPTION_CLUSTER,
    OPTION_QUEUES,
    OPTION_NO_AUTO_CREATE,
    OPTION_CONTROL,
    OPTION_FAULT,
    OPTION_SEED,
    OPTION_DISCARD,
    OPTION_NO_LOG,
    OPTION_BINARY_REPLIES,
    OPTION_CHANNEL_EXPIRY,
    OPTION_SCAN,
    OPTION_IDLE,
    OPTION_SWEEP,
    OPTION_MAX_MESSAGE,
    OPTION_ACL,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, OPTION_PORT},
    {"brokers", required_argument, NULL, OPTION_BROKERS},
    {"cluster", required_argument, NULL, OPTION_CLUSTER},
    {"queues", required_argument, NULL, OPTION_QUEUES},
    {"no-auto-create", no_argument, NULL, OPTION_NO_AUTO_CREATE},
    {"control", required_argument, NULL, OPTION_CONTROL},
    {"fault", required_argument, NULL, OPTION_FAULT},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"discard", no_argument, NULL, OPTION_DISCARD},
    {"no-log", no_argument, NULL, OPTION_NO_LOG},
    {"binary-replies", no_argument, NULL, OPTION_BINARY_REPLIES},
    {"channel-expiry-ms", required_argument, NULL, OPTION_CHANNEL_EXPIRY},
    {"scan-ms", required_argument, NULL, OPTION_SCAN},
    {"idle-ms", required_argument, NULL, OPTION_IDLE},
    {"sweep-ms", required_argument, NULL, OPTION_SWEEP},
    {"max-message-bytes", required_argument, NULL, OPTION_MAX_MESSAGE},
    {"acl", required_argument, NULL, OPTION_ACL},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

#define FAULTS_MAX 64

struct arguments {
    struct devbroker_options options;
    const char *faults[FAULTS_MAX];
    unsigned fault_count;
};

static int64_t number(const char *option, int64_t min, int64_t max)
{
    int64_t n;
    if (!text_parse_i64(optarg, min, max, &n)) {
        fprintf(stderr, "rmqhub-devbroker: --%s %s: a number from %lld to %lld is needed\n", option, optarg, (long long)min,
                (long long)max);
        exit(2);
    }
    return n;
}

static void fail(const char *text)
{
    fprintf(stderr, "rmqhub-devbroker: %s\n", text);
    exit(2);
}

static void take_acl(struct devbroker_options *o)
{
    const char *colon = strchr(optarg, ':');
    if (!colon || colon == optarg || !colon[1] ||
        !text_copy(o->acl_access_key, sizeof(o->acl_access_key), optarg, (size_t)(colon - optarg)) ||
        !text_copy(o->acl_secret_key, sizeof(o->acl_secret_key), colon + 1, strlen(colon + 1)))
        fail("--acl: ACCESS:SECRET is needed, at most 255 bytes each");
}

static void take_option(struct arguments *a, int id, const char *name)
{
    struct devbroker_options *o = &a->options;
    switch (id) {
    case OPTION_PORT:
        o->port = (uint16_t)number(name, 0, 65535 - BROKERS_MAX);
        break;
    case OPTION_BROKERS:
        o->broker_count = (unsigned)number(name, 1, BROKERS_MAX);
        break;
    case OPTION_CLUSTER:
        if (!optarg[0] || !text_copy(o->cluster, sizeof(o->cluster), optarg, strlen(optarg)))
            fail("--cluster: a name of 1 to 63 bytes is needed");
        break;
    case OPTION_QUEUES:
        o->default_queue_nums = (int32_t)number(name, 1, TOPIC_QUEUES_MAX);
        break;
    case OPTION_NO_AUTO_CREATE:
        o->auto_create = false;
        break;
    case OPTION_CONTROL:
        o->control_path = optarg;
        break;
    case OPTION_FAULT:
        if (a->fault_count == FAULTS_MAX)
            fail("--fault: too many");
        a->faults[a->fault_count++] = optarg;
        break;
    case OPTION_SEED:
        o->seed = (uint64_t)number(name, 0, INT64_MAX);
        break;
    case OPTION_DISCARD:
        o->discard = true;
        break;
    case OPTION_NO_LOG:
        o->journal = false;
        break;
    case OPTION_BINARY_REPLIES:
        o->binary_replies = true;
        break;
    case OPTION_CHANNEL_EXPIRY:
        o->channel_expiry_ms = (uint64_t)number(name, 1, 86400000);
        break;
    case OPTION_SCAN:
        o->scan_interval_ms = (uint64_t)number(name, 1, 86400000);
        break;
    case OPTION_IDLE:
        o->idle_limit_ms = (uint64_t)number(name, 1, 86400000);
        break;
    case OPTION_SWEEP:
        o->hold_sweep_ms = (uint64_t)number(name, 1, 86400000);
        break;
    case OPTION_MAX_MESSAGE:
        o->max_message_bytes = (size_t)number(name, 128, 16 << 20);
        break;
    case OPTION_ACL:
        take_acl(o);
        break;
    case OPTION_HELP:
        fputs(usage, stdout);
        exit(0);
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

static void take_arguments(struct arguments *a, int argc, char **argv)
{
    *a = (struct arguments){.options = {.broker_count = 1,
                                        .default_queue_nums = 8,
                                        .auto_create = true,
                                        .journal = true,
                                        .channel_expiry_ms = 120000,
                                        .scan_interval_ms = 10000,
                                        .idle_limit_ms = 120000,
                                        .hold_sweep_ms = 1000,
                                        .seed = 1,
                                        .max_message_bytes = 4 << 20,
                                        .cluster = "DefaultCluster"}};
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1)
        take_option(a, id, id == '?' ? "" : long_options[index].name);
    if (optind < argc)
        take_option(a, '?', "");
}

static struct devbroker devbroker;

int main(int argc, char **argv)
{
    struct arguments a;
    const char *what;
    take_arguments(&a, argc, argv);
    int err = devbroker_init(&devbroker, &a.options, &what);
    if (err) {
        fprintf(stderr, "rmqhub-devbroker: %s: %s\n", what, strerror(-err));
        devbroker_deinit(&devbroker);
        return 1;
    }
    for (unsigned i = 0; i < a.fault_count; i++)
        if (fault_plan_add(&devbroker.faults, a.faults[i], &what) < 0) {
            fprintf(stderr, "rmqhub-devbroker: --fault \"%s\": %s\n", a.faults[i], what);
            devbroker_deinit(&devbroker);
            return 2;
        }
    printf("nameserver 127.0.0.1:%u\n", devbroker.nameserver.port);
    for (unsigned i = 0; i < a.options.broker_count; i++)
        printf("broker %s 127.0.0.1:%u\n", devbroker.brokers[i].name, devbroker.brokers[i].listener.port);
    fflush(stdout);
    server_run(devbroker.server);
    devbroker_deinit(&devbroker);
    return 0;
}
