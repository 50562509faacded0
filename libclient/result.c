#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"
#include "shm/base/text.h"

rmqhub_result_t *rmqhub_result_new(void)
{
    return calloc(1, sizeof(rmqhub_result_t));
}

void rmqhub_result_free(rmqhub_result_t *r)
{
    free(r);
}

static void result_clear(rmqhub_result_t *r)
{
    r->mbox = (struct shm_mbox_record){.queue_id = -1, .queue_offset = -1};
    r->reason[0] = r->uniq_key[0] = r->offset_msg_id[0] = r->broker_name[0] = '\0';
}

void result_set_refused(rmqhub_result_t *r, const char *reason)
{
    result_clear(r);
    r->outcome = RMQHUB_NOT_STORED;
    text_copy(r->reason, sizeof(r->reason), reason, strlen(reason));
}

void result_set_local(rmqhub_result_t *r, const struct pending *pending, enum rmqhub_outcome outcome, const char *reason)
{
    result_set_refused(r, reason);
    r->outcome = outcome;
    text_hex_upper(r->uniq_key, pending->uniq, pending->uniq_len);
}

void result_set_answer(rmqhub_result_t *r, struct rmqhub *hub, unsigned slot)
{
    const struct pending *pending = &hub->pending[slot];
    result_clear(r);
    lane_client_read_answer(&hub->lane, slot, &r->mbox, r->reason);
    r->outcome = (enum rmqhub_outcome)r->mbox.outcome;
    if (r->mbox.msgid_len > SHM_UNIQ_MAX)
        r->mbox.msgid_len = 0;
    text_hex_upper(r->uniq_key, pending->uniq, pending->uniq_len);
    text_hex_upper(r->offset_msg_id, r->mbox.msgid, r->mbox.msgid_len);
    if (r->mbox.broker_ix > 0 && r->mbox.broker_ix < SHM_BROKERS) {
        const char *name = hub->h->broker[r->mbox.broker_ix];
        text_copy(r->broker_name, sizeof(r->broker_name), name, strnlen(name, SHM_BROKER_NAME_BYTES - 1));
    }
}

enum rmqhub_outcome rmqhub_result_outcome(const rmqhub_result_t *r)
{
    return r->outcome;
}

enum rmqhub_send_status rmqhub_result_send_status(const rmqhub_result_t *r)
{
    return (enum rmqhub_send_status)r->mbox.send_status;
}

int32_t rmqhub_result_code(const rmqhub_result_t *r)
{
    return r->mbox.code;
}

const char *rmqhub_result_reason(const rmqhub_result_t *r)
{
    return r->reason;
}

const char *rmqhub_result_uniq_key(const rmqhub_result_t *r)
{
    return r->uniq_key;
}

const char *rmqhub_result_offset_msg_id(const rmqhub_result_t *r)
{
    return r->offset_msg_id;
}

const char *rmqhub_result_broker_name(const rmqhub_result_t *r)
{
    return r->broker_name;
}

int32_t rmqhub_result_queue_id(const rmqhub_result_t *r)
{
    return r->mbox.queue_id;
}

int64_t rmqhub_result_queue_offset(const rmqhub_result_t *r)
{
    return r->mbox.queue_offset;
}

uint32_t rmqhub_result_attempts(const rmqhub_result_t *r)
{
    return r->mbox.attempts;
}

int rmqhub_result_maybe_duplicated(const rmqhub_result_t *r)
{
    return (r->mbox.flags & SHM_MBOX_MAYBE_DUPLICATED) != 0;
}

struct rmqhub_timings rmqhub_result_timings(const rmqhub_result_t *r)
{
    return (struct rmqhub_timings){r->mbox.ring_us, r->mbox.hub_us, r->mbox.connect_us, r->mbox.wire_us};
}
