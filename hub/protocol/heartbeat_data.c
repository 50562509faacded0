/*
 * HeartbeatData. Members are written in fastjson's alphabetical order, so that our
 * body is byte for byte what the Java client sends for the same groups.
 */
#include "hub/protocol/heartbeat_data.h"

#include "hub/remoting/wire_json.h"

#include <errno.h>

int heartbeat_data_encode(struct span client_id, const struct span *producer_groups, unsigned count, void *buf, size_t cap, size_t *len)
{
    struct json_writer w = json_writer_of(buf, cap);
    json_write_raw(&w, SPAN_LITERAL("{\"clientID\":"));
    json_write_string(&w, client_id);
    json_write_raw(&w, SPAN_LITERAL(",\"consumerDataSet\":[],\"producerDataSet\":["));
    for (unsigned i = 0; i < count; i++) {
        json_write_raw(&w, i ? SPAN_LITERAL(",{\"groupName\":") : SPAN_LITERAL("{\"groupName\":"));
        json_write_string(&w, producer_groups[i]);
        json_write_raw(&w, SPAN_LITERAL("}"));
    }
    json_write_raw(&w, SPAN_LITERAL("]}"));
    *len = w.len;
    return json_writer_fits(&w) ? 0 : -ENOBUFS;
}

/* groupName of one ProducerData or ConsumerData. */
static struct span read_group(struct json_reader *r)
{
    struct span key, name = {NULL, 0};
    if (json_enter_object(r))
        while (json_next_key(r, &key)) {
            if (span_equals(key, SPAN_LITERAL("groupName")))
                name = json_read_text(r);
            else
                json_skip(r);
        }
    if (!name.data)
        json_fail(r);
    return name;
}

static void read_groups(struct json_reader *r, struct span *groups, unsigned *count)
{
    *count = 0;
    /* A set that is null makes a broker fail on the whole heartbeat. */
    if (!json_enter_array(r)) {
        json_fail(r);
        return;
    }
    while (json_next_item(r)) {
        struct span group = read_group(r);
        if (*count == HEARTBEAT_MAX_GROUPS)
            json_fail(r);
        else
            groups[(*count)++] = group;
    }
}

int heartbeat_data_decode(struct heartbeat_data *out, const void *body, size_t len, char *scratch, size_t scratch_cap)
{
    struct json_reader r;
    struct span key;
    json_reader_init(&r, body, len, scratch, scratch_cap);
    out->client_id = (struct span){NULL, 0};
    out->producer_group_count = out->consumer_group_count = 0;
    if (json_enter_object(&r))
        while (json_next_key(&r, &key)) {
            if (span_equals(key, SPAN_LITERAL("clientID")))
                out->client_id = json_read_text(&r);
            else if (span_equals(key, SPAN_LITERAL("producerDataSet")))
                read_groups(&r, out->producer_groups, &out->producer_group_count);
            else if (span_equals(key, SPAN_LITERAL("consumerDataSet")))
                read_groups(&r, out->consumer_groups, &out->consumer_group_count);
            else
                json_skip(&r);
        }
    int rc = json_finish(&r);
    return rc < 0 ? rc : out->client_id.data ? 0 : -EPROTO;
}
