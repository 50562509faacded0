/* The pull parser: fastjson's dialect, every limit, and the writer. */
#include "hub/remoting/wire_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char scratch[256];

static struct json_reader reader_of(const char *text)
{
    struct json_reader r;
    json_reader_init(&r, text, strlen(text), scratch, sizeof(scratch));
    return r;
}

static void assert_span(struct span actual, const char *expected)
{
    assert_non_null(actual.data);
    assert_int_equal(actual.len, strlen(expected));
    assert_memory_equal(actual.data, expected, actual.len);
}

static int skip_all(const char *text)
{
    struct json_reader r = reader_of(text);
    json_skip(&r);
    return json_finish(&r);
}

static void text_is(const char *json, const char *expected)
{
    struct json_reader r = reader_of(json);
    assert_span(json_read_text(&r), expected);
    assert_int_equal(json_finish(&r), 0);
}

static void text_fails(const char *json, int error)
{
    struct json_reader r = reader_of(json);
    json_read_text(&r);
    assert_int_equal(json_finish(&r), error);
}

static void test_strings(void **state)
{
    (void)state;
    text_is("\"plain\"", "plain");
    text_is("\"\"", "");
    text_is(" \"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\" ", "a\"b\\c/d\b\f\n\r\t");
    text_is("\"UNIQ_KEY\\u00017F\\u0002\"", "UNIQ_KEY\x01"
                                            "7F\x02");
    text_is("\"\\u000B\\u000b\"", "\x0b\x0b");
    text_is("\"\\u00e9\\u20AC\"", "\xc3\xa9\xe2\x82\xac");
    text_is("\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80");
    text_is("\"\\uDBFF\\uDFFF\"", "\xf4\x8f\xbf\xbf");
    text_is("\"raw \xe4\xb8\xad \x01\"", "raw \xe4\xb8\xad \x01");
}

