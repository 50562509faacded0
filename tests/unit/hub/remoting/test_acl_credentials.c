/* The credentials file: what is refused and how it is said; what stays of the secret: nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/remoting/acl_credentials.h"

static char dir[64], file[128];
static char why[512];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/test_acl.XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/credentials", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(dir);
}

static void write_bytes(const void *data, size_t len)
{
    unlink(file);
    int fd = open(file, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static struct acl_credentials *load(const char *text)
{
    struct acl_credentials *credentials = NULL;
    write_bytes(text, strlen(text));
    if (acl_credentials_load(&credentials, file, why, sizeof(why)) < 0)
        fail_msg("%s", why);
    return credentials;
}

static void expect_refused(const char *path, const char *reason)
{
    struct acl_credentials *credentials = NULL;
    assert_int_equal(acl_credentials_load(&credentials, path, why, sizeof(why)), -EACCES);
    assert_null(credentials);
    if (!strstr(why, reason) || !strstr(why, path))
        fail_msg("\"%s\" does not name %s and say \"%s\"", why, path, reason);
    assert_null(strchr(why, '\n'));
}

static void expect_text_refused(const char *text, const char *reason)
{
    write_bytes(text, strlen(text));
    expect_refused(file, reason);
    assert_null(strstr(why, "hush")); /* whatever stands in the file stays there */
}

/* ---- who may own it, and how ---- */

static void every_mode_but_the_owner_s_is_refused(void **state)
{
    (void)state;
    char expected[32];
    acl_credentials_free(load("access_key=a\nsecret_key=s\n"));
    for (unsigned mode = 0; mode < 010000; mode = mode < 0777 ? mode + 1 : mode + 01000) {
        assert_int_equal(chmod(file, mode), 0);
        if ((mode & ~0600u) == 0)
            continue;
        snprintf(expected, sizeof(expected), "has mode %04o: it must be 0600", mode);
        expect_refused(file, expected);
    }
    chmod(file, 0400);
    struct acl_credentials *credentials;
    assert_int_equal(acl_credentials_load(&credentials, file, why, sizeof(why)), 0);
    acl_credentials_free(credentials);
}

static void another_user_s_file_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    acl_credentials_free(load("access_key=a\nsecret_key=s\n"));
    assert_int_equal(chown(file, 1234, 0), 0);
    expect_refused(file, "belongs to uid 1234: it must belong to the hub's user (uid 0) or root");
}

static void what_is_no_file_of_its_own_is_refused(void **state)
{
    (void)state;
    char link[160], fifo[160];
    acl_credentials_free(load("access_key=a\nsecret_key=s\n"));
    snprintf(link, sizeof(link), "%s/link", dir);
    snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    assert_int_equal(symlink(file, link), 0);
    expect_refused(link, "is a symbolic link: name the file itself");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_refused(fifo, "is not a regular file");
    expect_refused(dir, "is not a regular file");
    unlink(file);
    expect_refused(file, "cannot be opened: No such file or directory");
    unlink(link);
    unlink(fifo);
}

/* ---- what stands in it ---- */

static void lines_are_told_by_number_only(void **state)
{
    (void)state;
    expect_text_refused("", "has no access_key");
    expect_text_refused("secret_key=hush\n", "has no access_key");
    expect_text_refused("access_key=a\n", "has no secret_key");
    expect_text_refused("access_key=a\nhush\n", "line 2 is not of the form name = value");
    expect_text_refused("hush=x\n", "line 1 sets something else");
    expect_text_refused("\n# hush\nsecret_key=hush\nSecretKey=hush\n", "line 4 sets again");
    expect_text_refused("secret_key =  \n", "line 1 has no value");
    expect_text_refused("secret_key=hu sh\n", "line 1 has a blank or a control character");
    expect_text_refused("secret_key=hu\x01sh\n", "line 1 has a blank or a control character");
    expect_text_refused("[hush]\n", "line 1 is not of the form");
}

