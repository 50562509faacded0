/* Routes: what may come, what must not, order, comparison, writing. */
#include "hub/protocol/topic_route_data.h"

#include "hub/protocol/codes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct topic_route_data *decode(const char *body)
{
    struct topic_route_data *route = NULL;
    assert_int_equal(topic_route_data_decode(&route, body, strlen(body)), 0);
    return route;
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

#define TWO_BROKERS \
    "{\"brokerDatas\":[{\"brokerAddrs\":{2:\"10.0.0.3:10911\",0:\"10.0.0.2:10911\"},\"brokerName\":\"b\",\"cluster\":\"C\"}," \
    "{\"brokerAddrs\":{\"0\":\"10.0.0.1:10911\"},\"brokerName\":\"a\",\"cluster\":\"C\"}],\"filterServerTable\":{}," \
    "\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":4,\"readQueueNums\":8,\"topicSysFlag\":1,\"writeQueueNums\":2}," \
    "{\"brokerName\":\"a\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}"

static void test_decoded_routes_are_sorted(void **state)
{
    (void)state;
    struct topic_route_data *r = decode(TWO_BROKERS);
    assert_int_equal(r->queue_data_count, 2);
    assert_span(r->queue_datas[0].broker_name, "a");
    assert_int_equal(r->queue_datas[0].perm, PERM_READ | PERM_WRITE);
    assert_span(r->queue_datas[1].broker_name, "b");
    assert_int_equal(r->queue_datas[1].perm, PERM_READ);
    assert_int_equal(r->queue_datas[1].read_queue_nums, 8);
    assert_int_equal(r->queue_datas[1].write_queue_nums, 2);
    assert_int_equal(r->queue_datas[1].topic_sys_flag, 1);
    assert_int_equal(r->broker_data_count, 2);
    const struct broker_data *b = topic_route_data_broker(r, SPAN_LITERAL("b"));
    assert_non_null(b);
    assert_span(b->cluster, "C");
    assert_int_equal(b->addr_count, 2);
    assert_int_equal(b->addrs[0].broker_id, MASTER_ID);
    assert_span(broker_data_addr(b, MASTER_ID), "10.0.0.2:10911");
    assert_span(broker_data_addr(b, 2), "10.0.0.3:10911");
    assert_null(broker_data_addr(b, 1).data);
    assert_span(broker_data_addr(topic_route_data_broker(r, SPAN_LITERAL("a")), MASTER_ID), "10.0.0.1:10911");
    assert_null(topic_route_data_broker(r, SPAN_LITERAL("ab")));
    assert_null(topic_route_data_broker(r, SPAN_LITERAL("")));
    assert_null(r->order_topic_conf.data);
    assert_int_equal(r->filter_server_table.len, 0);
    assert_null(topic_route_data_free(r));
    assert_null(topic_route_data_free(NULL));
}

static void test_members_of_5x_and_rare_ones(void **state)
{
    (void)state;
    struct topic_route_data *r = decode(
        "{\"orderTopicConf\":\"a:4;b:2\",\"filterServerTable\":{\"10.0.0.1:1\":[\"x\"]},\"topicQueueMappingByBroker\":{\"$ref\":\"$\"},"
        "\"brokerDatas\":[{\"brokerName\":\"a\\u00e9\",\"enableActingMaster\":false,\"zoneName\":\"z\",\"brokerAddrs\":{}}],"
        "\"queueDatas\":[{\"brokerName\":\"a\",\"new\":[1]}]}");
    assert_span(r->order_topic_conf, "a:4;b:2");
    assert_span(r->filter_server_table, "{\"10.0.0.1:1\":[\"x\"]}");
    assert_span(r->broker_datas[0].broker_name, "a\xc3\xa9");
    assert_int_equal(r->broker_datas[0].addr_count, 0);
    assert_int_equal(r->queue_datas[0].write_queue_nums, 0);
    topic_route_data_free(r);
}

static void test_empty_and_null_members(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{}",
                                         "{\"brokerDatas\":null,\"queueDatas\":null,\"filterServerTable\":null,\"orderTopicConf\":null}",
                                         "{\"brokerDatas\":[],\"queueDatas\":[]}", "{\"brokerDatas\":[],\"brokerDatas\":[]}"};
    for (size_t i = 0; i < 4; i++) {
        struct topic_route_data *r = decode(bodies[i]);
        assert_int_equal(r->queue_data_count + r->broker_data_count, 0);
        assert_null(topic_route_data_broker(r, SPAN_LITERAL("a")));
        topic_route_data_free(r);
    }
    struct topic_route_data *r = decode("{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":null,\"brokerAddrs\":{0:null,1:\"x\"}}]}");
    assert_int_equal(r->broker_datas[0].addr_count, 1);
    topic_route_data_free(r);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "null", "[]", "{\"queueDatas\":{}}", "{\"queueDatas\":[1]}", "{\"queueDatas\":[{}]}", "{\"queueDatas\":[null]}",
        "{\"queueDatas\":[{\"brokerName\":null}]}", "{\"queueDatas\":[{\"brokerName\":\"a\",\"perm\":\"x\"}]}",
        "{\"queueDatas\":[{\"brokerName\":\"a\",\"writeQueueNums\":-1}]}",
        "{\"queueDatas\":[{\"brokerName\":\"a\",\"readQueueNums\":65537}]}", "{\"queueDatas\":[{\"$ref\":\"$.queueDatas[0]\"}]}",
        "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"x\"}}]}", "{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":{x:\"y\"}}]}",
        "{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":{0:{}}}]}",
        "{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":{{\"a\":1}:\"y\"}}]}",
        /* The same list twice could be longer the first time. */
        "{\"queueDatas\":[{\"brokerName\":\"a\"}],\"queueDatas\":[]}", "{\"brokerDatas\":[]}x", TWO_BROKERS "}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct topic_route_data *route = NULL;
        assert_int_equal(topic_route_data_decode(&route, bad[i], strlen(bad[i])), -EPROTO);
        assert_null(route);
    }
    size_t len = strlen(TWO_BROKERS);
    for (size_t cut = 0; cut < len; cut++) {
        struct topic_route_data *route = NULL;
        assert_int_equal(topic_route_data_decode(&route, TWO_BROKERS, cut), -EPROTO);
    }
}

