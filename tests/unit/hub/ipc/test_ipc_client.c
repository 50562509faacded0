/* The clock of a client: the same as the hub's, unless it lives in another time namespace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/ipc/ipc_client.h"
#include "shm/base/clock.h"

#define HUB_NS (1000 * NS_PER_S)

static void test_the_same_clock_has_no_offset(void **state)
{
    (void)state;
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS, 0), 0);
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS - 2 * NS_PER_S, 0), 0);
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS + 2 * NS_PER_S, 0), 0);
}

static void test_another_namespace_has_its_difference(void **state)
{
    (void)state;
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS - 500 * NS_PER_S, NS_PER_S), 500 * NS_PER_S);
    assert_true(ipc_clock_offset(HUB_NS, HUB_NS + 500 * NS_PER_S, NS_PER_S) == -(int64_t)(500 * NS_PER_S));
}

static void test_a_hub_that_was_stopped_is_no_other_namespace(void **state)
{
    (void)state;
    /* Stopped for a minute, with the ATTACH waiting for most of it. */
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS - 55 * NS_PER_S, 60 * NS_PER_S), 0);
    assert_int_equal(ipc_clock_offset(HUB_NS, HUB_NS - 55 * NS_PER_S, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_clock_has_no_offset),
        cmocka_unit_test(test_another_namespace_has_its_difference),
        cmocka_unit_test(test_a_hub_that_was_stopped_is_no_other_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
