/* One table for names and texts of errors: the source for bindings too. */
#include "libclient/include/rmqhub.h"

#include <stddef.h>

static const struct {
    int error;
    const char *name, *text;
} errors[] = {
#define E(symbol, text) \
    { \
        symbol, #symbol, text \
    }
    E(RMQHUB_OK, "success"),
    E(RMQHUB_ERR_NOT_STORED, "the message is proved not stored; see the result's reason; it is safe to send it again"),
    E(RMQHUB_ERR_UNKNOWN_OUTCOME, "the message may be stored: nobody answered; repeat it with the same UNIQ_KEY or accept the doubt"),
    E(RMQHUB_ERR_INVALID_ARGUMENT, "an argument is missing or out of range"),
    E(RMQHUB_ERR_GROUP_ILLEGAL, "the producer group breaks 4.9.3's rules: 1 to 255 of [%|a-zA-Z0-9_-], and not DEFAULT_PRODUCER"),
    E(RMQHUB_ERR_TOPIC_ILLEGAL, "the topic breaks 4.9.3's rules: 1 to 127 of [%|a-zA-Z0-9_-], and not SCHEDULE_TOPIC_XXXX"),
    E(RMQHUB_ERR_MESSAGE_ILLEGAL, "the message has no body"),
    E(RMQHUB_ERR_MESSAGE_TOO_LARGE, "the body is longer than this producer's limit or than 262144 bytes, the most that this version sends, "
                                    "or the properties are longer than 32767 bytes"),
    E(RMQHUB_ERR_PROPERTY_ILLEGAL, "a property is empty, has a reserved name, or contains the bytes 0x01 or 0x02"),
    E(RMQHUB_ERR_STATE, "the producer is not in a state for this call; rmqhub_last_problem names the state"),
    E(RMQHUB_ERR_DUPLICATE_GROUP, "this process already has a producer of this group under this instance name: use it, or another group"),
    E(RMQHUB_ERR_NO_MEMORY, "out of memory"),
    E(RMQHUB_ERR_WOULD_BLOCK, "all slots or the arena are in use: dispatch finished sends, then try again"),
    E(RMQHUB_ERR_TIMEOUT, "the deadline passed"),
    E(RMQHUB_ERR_FORKED, "this handle belongs to the parent process: attach anew in the child"),
    E(RMQHUB_ERR_LIMIT, "a limit is reached: of the hub, of this uid, or 255 groups and topics per process; rmqhub_last_problem names it"),
    E(RMQHUB_ERR_HUB_NOT_RUNNING, "no hub listens in the runtime directory: start rmqhubd, or set RMQHUB_RUNTIME_DIR"),
    E(RMQHUB_ERR_HUB_DRAINING, "the hub is stopping: its successor will answer"),
    E(RMQHUB_ERR_PERMISSION, "this user may not use the hub or the group: see allow_uids and allow_gids in its configuration"),
    E(RMQHUB_ERR_VERSION, "library and hub do not speak the same layout: install matching versions"),
    E(RMQHUB_ERR_QUARANTINED, "the hub shut this process out for breaking the protocol; rmqhub_last_problem says how; restart the process"),
    E(RMQHUB_ERR_REFUSED, "the hub refused; rmqhub_last_problem says why"),
    E(RMQHUB_ERR_SYSTEM, "a system call failed; errno and rmqhub_last_problem say which"),
#undef E
};

static size_t find(int error)
{
    size_t i = 0;
    while (i < sizeof(errors) / sizeof(errors[0]) && errors[i].error != error)
        i++;
    return i;
}

const char *rmqhub_error_name(int error)
{
    size_t i = find(error);
    return i < sizeof(errors) / sizeof(errors[0]) ? errors[i].name : "RMQHUB_ERR_?";
}

const char *rmqhub_error_text(int error)
{
    size_t i = find(error);
    return i < sizeof(errors) / sizeof(errors[0]) ? errors[i].text : "not an error of this library";
}

const char *rmqhub_outcome_name(enum rmqhub_outcome outcome)
{
    static const char *const names[] = {"?", "STORED", "NOT_STORED", "UNKNOWN"};
    return (unsigned)outcome < 4 ? names[outcome] : names[0];
}

const char *rmqhub_send_status_name(enum rmqhub_send_status status)
{
    static const char *const names[] = {"SEND_OK", "FLUSH_DISK_TIMEOUT", "FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"};
    return (unsigned)status < 4 ? names[status] : "?";
}