/* A body with the given item repeated, between head and tail. */
static char *repeated(const char *head, const char *item, unsigned count, const char *tail)
{
    char *body = malloc(strlen(head) + count * (strlen(item) + 1) + strlen(tail) + 1);
    size_t n = strlen(head);
    assert_non_null(body);
    memcpy(body, head, n);
    for (unsigned i = 0; i < count; i++) {
        if (i)
            body[n++] = ',';
        memcpy(body + n, item, strlen(item));
        n += strlen(item);
    }
    memcpy(body + n, tail, strlen(tail) + 1);
    return body;
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *head, *item, *tail;
        unsigned max;
    } rows[] = {{"{\"queueDatas\":[", "{\"brokerName\":\"a\"}", "]}", ROUTE_MAX_QUEUE_DATAS},
                {"{\"brokerDatas\":[", "{\"brokerName\":\"a\"}", "]}", ROUTE_MAX_BROKER_DATAS},
                {"{\"brokerDatas\":[{\"brokerName\":\"a\",\"brokerAddrs\":{", "0:\"x\"", "}}]}", ROUTE_MAX_BROKER_ADDRS}};
    for (size_t i = 0; i < 3; i++) {
        struct topic_route_data *route = NULL;
        char *body = repeated(rows[i].head, rows[i].item, rows[i].max, rows[i].tail);
        assert_int_equal(topic_route_data_decode(&route, body, strlen(body)), 0);
        free(body);
        topic_route_data_free(route);
        body = repeated(rows[i].head, rows[i].item, rows[i].max + 1, rows[i].tail);
        assert_int_equal(topic_route_data_decode(&route, body, strlen(body)), -EPROTO);
        free(body);
    }
}

static bool equal(const char *a, const char *b)
{
    struct topic_route_data *x = decode(a), *y = decode(b);
    bool result = topic_route_data_equals(x, y);
    assert_int_equal(result, topic_route_data_equals(y, x));
    topic_route_data_free(x);
    topic_route_data_free(y);
    return result;
}

