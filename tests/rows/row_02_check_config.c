/*
 * Row 2: DefaultMQProducerImpl.checkConfig. 4.9.3's conditions and their order, each
 * refusal with a line that names the group and says the rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hub/producer/default_mq_producer.h"
#include "hub/producer/producer_config.h"
#include "tests/unit/hub/net_fixture.h"

static void expect(struct span group, const char *named, const char *rule)
{
    char why[320] = "";
    int r = producer_check_config(group, why, sizeof(why));
    assert_int_equal(r, rule ? -EINVAL : 0);
    if (!rule)
        return;
    if (!strstr(why, named) || !strstr(why, rule))
        fail_msg("\"%s\" should name \"%s\" and say \"%s\"", why, named, rule);
    assert_null(strchr(why, '\n'));
}

static void each_rule_has_its_message(void **state)
{
    (void)state;
    char group[300];
    memset(group, 'g', sizeof(group));
    expect((struct span){NULL, 0}, "group", "null");
    expect(SPAN_LITERAL(""), "\"\"", "blank");
    expect(SPAN_LITERAL(" \t\x1c"), "\" ", "blank");
    expect((struct span){group, 255}, "", NULL);
    expect((struct span){group, 256}, "ggg...", "longer than 255");
    expect(SPAN_LITERAL("a b"), "\"a b\"", "outside [%|a-zA-Z0-9_-]");
    expect(SPAN_LITERAL("a.b"), "\"a.b\"", "outside [%|a-zA-Z0-9_-]");
    expect(SPAN_LITERAL("a\033[31m"), "\"a\\x1b[31m\"", "outside [%|a-zA-Z0-9_-]");
    expect(SPAN_LITERAL("DEFAULT_PRODUCER"), "\"DEFAULT_PRODUCER\"", "must not be DEFAULT_PRODUCER");
    expect(SPAN_LITERAL("CLIENT_INNER_PRODUCER"), "\"CLIENT_INNER_PRODUCER\"", "the client's own");
}

static void what_4_9_3_accepts_is_accepted(void **state)
{
    (void)state;
    static const char *const names[] = {"G", "%|-_", "%RETRY%G", "ns%DEFAULT_PRODUCER", "ns%CLIENT_INNER_PRODUCER", "default_producer"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect(span_of(names[i]), "", NULL);
}

/* Java counts chars: 200 characters of two bytes each are not too long, only illegal. */
static void length_comes_before_characters_and_counts_characters(void **state)
{
    (void)state;
    char group[600];
    for (size_t i = 0; i < sizeof(group); i += 2)
        memcpy(group + i, "\xc3\xa9", 2);
    expect((struct span){group, 400}, "", "outside");
    expect((struct span){group, 600}, "", "longer than 255");
}

static void a_start_asks_it(void **state)
{
    (void)state;
    struct net_fixture fx;
    struct default_mq_producer producer;
    struct default_mq_producer_options options = {.key = {.instance_name = "unit"}};
    net_setup(&fx);
    net_instance(&fx);
    static const struct {
        struct span group;
        const char *rule;
    } bad[] = {{{NULL, 0}, "null"},
               {{"", 0}, "blank"},
               {{"a b", 3}, "outside"},
               {{"CLIENT_INNER_PRODUCER", 21}, "the client's own"},
               {{"DEFAULT_PRODUCER", 16}, "must not be"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        options.group = bad[i].group;
        default_mq_producer_init(&producer);
        assert_int_equal(default_mq_producer_start(&producer, fx.manager, &options), -EINVAL);
        assert_non_null(strstr(producer.reason, bad[i].rule));
    }
    /* Where the length alone is over what a wrapped name may have. */
    char group[2000];
    memset(group, 'g', sizeof(group));
    options.group = (struct span){group, sizeof(group)};
    default_mq_producer_init(&producer);
    assert_int_equal(default_mq_producer_start(&producer, fx.manager, &options), -EINVAL);
    assert_non_null(strstr(producer.reason, "longer than 255"));
    net_teardown(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_has_its_message),
        cmocka_unit_test(what_4_9_3_accepts_is_accepted),
        cmocka_unit_test(length_comes_before_characters_and_counts_characters),
        cmocka_unit_test(a_start_asks_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
