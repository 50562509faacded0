/*
 * Names, properties and UNIQ_KEYs: the conditions and limits of 4.9.3's Validators, MessageDecoder
 * and MessageClientIDSetter, at their edges.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/base/clock.h"
#include "shm/message/properties.h"
#include "shm/message/uniq_key.h"
#include "shm/message/validators.h"

/* ---- validators ---- */

typedef const char *(*validator)(struct span);

static struct span repeated(char *buf, char c, size_t len)
{
    memset(buf, c, len);
    return (struct span){buf, len};
}

static void check_names(validator validate, size_t max_length)
{
    char buf[512];
    static const char *const blank[] = {"", " ", "\t\n\v\f\r", "   \t"};
    static const char *const illegal[] = {"a b", " a", "a.b", "a/b", "a$b", "\xc3\xa4", "a\x7f", "a@", "[a]", "a\1b", "a,b"};
    static const char *const legal[] = {"a", "A-Z_09", "%RETRY%g", "ns%topic", "a|b", "0"};
    for (size_t i = 0; i < sizeof(blank) / sizeof(blank[0]); i++)
        assert_non_null(strstr(validate(span_of(blank[i])), "blank"));
    for (size_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++)
        assert_non_null(strstr(validate(span_of(illegal[i])), "character"));
    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
        assert_null(validate(span_of(legal[i])));
    assert_non_null(validate((struct span){"a\0b", 3}));
    assert_null(validate(repeated(buf, 'x', max_length)));
    assert_non_null(strstr(validate(repeated(buf, 'x', max_length + 1)), "longer"));
}

static void names_have_the_conditions_of_493(void **state)
{
    (void)state;
    check_names(validate_group, GROUP_MAX_LENGTH);
    check_names(validate_producer_group, GROUP_MAX_LENGTH);
    check_names(validate_topic, TOPIC_MAX_LENGTH);
    check_names(validate_send_topic, TOPIC_MAX_LENGTH);
}

static void a_group_is_there_before_it_is_anything_else(void **state)
{
    (void)state;
    assert_non_null(strstr(validate_group((struct span){NULL, 0}), "null"));
    assert_non_null(strstr(validate_producer_group((struct span){NULL, 0}), "null"));
    assert_non_null(strstr(validate_group(SPAN_LITERAL("\x1c\x1f\t ")), "blank"));
}

/* As Java counts: e-acute is one char of two bytes, a smiley two chars of four. */
static void lengths_count_java_s_chars(void **state)
{
    (void)state;
    char buf[4 * GROUP_MAX_LENGTH + 8];
    for (size_t i = 0; i + 2 <= sizeof(buf); i += 2)
        memcpy(buf + i, "\xc3\xa9", 2);
    assert_non_null(strstr(validate_group((struct span){buf, 2 * GROUP_MAX_LENGTH}), "character outside"));
    assert_non_null(strstr(validate_group((struct span){buf, 2 * GROUP_MAX_LENGTH + 2}), "longer"));
    for (size_t i = 0; i + 4 <= sizeof(buf); i += 4)
        memcpy(buf + i, "\xf0\x9f\x98\x80", 4);
    assert_non_null(strstr(validate_group((struct span){buf, 4 * 127}), "character outside"));
    assert_non_null(strstr(validate_group((struct span){buf, 4 * 128}), "longer"));
}

static void settings_of_a_producer_have_limits(void **state)
{
    (void)state;
    assert_null(validate_create_topic_key(SPAN_LITERAL("TBW102")));
    assert_non_null(strstr(validate_create_topic_key(SPAN_LITERAL("")), "create_topic_key is blank"));
    assert_non_null(strstr(validate_create_topic_key(SPAN_LITERAL("a b")), "create_topic_key has"));
    assert_null(validate_default_topic_queue_nums(1));
    assert_null(validate_default_topic_queue_nums(65535));
    assert_non_null(validate_default_topic_queue_nums(0));
    assert_non_null(validate_default_topic_queue_nums(65536));
    assert_null(validate_max_message_size(MAX_MESSAGE_SIZE));
    assert_non_null(validate_max_message_size(MAX_MESSAGE_SIZE + 1));
    assert_non_null(validate_max_message_size(0));
}

static void some_names_are_not_for_producers(void **state)
{
    (void)state;
    assert_null(validate_group(SPAN_LITERAL("DEFAULT_PRODUCER")));
    assert_non_null(validate_producer_group(SPAN_LITERAL("DEFAULT_PRODUCER")));
    assert_null(validate_producer_group(SPAN_LITERAL("DEFAULT_PRODUCER2")));
    assert_null(validate_topic(SPAN_LITERAL("SCHEDULE_TOPIC_XXXX")));
    assert_non_null(validate_send_topic(SPAN_LITERAL("SCHEDULE_TOPIC_XXXX")));
    assert_null(validate_send_topic(SPAN_LITERAL("SCHEDULE_TOPIC_XXX")));
}

