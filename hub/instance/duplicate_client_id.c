#include "hub/instance/duplicate_client_id.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/instance/mq_client_instance.h"
#include "hub/instance/registration.h"
#include "hub/metrics/problems.h"
#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_codec.h"
#include "hub/remoting/wire_json.h"
#include "shm/base/text.h"

#define ADDRESSES_MAX 8u /* different ones that are told apart; more make no difference */

/* The different addresses under our clientId in one answer. */
struct addresses {
    struct span at[ADDRESSES_MAX];
    unsigned count;
};

static void note_address(struct addresses *a, struct span address)
{
    for (unsigned i = 0; i < a->count; i++)
        if (span_equals(a->at[i], address))
            return;
    if (a->count < ADDRESSES_MAX)
        a->at[a->count++] = address;
}

static void read_connection(struct json_reader *r, struct span client_id, struct addresses *out)
{
    struct span key, id = {NULL, 0}, address = {NULL, 0};
    if (json_enter_object(r))
        while (json_next_key(r, &key)) {
            if (span_equals(key, SPAN_LITERAL("clientId")))
                id = json_read_text(r);
            else if (span_equals(key, SPAN_LITERAL("clientAddr")))
                address = json_read_text(r);
            else
                json_skip(r);
        }
    if (id.data && address.data && span_equals(id, client_id))
        note_address(out, address);
}

/* {"connectionSet":[{"clientAddr":"ip:port","clientId":...},...]}. 0 | -EPROTO | -ENOBUFS. */
static int read_connections(struct span body, struct span client_id, struct addresses *out)
{
    char scratch[2048];
    struct json_reader r;
    struct span key;
    json_reader_init(&r, body.data, body.len, scratch, sizeof(scratch));
    out->count = 0;
    if (json_enter_object(&r))
        while (json_next_key(&r, &key)) {
            if (!span_equals(key, SPAN_LITERAL("connectionSet"))) {
                json_skip(&r);
            } else if (json_enter_array(&r)) {
                while (json_next_item(&r))
                    read_connection(&r, client_id, out);
            }
        }
    return json_finish(&r);
}

/* ---- what follows ---- */

static void update_problem(struct mq_client_instance *in)
{
    struct registration *reg;
    in->duplicates.brokers = 0;
    const char *where = "";
    FOR_EACH_REGISTRATION (reg, in)
        if (reg->duplicate_seen) {
            in->duplicates.brokers++;
            where = reg->channel->address;
        }
    if (in->duplicates.brokers == 0) {
        in->duplicates.other[0] = '\0';
        problem_clear(PROBLEM_DUPLICATE_CLIENT_ID, in->client_id);
        return;
    }
    problem_raise(PROBLEM_DUPLICATE_CLIENT_ID, in->client_id, TABLE_SEVERITY_CRIT,
                  "broker %s knows this clientId from two addresses (%s): another host uses it, so replies go astray; give one of them "
                  "another instance name or client_ip",
                  where, in->duplicates.other);
}

/* What a broker calls addresses is its text: made fit for people. */
static void name_addresses(struct mq_client_instance *in, const struct addresses *found)
{
    char text[2][sizeof(in->duplicates.other) / 2 - 1];
    for (unsigned i = 0; i < 2; i++)
        text_escape(text[i], sizeof(text[i]), found->at[i].data, found->at[i].len);
    snprintf(in->duplicates.other, sizeof(in->duplicates.other), "%s, %s", text[0], text[1]);
}

static void note_answer(struct registration *reg, const struct addresses *found)
{
    reg->duplicate_seen = found->count > 1;
    if (reg->duplicate_seen)
        name_addresses(reg->instance, found);
    update_problem(reg->instance);
}

/* The connection may have been left, or be another one by now. */
static struct registration *find_registration(struct mq_client_instance *in, const struct channel *channel)
{
    struct registration *reg;
    FOR_EACH_REGISTRATION (reg, in)
        if (reg->channel == channel)
            return reg;
    return NULL;
}

static void on_answer(void *ctx, struct channel *channel, const struct invoke_result *result)
{
    struct mq_client_instance *in = ctx;
    struct remoting_command reply;
    struct addresses found;
    if (result->error == -ECANCELED)
        return;
    struct registration *reg = find_registration(in, channel);
    if (result->error < 0 || result->response->code != RESPONSE_SUCCESS ||
        remoting_command_decode(&reply, result->frame, result->frame_len, in->remoting.scratch, sizeof(in->remoting.scratch)) < 0 ||
        read_connections(reply.body, span_of(in->client_id), &found) < 0) {
        in->duplicates.failures++;
        return;
    }
    in->duplicates.answers++;
    if (reg)
        note_answer(reg, &found);
}

static bool may_ask(const struct registration *reg)
{
    const struct channel *ch = reg->channel;
    if (reg->retiring || ch->state != CHANNEL_CONNECTED || !registration_knows(reg, reg->instance->marker))
        return false;
    /* After a reconnect the second address may be our own. */
    return !registration_has_predecessors(reg) ||
           event_loop_now_ns(reg->instance->loop) - ch->connected_ns > DUPLICATE_CHECK_AFTER_RECONNECT_NS;
}

int duplicate_client_id_check(struct mq_client_instance *in)
{
    struct registration *reg;
    int r = 0;
    struct ext_field ext[] = {{SPAN_LITERAL("producerGroup"), {in->marker->group, in->marker->group_len}}};
    const struct invoke_request request = {.code = REQUEST_GET_PRODUCER_CONNECTION_LIST,
                                           .ext = ext,
                                           .ext_count = 1,
                                           .timeout_ms = in->config.mq_client_api_timeout_ms,
                                           .bound = true};
    update_problem(in); /* connections that said so may be gone */
    FOR_EACH_REGISTRATION (reg, in) {
        if (in->draining || !may_ask(reg))
            continue;
        int asked = remoting_client_invoke(&in->remoting, reg->channel, &request, on_answer, in);
        in->duplicates.checks += asked == 0;
        r = asked < 0 ? asked : r;
    }
    return r;
}