static void test_half_surrogates_become_replacement_characters(void **state)
{
    (void)state;
    text_is("\"\\ud83d\"", "\xef\xbf\xbd");
    text_is("\"\\ude00x\"", "\xef\xbf\xbdx");
    text_is("\"\\ud83d\\n\"", "\xef\xbf\xbd\n");
    text_is("\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                                  "A");
    text_is("\"\\ud83dabcdef\"", "\xef\xbf\xbd"
                                 "abcdef");
}

static void test_bad_strings(void **state)
{
    (void)state;
    static const char *const bad[] = {"\"",      "\"a",      "\"\\",    "\"a\\\"",          "\"\\q\"", "\"\\u12\"", "\"\\u12g4\"",
                                      "\"\\u\"", "'single'", "\"\\'\"", "\"\\ud83d\\u12\"", "",        "bare"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        text_fails(bad[i], -EPROTO);
}

static void test_scratch_is_bounded(void **state)
{
    (void)state;
    struct json_reader r;
    const char *text = "\"\\n12345678\"";
    json_reader_init(&r, text, strlen(text), scratch, 8);
    assert_null(json_read_text(&r).data);
    assert_int_equal(json_finish(&r), -ENOBUFS);

    bool cut = false;
    json_reader_init(&r, text, strlen(text), scratch, 8);
    assert_span(json_read_text_cut(&r, &cut), "\n1234567");
    assert_true(cut);
    assert_int_equal(json_finish(&r), 0);

    /* Without any scratch plain strings still work; a cut one is empty but there. */
    json_reader_init(&r, "\"abc\"", 5, NULL, 0);
    assert_span(json_read_text(&r), "abc");
    json_reader_init(&r, "\"\\n\"", 4, NULL, 0);
    cut = false;
    assert_span(json_read_text_cut(&r, &cut), "");
    assert_true(cut);
}

static void test_a_cut_falls_between_characters(void **state)
{
    (void)state;
    struct json_reader r;
    bool cut = false;
    const char *text = "\"ab\\u20ac\"";
    json_reader_init(&r, text, strlen(text), scratch, 4);
    assert_span(json_read_text_cut(&r, &cut), "ab");
    assert_true(cut);
}

static void test_scalars_as_text(void **state)
{
    (void)state;
    text_is("12", "12");
    text_is("-0.50e+3", "-0.50e+3");
    text_is("0.0", "0.0");
    text_is("true", "true");
    text_is("false", "false");
    struct json_reader r = reader_of(" null ");
    assert_null(json_read_text(&r).data);
    assert_int_equal(json_finish(&r), 0);
    static const char *const bad[] = {"-", "1.", "1.e3", "1e", "1e+", "tru", "nul", "nulL", "+1", ".5", "{}", "[]", "1 2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        text_fails(bad[i], -EPROTO);
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t value;
    } good[] = {{"0", 0},    {"-1", -1},         {"\"42\"", 42},
                {"null", 0}, {"\"+7\"", 7},      {"9223372036854775807", INT64_MAX},
                {"007", 7},  {"\"\\u0031\"", 1}, {"-9223372036854775808", INT64_MIN}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct json_reader r = reader_of(good[i].json);
        assert_true(json_read_i64(&r) == good[i].value);
        assert_int_equal(json_finish(&r), 0);
    }
    static const char *const bad[] = {"9223372036854775808",
                                      "-9223372036854775809",
                                      "1.5",
                                      "1e3",
                                      "true",
                                      "\"\"",
                                      "\"x\"",
                                      "\"1 \"",
                                      "\"-\"",
                                      "99999999999999999999",
                                      "{}",
                                      ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct json_reader r = reader_of(bad[i]);
        assert_true(json_read_i64(&r) == 0);
        assert_int_equal(json_finish(&r), -EPROTO);
    }
}

static void test_int32_range(void **state)
{
    (void)state;
    struct json_reader r = reader_of("-2147483648");
    assert_int_equal(json_read_i32(&r), INT32_MIN);
    r = reader_of("2147483647");
    assert_int_equal(json_read_i32(&r), INT32_MAX);
    r = reader_of("2147483648");
    assert_int_equal(json_read_i32(&r), 0);
    assert_int_equal(json_finish(&r), -EPROTO);
    r = reader_of("-2147483649");
    json_read_i32(&r);
    assert_int_equal(json_finish(&r), -EPROTO);
}

static void test_members_in_order(void **state)
{
    (void)state;
    struct json_reader r = reader_of("{ \"a\" : 1 , \"list\":[1, 2,3], \"o\":{}, \"last\":\"x\"}");
    struct span key;
    assert_int_equal(json_peek(&r), JSON_OBJECT);
    assert_true(json_enter_object(&r));
    assert_true(json_next_key(&r, &key));
    assert_span(key, "a");
    assert_int_equal(json_peek(&r), JSON_NUMBER);
    assert_int_equal(json_read_i32(&r), 1);
    assert_true(json_next_key(&r, &key));
    assert_span(key, "list");
    assert_true(json_enter_array(&r));
    int sum = 0;
    while (json_next_item(&r))
        sum += json_read_i32(&r);
    assert_int_equal(sum, 6);
    assert_true(json_next_key(&r, &key));
    assert_true(json_enter_object(&r));
    assert_false(json_next_key(&r, &key));
    assert_true(json_next_key(&r, &key));
    assert_span(json_skip(&r), "\"x\"");
    assert_false(json_next_key(&r, &key));
    assert_int_equal(json_finish(&r), 0);
}

static void test_keys_of_fastjson(void **state)
{
    (void)state;
    struct json_reader r = reader_of("{0:\"m\",-1:2,\"2\":3,bare_$1:4,{\"brokerName\":\"b\",\"queueId\":0}:5}");
    struct span key;
    static const char *const keys[] = {"0", "-1", "2", "bare_$1", "{\"brokerName\":\"b\",\"queueId\":0}"};
    assert_true(json_enter_object(&r));
    for (size_t i = 0; i < 5; i++) {
        assert_true(json_next_key(&r, &key));
        assert_span(key, keys[i]);
        json_skip(&r);
    }
    assert_false(json_next_key(&r, &key));
    assert_int_equal(json_finish(&r), 0);
}

static void test_null_is_an_empty_container(void **state)
{
    (void)state;
    struct json_reader r = reader_of("[null,null]");
    assert_true(json_enter_array(&r));
    assert_true(json_next_item(&r));
    assert_false(json_enter_object(&r));
    assert_true(json_next_item(&r));
    assert_false(json_enter_array(&r));
    assert_false(json_next_item(&r));
    assert_int_equal(json_finish(&r), 0);
}

static void test_back_references_are_refused_where_read(void **state)
{
    (void)state;
    static const char *const forms[] = {"{\"$ref\":\"$\"}", "{$ref:\"$\"}", "{\"\\u0024ref\":\"..\"}"};
    for (size_t i = 0; i < 3; i++) {
        struct json_reader r = reader_of(forms[i]);
        struct span key;
        assert_true(json_enter_object(&r));
        assert_false(json_next_key(&r, &key));
        assert_int_equal(json_finish(&r), -EPROTO);
        assert_int_equal(skip_all(forms[i]), 0);
    }
}

static void test_skip(void **state)
{
    (void)state;
    static const char *const good[] = {"{}",
                                       "[]",
                                       "\"x\\n\\ud83d\\ude00\"",
                                       "{\"a\":[1,{\"b\":null}],\"c\":true}",
                                       "{\"offsetTable\":{{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}:0}}",
                                       "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(skip_all(good[i]), 0);
    static const char *const bad[] = {"{",
                                      "[",
                                      "}",
                                      "{]",
                                      "[}",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "[1,]",
                                      "[,1]",
                                      "{,}",
                                      "[1 2]",
                                      "{\"a\":1 2}",
                                      "{:1}",
                                      "{a b:1}",
                                      "{\"a\":1}}",
                                      "{\"a\" 1}",
                                      "{[1]:2}",
                                      "[\"\\q\"]",
                                      "{\"a\":1;}",
                                      "",
                                      "[tru]",
                                      "{\"a\":\"\\u00\"}",
                                      "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]" /* 17 levels */};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(skip_all(bad[i]), -EPROTO);
}

static void test_depth_bomb(void **state)
{
    (void)state;
    static char bomb[1 << 20];
    memset(bomb, '[', sizeof(bomb));
    struct json_reader r;
    json_reader_init(&r, bomb, sizeof(bomb), NULL, 0);
    json_skip(&r);
    assert_int_equal(json_finish(&r), -EPROTO);
    for (size_t i = 0; i + 5 <= sizeof(bomb); i += 5)
        memcpy(bomb + i, "{\"a\":", 5);
    json_reader_init(&r, bomb, sizeof(bomb), NULL, 0);
    json_skip(&r);
    assert_int_equal(json_finish(&r), -EPROTO);
}

static void test_errors_stick(void **state)
{
    (void)state;
    struct json_reader r = reader_of("{\"a\":1}");
    struct span key;
    assert_true(json_enter_object(&r));
    json_fail(&r);
    assert_int_equal(json_peek(&r), JSON_NONE);
    assert_false(json_next_key(&r, &key));
    assert_false(json_next_item(&r));
    assert_false(json_enter_object(&r));
    assert_true(json_read_i64(&r) == 0);
    assert_null(json_skip(&r).data);
    assert_int_equal(json_finish(&r), -EPROTO);
}

static void test_the_reader_must_be_used_in_step(void **state)
{
    (void)state;
    struct span key;
    struct json_reader r = reader_of("{\"a\":1}");
    assert_false(json_next_key(&r, &key)); /* nothing was entered */
    assert_int_equal(json_finish(&r), -EPROTO);
    r = reader_of("{\"a\":1}");
    assert_true(json_enter_object(&r));
    assert_false(json_next_item(&r)); /* not an array */
    assert_int_equal(json_finish(&r), -EPROTO);
    r = reader_of("{\"a\":1}");
    assert_true(json_enter_object(&r)); /* left open */
    assert_int_equal(json_finish(&r), -EPROTO);
    r = reader_of("[]");
    assert_false(json_enter_object(&r));
    assert_int_equal(json_finish(&r), -EPROTO);
}

static void test_nothing_at_all(void **state)
{
    (void)state;
    struct json_reader r;
    json_reader_init(&r, NULL, 0, NULL, 0);
    assert_int_equal(json_peek(&r), JSON_NONE);
    assert_int_equal(json_finish(&r), 0);
    json_reader_init(&r, "\0", 1, NULL, 0);
    assert_int_equal(json_finish(&r), -EPROTO);
}

static void assert_written(const char *text, size_t len, const char *expected)
{
    char buf[128];
    struct json_writer w = json_writer_of(buf, sizeof(buf));
    json_write_string(&w, (struct span){text, len});
    assert_true(json_writer_fits(&w));
    assert_int_equal(w.len, strlen(expected));
    assert_memory_equal(buf, expected, w.len);
}

static void test_writer_escapes_as_fastjson_does(void **state)
{
    (void)state;
    assert_written("", 0, "\"\"");
    assert_written(NULL, 0, "\"\"");
    assert_written("a/b \xc3\xa9", 6, "\"a/b \xc3\xa9\"");
    assert_written("\"\\\b\f\n\r\t", 7, "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    assert_written("k\x01v\x02\x0b\x1f", 6, "\"k\\u0001v\\u0002\\u000B\\u001F\"");
    assert_written("\0", 1, "\"\\u0000\"");
}

static void test_writer_counts_beyond_its_end(void **state)
{
    (void)state;
    char buf[8];
    struct json_writer w = json_writer_of(buf, 4);
    memset(buf, '#', sizeof(buf));
    json_write_raw(&w, SPAN_LITERAL("abcd"));
    assert_true(json_writer_fits(&w));
    json_write_i64(&w, -12);
    json_write_string(&w, SPAN_LITERAL("\n"));
    assert_false(json_writer_fits(&w));
    assert_int_equal(w.len, 4 + 3 + 4);
    assert_memory_equal(buf, "abcd####", 8);
}

static void test_decimal(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *text;
    } rows[] = {{0, "0"},
                {9, "9"},
                {10, "10"},
                {-1, "-1"},
                {1795462867134, "1795462867134"},
                {INT64_MAX, "9223372036854775807"},
                {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[20];
        int64_t back;
        struct span written = {text, i64_to_text(text, rows[i].value)};
        assert_span(written, rows[i].text);
        assert_true(span_to_i64(written, &back));
        assert_true(back == rows[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_half_surrogates_become_replacement_characters),
        cmocka_unit_test(test_bad_strings),
        cmocka_unit_test(test_scratch_is_bounded),
        cmocka_unit_test(test_a_cut_falls_between_characters),
        cmocka_unit_test(test_scalars_as_text),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_int32_range),
        cmocka_unit_test(test_members_in_order),
        cmocka_unit_test(test_keys_of_fastjson),
        cmocka_unit_test(test_null_is_an_empty_container),
        cmocka_unit_test(test_back_references_are_refused_where_read),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_depth_bomb),
        cmocka_unit_test(test_errors_stick),
        cmocka_unit_test(test_the_reader_must_be_used_in_step),
        cmocka_unit_test(test_nothing_at_all),
        cmocka_unit_test(test_writer_escapes_as_fastjson_does),
        cmocka_unit_test(test_writer_counts_beyond_its_end),
        cmocka_unit_test(test_decimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