static void bodies_have_a_length(void **state)
{
    (void)state;
    assert_non_null(strstr(validate_body_length(0, 10), "empty"));
    assert_null(validate_body_length(1, 10));
    assert_null(validate_body_length(10, 10));
    assert_non_null(strstr(validate_body_length(11, 10), "longer"));
}

/* ---- properties ---- */

static void properties_are_joined_and_taken_apart(void **state)
{
    (void)state;
    char buf[64];
    size_t len = 0;
    assert_true(properties_append(buf, sizeof(buf), &len, SPAN_LITERAL("TAGS"), SPAN_LITERAL("red")));
    assert_true(properties_append(buf, sizeof(buf), &len, SPAN_LITERAL("k"), SPAN_LITERAL("v\1w")));
    assert_true(properties_append(buf, sizeof(buf), &len, SPAN_LITERAL("TAGS"), SPAN_LITERAL("blue")));
    assert_int_equal(len, sizeof("TAGS\1red\2k\1v\1w\2TAGS\1blue") - 1);
    assert_memory_equal(buf, "TAGS\1red\2k\1v\1w\2TAGS\1blue", len);
    assert_int_equal(properties_validate(buf, len), 0);

    struct span rest = {buf, len}, name, value;
    assert_true(properties_next(&rest, &name, &value));
    assert_true(span_equals(name, SPAN_LITERAL("TAGS")) && span_equals(value, SPAN_LITERAL("red")));
    assert_true(properties_next(&rest, &name, &value));
    assert_true(span_equals(name, SPAN_LITERAL("k")) && span_equals(value, SPAN_LITERAL("v\1w")));
    assert_true(properties_next(&rest, &name, &value));
    assert_false(properties_next(&rest, &name, &value));
    assert_int_equal(rest.len, 0);
}

static void what_does_not_fit_is_not_written(void **state)
{
    (void)state;
    char buf[8] = "";
    for (size_t cap = 0; cap < 3; cap++) {
        size_t len = 0;
        assert_false(properties_append(buf, cap, &len, SPAN_LITERAL("a"), SPAN_LITERAL("b")));
        assert_int_equal(len, 0);
    }
    size_t len = 0;
    assert_true(properties_append(buf, 3, &len, SPAN_LITERAL("a"), SPAN_LITERAL("b")));
    assert_false(properties_append(buf, 6, &len, SPAN_LITERAL("c"), SPAN_LITERAL("d")));
    assert_int_equal(len, 3);
    assert_true(properties_append(buf, 7, &len, SPAN_LITERAL("c"), SPAN_LITERAL("d")));
    assert_int_equal(buf[7], 0);
}

static void malformed_properties_are_refused(void **state)
{
    (void)state;
    static const char *const malformed[] = {"a", "\1b", "a\1", "a\1b\2", "\2a\1b", "a\1b\2\2c\1d", "a\1b\2c", "a\1b\2\1d", "\2", "\1"};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        assert_int_equal(properties_validate(malformed[i], strlen(malformed[i])), -EINVAL);
    assert_int_equal(properties_validate("", 0), 0);

    char *longest = malloc(PROPERTIES_MAX_LENGTH + 1);
    memset(longest, 'v', PROPERTIES_MAX_LENGTH + 1);
    longest[0] = 'k';
    longest[1] = PROPERTY_NAME_SEPARATOR;
    assert_int_equal(properties_validate(longest, PROPERTIES_MAX_LENGTH), 0);
    assert_int_equal(properties_validate(longest, PROPERTIES_MAX_LENGTH + 1), -EINVAL);
    free(longest);
}

