/* Heartbeat bodies. */
#include "hub/protocol/heartbeat_data.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct heartbeat_data data;
static char scratch[256];

static int decode(const char *body)
{
    return heartbeat_data_decode(&data, body, strlen(body), scratch, sizeof(scratch));
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

static void test_round_trip(void **state)
{
    (void)state;
    const struct span groups[] = {SPAN_LITERAL("%odd\"name\x01"), SPAN_LITERAL("b")};
    char buf[256];
    size_t len, needed;
    assert_int_equal(heartbeat_data_encode(SPAN_LITERAL("10.0.0.1@x"), groups, 2, buf, sizeof(buf), &len), 0);
    assert_int_equal(heartbeat_data_decode(&data, buf, len, scratch, sizeof(scratch)), 0);
    assert_span(data.client_id, "10.0.0.1@x");
    assert_int_equal(data.producer_group_count, 2);
    assert_span(data.producer_groups[0], "%odd\"name\x01");
    assert_span(data.producer_groups[1], "b");
    assert_int_equal(data.consumer_group_count, 0);
    needed = len;
    assert_int_equal(heartbeat_data_encode(SPAN_LITERAL("10.0.0.1@x"), groups, 2, NULL, 0, &len), -ENOBUFS);
    assert_int_equal(len, needed);
    assert_int_equal(heartbeat_data_decode(&data, buf, needed, scratch, 4), -ENOBUFS);
}

static void test_no_groups(void **state)
{
    (void)state;
    char buf[128];
    size_t len;
    static const char expected[] = "{\"clientID\":\"c\",\"consumerDataSet\":[],\"producerDataSet\":[]}";
    assert_int_equal(heartbeat_data_encode(SPAN_LITERAL("c"), NULL, 0, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(buf, expected, len);
}

static void test_accepted(void **state)
{
    (void)state;
    assert_int_equal(decode("{\"clientID\":\"x\"}"), 0); /* the least that a broker takes */
    assert_int_equal(decode("{\"heartbeatFingerprint\":0,\"withoutSub\":false,\"producerDataSet\":[{\"groupName\":\"g\",\"new\":{}}],"
                            "\"consumerDataSet\":[{\"subscriptionDataSet\":[{\"topic\":\"T\"}],\"groupName\":\"c\"}],\"clientID\":\"x\"}"),
                     0);
    assert_span(data.producer_groups[0], "g");
    assert_span(data.consumer_groups[0], "c");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "null",
                                      "[]",
                                      "{}",
                                      "nonsense",
                                      "{\"clientID\":null}",
                                      "{\"clientID\":{}}",
                                      "{\"clientID\":\"x\",\"producerDataSet\":null}",
                                      "{\"clientID\":\"x\",\"consumerDataSet\":null}",
                                      "{\"clientID\":\"x\",\"producerDataSet\":{}}",
                                      "{\"clientID\":\"x\",\"producerDataSet\":[{}]}",
                                      "{\"clientID\":\"x\",\"producerDataSet\":[null]}",
                                      "{\"clientID\":\"x\",\"producerDataSet\":[{\"groupName\":null}]}",
                                      "{\"clientID\":\"x\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(decode(bad[i]), -EPROTO);
}

static void test_limit(void **state)
{
    (void)state;
    static struct span groups[HEARTBEAT_MAX_GROUPS + 1];
    static char buf[HEARTBEAT_MAX_GROUPS * 32];
    for (unsigned i = 0; i <= HEARTBEAT_MAX_GROUPS; i++)
        groups[i] = SPAN_LITERAL("g");
    for (unsigned count = HEARTBEAT_MAX_GROUPS; count <= HEARTBEAT_MAX_GROUPS + 1; count++) {
        size_t len;
        assert_int_equal(heartbeat_data_encode(SPAN_LITERAL("c"), groups, count, buf, sizeof(buf), &len), 0);
        assert_int_equal(heartbeat_data_decode(&data, buf, len, scratch, sizeof(scratch)), count == HEARTBEAT_MAX_GROUPS ? 0 : -EPROTO);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_no_groups), cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
