#include "tui/send_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/text.h"
#include "tui/option.h"

#define TAKE_TEXT(name, field) \
    static const char *take_##name(void *ctx, const char *value) \
    { \
        ((struct send_options *)ctx)->field = value; \
        return NULL; \
    }
#define TAKE_FLAG(name, field) \
    static const char *take_##name(void *ctx, const char *value) \
    { \
        (void)value; \
        ((struct send_options *)ctx)->field = true; \
        return NULL; \
    }
#define TAKE_NUMBER(name, field, low, high) \
    static const char *take_##name(void *ctx, const char *value) \
    { \
        return text_parse_i64(value, low, high, &((struct send_options *)ctx)->field) ? NULL : "must be a number from " #low " to " #high; \
    }

TAKE_TEXT(runtime_dir, runtime_dir)
TAKE_TEXT(group, group)
TAKE_TEXT(topic, topic)
TAKE_TEXT(cluster, cluster)
TAKE_TEXT(namesrv, namesrv)
TAKE_TEXT(instance, instance)
TAKE_TEXT(unit, unit)
TAKE_TEXT(name_space, name_space)
TAKE_TEXT(uniq_key, uniq_key)
TAKE_TEXT(tag, tag)
TAKE_TEXT(key, key)
TAKE_TEXT(body, body)
TAKE_TEXT(file, file)
TAKE_FLAG(lines, lines)
TAKE_FLAG(json, json)
TAKE_FLAG(help, help)
TAKE_NUMBER(size, size, 1, 4194304)
TAKE_NUMBER(rate, rate, 1, 10000000)
TAKE_NUMBER(threads, threads, 1, 64)
TAKE_NUMBER(in_flight, in_flight, 1, 65535)
TAKE_NUMBER(timeout, timeout_ms, 1, 86400000)

static const char *take_count(void *ctx, const char *value)
{
    struct send_options *o = ctx;
    o->count_given = true;
    return text_parse_i64(value, 1, INT64_C(1000000000), &o->count) ? NULL : "must be a number from 1 to 1000000000";
}

static const char *take_property(void *ctx, const char *value)
{
    struct send_options *o = ctx;
    char *equals = strchr(value, '=');
    if (!equals || equals == value)
        return "must be NAME=VALUE";
    if (o->property_count == SEND_PROPERTIES_MAX)
        return "too many properties";
    *equals = '\0';
    o->property_names[o->property_count] = value;
    o->property_values[o->property_count++] = equals + 1;
    return NULL;
}

static const char *take_mode(void *ctx, const char *value)
{
    static const char *const names[] = {"sync", "async", "oneway"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            ((struct send_options *)ctx)->mode = (enum send_mode)i;
            return NULL;
        }
    }
    if (strcmp(value, "batch") == 0 || strcmp(value, "transaction") == 0)
        return "is not supported by this version; use sync, async or oneway";
    return "must be sync, async or oneway";
}

static const char *take_unsupported(void *ctx, const char *value)
{
    (void)ctx;
    (void)value;
    return "is not supported by this version";
}

static const struct option_spec options[] = {
    {"group", OPTION_VALUE, "G", "producer group (required)", take_group},
    {"topic", OPTION_VALUE, "T", "topic (required)", take_topic},
    {"body", OPTION_VALUE, "S", "the message body", take_body},
    {"file", OPTION_VALUE, "F", "the body is the content of a file; - is standard input", take_file},
    {"lines", OPTION_FLAG, NULL, "each line of standard input (or of --file) is a message", take_lines},
    {"size", OPTION_VALUE, "BYTES", "a made-up body of this length", take_size},
    {"tag", OPTION_VALUE, "S", "one tag", take_tag},
    {"key", OPTION_VALUE, "S", "index keys, separated by spaces", take_key},
    {"property", OPTION_VALUE, "K=V", "a user property; may be repeated", take_property},
    {"uniq-key", OPTION_VALUE, "HEX", "UNIQ_KEY of an earlier result; for one message", take_uniq_key},
    {"cluster", OPTION_VALUE, "C", "a cluster of the hub's configuration; default: its first", take_cluster},
    {"namesrv", OPTION_VALUE, "LIST", "nameservers instead, host:port;host:port", take_namesrv},
    {"instance", OPTION_VALUE, "I", "instance name; default DEFAULT", take_instance},
    {"unit", OPTION_VALUE, "U", "unit name", take_unit},
    {"namespace", OPTION_VALUE, "N", "namespace", take_name_space},
    {"mode", OPTION_VALUE, "M", "sync (default), async or oneway", take_mode},
    {"count", OPTION_VALUE, "N", "send so many and print a summary", take_count},
    {"rate", OPTION_VALUE, "N", "at most so many per second", take_rate},
    {"threads", OPTION_VALUE, "N", "sending threads; default 1", take_threads},
    {"in-flight", OPTION_VALUE, "N", "unanswered messages per thread in mode async; default 128", take_in_flight},
    {"timeout", OPTION_VALUE, "MS", "per message, and for attaching; default 3000", take_timeout},
    {"json", OPTION_FLAG, NULL, "results as one JSON envelope", take_json},
    {"runtime-dir", OPTION_VALUE, "DIR", "of the hub; default: $RMQHUB_RUNTIME_DIR or the usual place", take_runtime_dir},
    {"queue", OPTION_VALUE, "BROKER:N", "not supported by this version", take_unsupported},
    {"hash-key", OPTION_VALUE, "S", "not supported by this version", take_unsupported},
    {"delay-level", OPTION_VALUE, "N", "not supported by this version", take_unsupported},
    {"help", OPTION_FLAG, NULL, "this text", take_help},
    {NULL, OPTION_FLAG, NULL, NULL, NULL},
};

void send_options_print_help(const struct command *self)
{
    printf("usage: rmqhub %s %s\n\n%s.\n\n", self->name, self->args, self->help);
    options_print(options);
}

static const char *check_together(const struct send_options *o)
{
    int sources = (o->body != NULL) + (o->size > 0) + (o->file != NULL || o->lines);
    if (!o->group)
        return "--group is missing";
    if (!o->topic)
        return "--topic is missing";
    if (sources == 0)
        return "no body: give --body, --file, --lines or --size";
    if (sources > 1)
        return "more than one body: give one of --body, --file (or --lines) and --size";
    if (o->lines && o->count_given)
        return "--lines and --count exclude each other: the input says how many";
    if (o->uniq_key && (o->lines || o->count > 1))
        return "--uniq-key names one message: it cannot go with --lines or --count";
    if (o->cluster && o->namesrv)
        return "--cluster and --namesrv exclude each other";
    return NULL;
}

int send_options_parse(struct send_options *o, const struct command *self, int argc, char **argv)
{
    *o = (struct send_options){.count = 1, .threads = 1, .in_flight = 128, .timeout_ms = 3000};
    const char *problem = options_parse(options, argc, argv, o, NULL);
    if (!problem && !o->help)
        problem = check_together(o);
    if (problem)
        command_complain(self, "%s", problem);
    return problem ? EXIT_USAGE : EXIT_OK;
}