/* Whatever bytes a client leaves there: the walk ends, inside the bytes, and agrees with validate. */
static void random_bytes_never_lead_outside(void **state)
{
    (void)state;
    unsigned seed = 4711;
    for (int round = 0; round < 20000; round++) {
        char bytes[24];
        size_t len = (size_t)rand_r(&seed) % sizeof(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = "\1\2ab"[rand_r(&seed) % 4];
        struct span rest = {bytes, len}, name, value;
        size_t entries = 0;
        while (properties_next(&rest, &name, &value)) {
            assert_true(name.len > 0 && value.len > 0 && name.data >= bytes && value.data + value.len <= bytes + len);
            entries++;
        }
        assert_true(entries <= len);
        assert_int_equal(properties_validate(bytes, len), rest.len == 0 ? 0 : -EINVAL);
    }
}

static void users_may_not_set_what_is_reserved(void **state)
{
    (void)state;
    static const char *const reserved[] = {"KEYS", "TAGS", "WAIT", "DELAY", "UNIQ_KEY", "TRAN_MSG", "PGROUP", "INSTANCE_ID", "TTL"};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        assert_non_null(strstr(property_refuse_user(span_of(reserved[i]), SPAN_LITERAL("v")), "reserved"));
    assert_null(property_refuse_user(SPAN_LITERAL("keys"), SPAN_LITERAL("v")));
    assert_null(property_refuse_user(SPAN_LITERAL("KEYS2"), SPAN_LITERAL("v")));
    assert_non_null(property_refuse_user(SPAN_LITERAL(""), SPAN_LITERAL("v")));
    assert_non_null(property_refuse_user(SPAN_LITERAL("k"), SPAN_LITERAL("")));
    assert_non_null(property_refuse_user(SPAN_LITERAL("k\1"), SPAN_LITERAL("v")));
    assert_non_null(property_refuse_user(SPAN_LITERAL("k"), SPAN_LITERAL("v\2")));
}

/* ---- UNIQ_KEY ---- */

static uint32_t be32(const uint8_t *p)
{
    return be32_load(p);
}

static void keys_differ_and_tell_their_time(void **state)
{
    (void)state;
    struct uniq_key_source source;
    uint8_t a[UNIQ_KEY_BYTES], b[UNIQ_KEY_BYTES];
    uniq_key_source_init(&source);
    uint64_t now_ns = mono_now_ns();
    uniq_key_draw(&source, now_ns, a);
    uniq_key_draw(&source, now_ns, b);
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_equal(a, b, 14);
    assert_int_equal((uint16_t)(a[4] << 8 | a[5]), (uint16_t)getpid());

    uniq_key_draw(&source, now_ns + 1500 * NS_PER_MS, b);
    assert_int_equal(be32(b + 10) - be32(a + 10), 1500);

    time_t wall = time(NULL);
    struct tm tm;
    localtime_r(&wall, &tm);
    int64_t since_first = (((tm.tm_mday - 1) * 24 + tm.tm_hour) * 60 + tm.tm_min) * 60 + tm.tm_sec;
    int64_t told = be32(a + 10) / 1000;
    assert_true(told > since_first - 3700 && told < since_first + 3700); /* an hour for summer time */
}

static void the_next_month_draws_anew(void **state)
{
    (void)state;
    struct uniq_key_source source;
    uint8_t a[UNIQ_KEY_BYTES], b[UNIQ_KEY_BYTES];
    uniq_key_source_init(&source);
    uint64_t ends_ns = source.month_ends_ns;
    assert_true(ends_ns > mono_now_ns());
    uniq_key_draw(&source, ends_ns - 1, a);
    uniq_key_draw(&source, ends_ns, b);
    assert_memory_equal(a, b, 6);
    assert_memory_not_equal(a + 6, b + 6, 4);
}

static void the_counter_wraps(void **state)
{
    (void)state;
    struct uniq_key_source source;
    uint8_t first[UNIQ_KEY_BYTES], key[UNIQ_KEY_BYTES];
    uniq_key_source_init(&source);
    uint64_t now_ns = mono_now_ns();
    uniq_key_draw(&source, now_ns, first);
    for (int i = 0; i < 65536; i++)
        uniq_key_draw(&source, now_ns + (i == 65535 ? NS_PER_MS : 0), key);
    assert_memory_equal(key + 14, first + 14, 2);
    assert_memory_not_equal(key, first, sizeof(key));
}

static void only_hex_of_two_lengths_is_a_key(void **state)
{
    (void)state;
    uint8_t out[UNIQ_KEY_MAX_BYTES];
    const char *hex = "0123456789ABCDEFabcdef0123456789ABCDEFabcdef012345678901";
    assert_int_equal(uniq_key_parse(hex, 32, out), 16);
    assert_int_equal(out[0], 0x01);
    assert_int_equal(out[7], 0xef);
    assert_int_equal(out[8], 0xab);
    assert_int_equal(uniq_key_parse(hex, 56, out), 28);
    assert_int_equal(out[27], 0x01);
    for (size_t len = 0; len < 56; len++) {
        if (len != 32)
            assert_int_equal(uniq_key_parse(hex, len, out), 0);
    }
    char wrong[32];
    for (size_t i = 0; i < sizeof(wrong); i++) {
        memcpy(wrong, hex, sizeof(wrong));
        wrong[i] = "g/:@G`"[i % 6];
        assert_int_equal(uniq_key_parse(wrong, sizeof(wrong), out), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_the_conditions_of_493),
        cmocka_unit_test(a_group_is_there_before_it_is_anything_else),
        cmocka_unit_test(lengths_count_java_s_chars),
        cmocka_unit_test(settings_of_a_producer_have_limits),
        cmocka_unit_test(some_names_are_not_for_producers),
        cmocka_unit_test(bodies_have_a_length),
        cmocka_unit_test(properties_are_joined_and_taken_apart),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(malformed_properties_are_refused),
        cmocka_unit_test(random_bytes_never_lead_outside),
        cmocka_unit_test(users_may_not_set_what_is_reserved),
        cmocka_unit_test(keys_differ_and_tell_their_time),
        cmocka_unit_test(the_next_month_draws_anew),
        cmocka_unit_test(the_counter_wraps),
        cmocka_unit_test(only_hex_of_two_lengths_is_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
