/* Scripted faults: what rules say, when they strike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/protocol/codes.h"
#include "hub/remoting/remoting_codec.h"
#include "tests/devbroker/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct fault_plan plan;

static int setup(void **state)
{
    (void)state;
    fault_plan_init(&plan, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fault_plan_deinit(&plan);
    return 0;
}

static void add(const char *text)
{
    const char *reason;
    assert_int_equal(fault_plan_add(&plan, text, &reason), 0);
}

static const struct fault_rule *ask(int32_t code, const char *broker)
{
    struct fault_request r = {.code = code, .broker = broker};
    return fault_plan_match(&plan, &r);
}

static bool strikes(int32_t code)
{
    return ask(code, "broker-a") != NULL;
}

static void nothing_strikes_without_rules(void **state)
{
    (void)state;
    assert_false(strikes(REQUEST_SEND_MESSAGE_V2));
}

static void codes_are_numbers_names_or_everything(void **state)
{
    (void)state;
    add("310,heartbeat error=2");
    assert_true(strikes(310));
    assert_true(strikes(REQUEST_HEART_BEAT));
    assert_false(strikes(REQUEST_SEND_MESSAGE));
    fault_plan_clear(&plan);
    add("send no-reply");
    assert_true(strikes(REQUEST_SEND_MESSAGE));
    assert_true(strikes(REQUEST_SEND_BATCH_MESSAGE));
    assert_false(strikes(REQUEST_PULL_MESSAGE));
    fault_plan_clear(&plan);
    add("* close");
    assert_true(strikes(REQUEST_PULL_MESSAGE));
}

static void counts_decide_when(void **state)
{
    (void)state;
    add("310 error=2 after=2 times=3 every=2");
    static const bool expected[] = {false, false, true, false, true, false, true, false, false, false};
    for (unsigned i = 0; i < sizeof(expected); i++)
        assert_int_equal(strikes(310), expected[i]);
}

static void the_first_rule_that_strikes_wins(void **state)
{
    (void)state;
    add("310 error=2 times=1");
    add("310 error=14");
    assert_int_equal(ask(310, "broker-a")->arg, 2);
    assert_int_equal(ask(310, "broker-a")->arg, 14);
}

static void a_rule_may_name_its_broker(void **state)
{
    (void)state;
    add("* no-reply broker=nameserver");
    assert_null(ask(310, "broker-a"));
    assert_non_null(ask(105, "nameserver"));
}

static unsigned count_of_thousand(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < 1000; i++)
        n += strikes(310);
    return n;
}

static void chance_is_repeatable(void **state)
{
    (void)state;
    add("310 rst p=0.1");
    fault_plan_seed(&plan, 7);
    unsigned first = count_of_thousand();
    assert_in_range(first, 60, 150);
    fault_plan_seed(&plan, 7);
    assert_int_equal(count_of_thousand(), first);
}

static bool refused(const char *key)
{
    struct fault_request r = {.code = 310, .broker = "broker-a", .unique_key = span_of(key)};
    const struct fault_rule *rule = fault_plan_match(&plan, &r);
    return rule && r.repeated;
}

static void store_refuse_remembers_keys(void **state)
{
    (void)state;
    add("310 store-refuse=14 times=1");
    assert_false(refused("K1"));
    assert_false(refused("K2")); /* times=1 is used up: not touched at all */
    assert_true(refused("K1"));  /* a later attempt is refused all the same, every time */
    assert_true(refused("K1"));
    assert_false(refused("K2"));
    fault_plan_clear(&plan);
    add("310 store-refuse");
    char key[16];
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 2000; i++) {
            snprintf(key, sizeof(key), "key%u", i);
            assert_int_equal(refused(key), round == 1);
        }
}

static void raw_bytes_are_hex(void **state)
{
    (void)state;
    add("310 raw=00ffA1");
    const struct fault_rule *rule = ask(310, "broker-a");
    assert_int_equal(rule->raw_len, 3);
    assert_memory_equal(rule->raw, "\x00\xff\xa1", 3);
}

static void garbage_is_never_a_frame(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t frame_len;
    for (unsigned i = 0; i < 100; i++) {
        fault_plan_garbage(&plan, bytes, sizeof(bytes));
        assert_int_equal(remoting_frame_split(bytes, sizeof(bytes), &frame_len), -EPROTO);
    }
}

static void bad_rules_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "310",
        "310 explode",
        "310 error",
        "310 error=x",
        "310 no-reply=1",
        "x error=2",
        "310 raw=0",
        "310 raw=zz",
        "310 error=2 p=2",
        "310 error=2 at=1",
        "310 error=2 every=0",
        ", error=2",
        "310 error=2 times=-1",
        "1,2,3,4,5,6,7,8,9 error=2",
        "310 error=2 broker=",
        "310 delay=-1",
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *reason = NULL;
        assert_int_equal(fault_plan_add(&plan, bad[i], &reason), -EINVAL);
        assert_non_null(reason);
    }
    assert_true(list_is_empty(&plan.rules));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_strikes_without_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(codes_are_numbers_names_or_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_decide_when, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_rule_that_strikes_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rule_may_name_its_broker, setup, teardown),
        cmocka_unit_test_setup_teardown(chance_is_repeatable, setup, teardown),
        cmocka_unit_test_setup_teardown(store_refuse_remembers_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(raw_bytes_are_hex, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_never_a_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_rules_are_refused_with_a_reason, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