static void lengths_have_limits(void **state)
{
    (void)state;
    static char text[ACL_FILE_MAX_BYTES + 2];
    memset(text, 'k', sizeof(text));
    memcpy(text, "access_key=a\nsecret_key=", 24);
    write_bytes(text, 24 + ACL_KEY_MAX);
    struct acl_credentials *credentials;
    assert_int_equal(acl_credentials_load(&credentials, file, why, sizeof(why)), 0);
    acl_credentials_free(credentials);
    write_bytes(text, 24 + ACL_KEY_MAX + 1);
    expect_refused(file, "line 2 has a key of more than 255 bytes");
    memcpy(text, "access_key=a\nsecurity_token=", 28);
    write_bytes(text, 28 + ACL_TOKEN_MAX + 1);
    expect_refused(file, "line 2 has a token of more than 4096 bytes");
    memset(text, '\n', sizeof(text));
    write_bytes(text, ACL_FILE_MAX_BYTES);
    expect_refused(file, "has no access_key");
    write_bytes(text, ACL_FILE_MAX_BYTES + 1);
    expect_refused(file, "is longer than 8192 bytes");
    write_bytes("access_key=a\nsecret_key=\0hush", 29);
    expect_refused(file, "line 2 has a blank or a control character");
}

static void both_spellings_comments_and_line_ends_are_read(void **state)
{
    (void)state;
    struct acl_credentials *c = load("; x\r\n  AccessKey =  key=1  \r\nsecret_key\t=\ts\r\n#\n\nSecurityToken=t");
    assert_true(span_equals(acl_credentials_access_key(c), SPAN_LITERAL("key=1")));
    assert_true(span_equals(acl_credentials_security_token(c), SPAN_LITERAL("t")));
    acl_credentials_free(c);
    c = load("access_key=a\nsecret_key=s");
    assert_null(acl_credentials_security_token(c).data);
    acl_credentials_free(c);
}

static void garbage_is_refused_or_read_and_nothing_else(void **state)
{
    (void)state;
    static const char pieces[][24] = {"access_key", "secret_key", "security_token", "AccessKey", "=", "=", "\n", "\n", " ",
                                      "#",          "\r",         "\xff",           "x"};
    char text[600];
    srand(17);
    for (int round = 0; round < 3000; round++) {
        size_t len = 0;
        for (int n = rand() % 24; n > 0; n--) {
            const char *piece = pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        write_bytes(text, len);
        struct acl_credentials *credentials;
        int r = acl_credentials_load(&credentials, file, why, sizeof(why));
        assert_true(r == 0 || r == -EACCES);
        if (r == 0)
            acl_credentials_free(credentials);
    }
}

/* ---- signatures ---- */

static void expect_signature(const char *key_line, struct span text, const char *base64)
{
    char signature[ACL_SIGNATURE_LEN], name[600];
    snprintf(name, sizeof(name), "access_key=a\nsecret_key=%s\n", key_line);
    struct acl_credentials *c = load(name);
    for (size_t cut = 0; cut <= text.len; cut++) { /* however it is cut into parts */
        const struct span parts[] = {{text.data, cut}, {text.data + cut, text.len - cut}};
        acl_sign(c, parts, 2, signature);
        assert_memory_equal(signature, base64, ACL_SIGNATURE_LEN);
    }
    acl_credentials_free(c);
}

/* RFC 2202, the cases whose keys are text or can be. */
static void hmac_sha1_vectors(void **state)
{
    (void)state;
    char aa[81];
    expect_signature("Jefe", SPAN_LITERAL("what do ya want for nothing?"), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    memset(aa, 0xaa, 80);
    aa[80] = '\0'; /* longer than a block: hashed first */
    expect_signature(aa, SPAN_LITERAL("Test Using Larger Than Block-Size Key - Hash Key First"), "qkrl4VJy0A6VcFY3zoo7Ve1AIRI=");
    expect_signature(aa, SPAN_LITERAL("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"),
                     "6OmdD0UjfXhta7qnllx4CLv/GpE=");
}

/* ---- cost ---- */

static unsigned long allocations;

static void *counting_malloc(size_t n, const char *at, int line)
{
    (void)at;
    (void)line;
    allocations++;
    return malloc(n);
}

static void *counting_realloc(void *p, size_t n, const char *at, int line)
{
    (void)at;
    (void)line;
    allocations++;
    return realloc(p, n);
}

static void uncounted_free(void *p, const char *at, int line)
{
    (void)at;
    (void)line;
    free(p);
}

/* Neither here nor inside OpenSSL: it runs once per message. */
static void signing_allocates_nothing(void **state)
{
    (void)state;
    char signature[ACL_SIGNATURE_LEN];
    const struct span parts[] = {SPAN_LITERAL("some"), SPAN_LITERAL("text")};
    struct acl_credentials *c = load("access_key=a\nsecret_key=s\n");
    unsigned long before = allocations;
    for (int i = 0; i < 1000; i++)
        acl_sign(c, parts, 2, signature);
    assert_int_equal(allocations, before);
    acl_credentials_free(c);
}

/* ---- the secret ---- */

#define SECRET_LEN 48u
#define MASK 0x5a
#define RANGE_MAX (256ul << 20)

static void draw_masked(unsigned char masked[SECRET_LEN])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[SECRET_LEN];
    int fd = open("/dev/urandom", O_RDONLY);
    assert_int_equal(read(fd, random, sizeof(random)), sizeof(random));
    close(fd);
    for (size_t i = 0; i < SECRET_LEN; i++)
        masked[i] = (unsigned char)digits[random[i] % 36] ^ MASK;
}

/* Written one byte at a time, so that the whole never stands in this program's memory. */
static void write_masked_secret(const unsigned char masked[SECRET_LEN])
{
    static const char head[] = "access_key=RocketMQ\nsecret_key=";
    write_bytes(head, sizeof(head) - 1);
    int fd = open(file, O_WRONLY | O_APPEND);
    for (size_t i = 0; i < SECRET_LEN; i++) {
        unsigned char c = masked[i] ^ MASK;
        assert_int_equal(write(fd, &c, 1), 1);
    }
    close(fd);
}

static bool contains_half(const unsigned char *data, size_t len, const unsigned char *masked)
{
    for (size_t i = 0; i + SECRET_LEN / 2 <= len; i++) {
        size_t same = 0;
        while (same < SECRET_LEN / 2 && data[i + same] == (masked[same] ^ MASK))
            same++;
        if (same == SECRET_LEN / 2)
            return true;
    }
    return false;
}

/* Looks through all memory of this process, dumpable or not, for half of the secret. */
static unsigned count_in_memory(const unsigned char masked[SECRET_LEN])
{
    unsigned found = 0;
    char line[512];
    unsigned long from, to;
    char perm;
    FILE *maps = fopen("/proc/self/maps", "r");
    int mem = open("/proc/self/mem", O_RDONLY);
    assert_non_null(maps);
    assert_true(mem >= 0);
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx %c", &from, &to, &perm) != 3 || perm != 'r' || to - from > RANGE_MAX)
            continue; /* sanitizers reserve terabytes */
        unsigned char *copy = malloc(to - from);
        ssize_t n = pread(mem, copy, to - from, (off_t)from);
        if (n > 0)
            found += contains_half(copy, (size_t)n, masked);
        free(copy);
    }
    close(mem);
    fclose(maps);
    return found;
}

