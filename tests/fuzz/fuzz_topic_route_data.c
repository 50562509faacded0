/* A route body: what decodes is sorted, can be written in both key styles, and reads back equal. */
#include "hub/protocol/topic_route_data.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>

static void check_limits(const struct topic_route_data *route)
{
    unsigned addrs = 0;
    FUZZ_CHECK(route->queue_data_count <= ROUTE_MAX_QUEUE_DATAS && route->broker_data_count <= ROUTE_MAX_BROKER_DATAS);
    for (unsigned i = 0; i < route->queue_data_count; i++)
        FUZZ_CHECK(route->queue_datas[i].broker_name.data && route->queue_datas[i].write_queue_nums >= 0);
    for (unsigned i = 0; i < route->broker_data_count; i++) {
        const struct broker_data *broker = &route->broker_datas[i];
        addrs += broker->addr_count;
        FUZZ_CHECK(topic_route_data_broker(route, broker->broker_name) != NULL);
        for (unsigned a = 0; a < broker->addr_count; a++)
            FUZZ_CHECK(broker_data_addr(broker, broker->addrs[a].broker_id).data != NULL);
    }
    FUZZ_CHECK(addrs <= ROUTE_MAX_BROKER_ADDRS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct topic_route_data *route = NULL, *again = NULL;
    if (topic_route_data_decode(&route, data, len) < 0)
        return 0;
    check_limits(route);
    FUZZ_CHECK(topic_route_data_equals(route, route));
    for (int standard = 0; standard < 2; standard++) {
        size_t needed, written;
        FUZZ_CHECK(topic_route_data_encode(route, standard, NULL, 0, &needed) == -ENOBUFS);
        char *body = malloc(needed);
        FUZZ_CHECK(topic_route_data_encode(route, standard, body, needed, &written) == 0 && written == needed);
        FUZZ_CHECK(topic_route_data_decode(&again, body, written) == 0);
        FUZZ_CHECK(topic_route_data_equals(route, again));
        again = topic_route_data_free(again);
        free(body);
    }
    topic_route_data_free(route);
    return 0;
}