#define Q(name, perm) "{\"brokerName\":\"" name "\",\"perm\":" perm "}"
#define B(name, cluster, addrs) "{\"brokerName\":\"" name "\",\"cluster\":\"" cluster "\",\"brokerAddrs\":{" addrs "}}"

static void test_equality(void **state)
{
    (void)state;
    assert_true(equal("{}", "{\"filterServerTable\":{}}"));
    assert_true(equal("{\"queueDatas\":[" Q("a", "6") "," Q("b", "4") "]}", "{\"queueDatas\":[" Q("b", "4") "," Q("a", "6") "]}"));
    assert_true(equal("{\"queueDatas\":[" Q("a", "6") "," Q("a", "4") "]}", "{\"queueDatas\":[" Q("a", "4") "," Q("a", "6") "]}"));
    assert_false(equal("{\"queueDatas\":[" Q("a", "6") "]}", "{\"queueDatas\":[" Q("a", "4") "]}"));
    assert_false(equal("{\"queueDatas\":[" Q("a", "6") "]}", "{\"queueDatas\":[" Q("aa", "6") "]}"));
    assert_false(equal("{\"queueDatas\":[" Q("a", "6") "]}", "{}"));
    assert_true(equal("{\"brokerDatas\":[" B("a", "C", "0:\"x\",1:\"y\"") "]}", "{\"brokerDatas\":[" B("a", "D", "1:\"y\",0:\"x\"") "]}"));
    assert_false(equal("{\"brokerDatas\":[" B("a", "C", "0:\"x\"") "]}", "{\"brokerDatas\":[" B("a", "C", "1:\"x\"") "]}"));
    assert_false(equal("{\"brokerDatas\":[" B("a", "C", "0:\"x\"") "]}", "{\"brokerDatas\":[" B("a", "C", "0:\"z\"") "]}"));
    assert_false(equal("{\"brokerDatas\":[" B("a", "C", "0:\"x\"") "]}", "{\"brokerDatas\":[" B("a", "C", "0:\"x\",1:\"y\"") "]}"));
    assert_false(equal("{\"orderTopicConf\":\"a:1\"}", "{}"));
    assert_false(equal("{\"filterServerTable\":{\"a\":[]}}", "{}"));
}

static void test_encode(void **state)
{
    (void)state;
    static const char body[] = "{\"brokerDatas\":[{\"brokerAddrs\":{0:\"x\",1:\"y\"},\"brokerName\":\"a\",\"cluster\":\"C\"},"
                               "{\"brokerAddrs\":{},\"brokerName\":\"b\",\"cluster\":\"C\"}],\"filterServerTable\":{\"f\":[]},"
                               "\"orderTopicConf\":\"a:1\",\"queueDatas\":["
                               "{\"brokerName\":\"a\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4},"
                               "{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":4,\"topicSysFlag\":0,\"writeQueueNums\":4}]}";
    char buf[1024];
    size_t len;
    struct topic_route_data *r = decode(body), *again = NULL;
    assert_int_equal(topic_route_data_encode(r, false, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, sizeof(body) - 1);
    assert_memory_equal(buf, body, len);
    assert_int_equal(topic_route_data_encode(r, true, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, sizeof(body) - 1 + 4); /* two quoted keys */
    assert_int_equal(topic_route_data_decode(&again, buf, len), 0);
    assert_true(topic_route_data_equals(r, again));
    size_t needed = len;
    assert_int_equal(topic_route_data_encode(r, true, buf, needed - 1, &len), -ENOBUFS);
    assert_int_equal(len, needed);
    assert_int_equal(topic_route_data_encode(r, true, NULL, 0, &len), -ENOBUFS);
    assert_int_equal(len, needed);
    topic_route_data_free(again);
    topic_route_data_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoded_routes_are_sorted),
        cmocka_unit_test(test_members_of_5x_and_rare_ones),
        cmocka_unit_test(test_empty_and_null_members),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_equality),
        cmocka_unit_test(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