static void nothing_of_the_secret_is_in_memory(void **state)
{
    (void)state;
    unsigned char masked[SECRET_LEN];
    char signature[ACL_SIGNATURE_LEN], again[ACL_SIGNATURE_LEN];
    struct acl_credentials *c;
    draw_masked(masked);
    write_masked_secret(masked);
    assert_int_equal(acl_credentials_load(&c, file, why, sizeof(why)), 0);
    const struct span part = SPAN_LITERAL("text");
    acl_sign(c, &part, 1, signature);
    assert_int_equal(count_in_memory(masked), 0);
    acl_sign(c, &part, 1, again); /* and yet it signs */
    assert_memory_equal(signature, again, sizeof(signature));
    acl_credentials_free(c);

    /* The search finds what is there. */
    char *planted = malloc(SECRET_LEN);
    for (size_t i = 0; i < SECRET_LEN; i++)
        ((volatile char *)planted)[i] = (char)(masked[i] ^ MASK);
    assert_true(count_in_memory(masked) > 0);
    free(planted);
}

/* What signs is kept out of core dumps: the mapping has the kernel's dd (do not dump) flag. */
static void the_keyed_states_are_not_dumped(void **state)
{
    (void)state;
    char line[512];
    unsigned long from, to, at;
    bool inside = false, dd = false;
    struct acl_credentials *c = load("access_key=a\nsecret_key=s\n");
    at = (unsigned long)(uintptr_t)c;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = at >= from && at < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            dd = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    acl_credentials_free(c);
    assert_true(dd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_mode_but_the_owner_s_is_refused),
        TEST(another_user_s_file_is_refused),
        TEST(what_is_no_file_of_its_own_is_refused),
        TEST(lines_are_told_by_number_only),
        TEST(lengths_have_limits),
        TEST(both_spellings_comments_and_line_ends_are_read),
        TEST(garbage_is_refused_or_read_and_nothing_else),
        TEST(hmac_sha1_vectors),
        TEST(signing_allocates_nothing),
        TEST(nothing_of_the_secret_is_in_memory),
        TEST(the_keyed_states_are_not_dumped),
    };
    if (!CRYPTO_set_mem_functions(counting_malloc, counting_realloc, uncounted_free))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
