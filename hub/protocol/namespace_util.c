#include "hub/protocol/namespace_util.h"

#include <stdbool.h>
#include <stdio.h>

static bool starts_with(struct span s, struct span prefix)
{
    return s.len >= prefix.len && memcmp(s.data, prefix.data, prefix.len) == 0;
}

static bool is_system_resource(struct span resource)
{
    static const char *const names[] = {"TBW102",
                                        "SCHEDULE_TOPIC_XXXX",
                                        "BenchmarkTest",
                                        "RMQ_SYS_TRANS_HALF_TOPIC",
                                        "RMQ_SYS_TRACE_TOPIC",
                                        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
                                        "TRANS_CHECK_MAX_TIME_TOPIC",
                                        "SELF_TEST_TOPIC",
                                        "OFFSET_MOVED_EVENT"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (span_equals(resource, span_of(names[i])))
            return true;
    }
    return starts_with(resource, SPAN_LITERAL("rmq_sys_")) || starts_with(resource, SPAN_LITERAL("CID_RMQ_SYS_"));
}

size_t namespace_wrap(char *dst, size_t cap, struct span name_space, struct span resource)
{
    static const struct span prefixes[] = {{"%RETRY%", 7}, {"%DLQ%", 5}};
    struct span prefix = {"", 0}, rest = resource;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (starts_with(resource, prefixes[i])) {
            prefix = prefixes[i];
            rest = (struct span){resource.data + prefix.len, resource.len - prefix.len};
            break;
        }
    }
    bool carries_it = starts_with(rest, name_space) && rest.len > name_space.len && rest.data[name_space.len] == '%';
    int n;
    if (name_space.len == 0 || resource.len == 0 || is_system_resource(resource) || carries_it)
        n = snprintf(dst, cap, "%.*s", (int)resource.len, resource.data);
    else
        n = snprintf(dst, cap, "%.*s%.*s%%%.*s", (int)prefix.len, prefix.data, (int)name_space.len, name_space.data, (int)rest.len,
                     rest.data);
    return n < 0 || (size_t)n >= cap ? 0 : (size_t)n;
}
