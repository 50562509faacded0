/* The cache file: what it keeps, what it survives. Runs on a directory of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hub/store/store.h"
#include "hub/store/store_file.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define TOPICS 60

static char dir_path[64];
static int dirfd_of_test = -1;
static unsigned warnings;

static void count_warnings(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    if (level == LOG_LEVEL_WARN)
        __atomic_fetch_add(&warnings, 1, __ATOMIC_RELAXED);
}

static void empty_directory(void)
{
    DIR *dir = opendir(dir_path);
    for (const struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
        unlinkat(dirfd_of_test, e->d_name, 0);
    if (dir)
        closedir(dir);
}

static unsigned damaged_files(void)
{
    unsigned n = 0;
    DIR *dir = opendir(dir_path);
    for (const struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
        n += strncmp(e->d_name, "data.mdb.damaged-", 17) == 0;
    if (dir)
        closedir(dir);
    return n;
}

static int setup(void **state)
{
    (void)state;
    empty_directory();
    warnings = 0;
    return 0;
}

static int setup_group(void **state)
{
    (void)state;
    snprintf(dir_path, sizeof(dir_path), "/tmp/test_store.%d", getpid());
    mkdir(dir_path, 0700);
    dirfd_of_test = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    log_set_sink(count_warnings, NULL);
    return dirfd_of_test < 0;
}

static int teardown_group(void **state)
{
    (void)state;
    empty_directory();
    close(dirfd_of_test);
    return rmdir(dir_path);
}

static struct store *open_store(void)
{
    struct store *store = NULL;
    assert_int_equal(store_open(&store, dirfd_of_test), 0);
    return store;
}

static size_t body_of(unsigned topic, unsigned version, char *out)
{
    size_t len = 200 + (topic * 37) % 900;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(topic * 31 + version * 7 + i);
    return len;
}

static void save_route(struct store *store, const char *scope, const char *topic, const void *body, size_t len)
{
    store_save(store, STORE_KIND_ROUTE, scope, topic, body, len, "ns1:9876");
}

static int load_route(struct store *store, const char *scope, const char *topic, void **body, size_t *len)
{
    struct store_origin origin;
    int r = store_load(store, STORE_KIND_ROUTE, scope, topic, body, len, &origin);
    if (r == 0) {
        assert_string_equal(origin.from, "ns1:9876");
        assert_true(origin.saved_ms > 0);
        assert_true(origin.expires_ms == origin.saved_ms + STORE_LIFETIME_MS);
    }
    return r;
}

static void save_topics(struct store *store, unsigned version)
{
    char name[32], body[2048];
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(name, sizeof(name), "topic%u", i);
        size_t len = body_of(i, version, body);
        save_route(store, "c1", name, body, len);
    }
}

/* How many topics are there; each that is there must be exactly what was saved. */
static unsigned check_topics(struct store *store, unsigned version)
{
    unsigned found = 0;
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[32], expected[2048];
        void *body = NULL;
        size_t len = 0;
        snprintf(name, sizeof(name), "topic%u", i);
        int r = load_route(store, "c1", name, &body, &len);
        if (r == -ENOENT)
            continue;
        assert_int_equal(r, 0);
        assert_int_equal(len, body_of(i, version, expected));
        assert_memory_equal(body, expected, len);
        free(body);
        found++;
    }
    return found;
}

static void routes_and_names_survive_a_restart(void **state)
{
    (void)state;
    char first[64], again[64], other[64];
    struct store *store = open_store();
    save_topics(store, 1);
    save_topics(store, 2);
    assert_int_equal(store_instance_name(store, "c1|u|list", first, sizeof(first)), 0);
    assert_int_equal(store_instance_name(store, "c1|v|list", other, sizeof(other)), 0);
    assert_string_not_equal(first, other);
    assert_non_null(strchr(first, '#'));
    store_close(store);
    store = open_store();
    assert_int_equal(check_topics(store, 2), TOPICS);
    assert_int_equal(store_instance_name(store, "c1|u|list", again, sizeof(again)), 0);
    assert_string_equal(first, again);
    void *body;
    size_t len;
    assert_int_equal(load_route(store, "c2", "topic1", &body, &len), -ENOENT);
    store_close(store);
    assert_int_equal(warnings, 0);
    assert_int_equal(damaged_files(), 0);
}

static void a_name_outlives_a_killed_hub(void **state)
{
    (void)state;
    int fds[2];
    char name[64] = "", again[64];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *store = NULL;
        struct store_status status;
        if (store_open(&store, dirfd_of_test) || store_instance_name(store, "k", name, sizeof(name)))
            _exit(1);
        do {
            usleep(1000);
            store_status(store, &status);
        } while (status.unwritten || !status.commits);
        if (write(fds[1], name, sizeof(name)) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], name, sizeof(name)), sizeof(name));
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct store *store = open_store();
    assert_int_equal(store_instance_name(store, "k", again, sizeof(again)), 0);
    assert_string_equal(name, again);
    store_close(store);
}

static void an_absent_file_is_no_damage(void **state)
{
    (void)state;
    struct store *store = open_store();
    assert_int_equal(check_topics(store, 0), 0);
    store_close(store);
    assert_int_equal(warnings, 0);
}

static void names_of_another_boot_are_forgotten(void **state)
{
    (void)state;
    struct store_file *file = NULL;
    char value[128], name[64];
    struct span key = {"name\0some-other-boot\0aaaa", 25}, content = SPAN_LITERAL("k\0"
                                                                                  "1#2");
    store_record_seal(value, key, &(struct store_origin){.saved_ms = 1}, content);
    struct store_item item = {key, {value, STORE_RECORD_HEADER + content.len}};
    assert_int_equal(store_file_create(&file, dirfd_of_test, &item, 1), 0);
    store_file_close(file);
    struct store *store = open_store();
    struct store_status status;
    store_status(store, &status);
    assert_int_equal(status.entries, 0);
    assert_int_equal(store_instance_name(store, "k", name, sizeof(name)), 0);
    assert_string_not_equal(name, "1#2");
    store_close(store);
}

/* A file with one route "x" of topic1 in c1, sealed like that. */
static void file_with_route(const struct store_origin *origin, uint16_t version)
{
    struct store_file *file = NULL;
    char value[128];
    struct span key = {"route\0c1\0topic1", 16}, content = {"x", 1};
    store_record_seal(value, key, origin, content);
    be16_store(value + 4, version);
    struct store_item item = {key, {value, store_record_size(origin, content)}};
    assert_int_equal(store_file_create(&file, dirfd_of_test, &item, 1), 0);
    store_file_close(file);
}

static int load_topic1(struct store_origin *origin)
{
    struct store *store = open_store();
    void *body = NULL;
    size_t len;
    int r = store_load(store, STORE_KIND_ROUTE, "c1", "topic1", &body, &len, origin);
    free(body);
    store_close(store);
    return r;
}

static void expired_records_are_forgotten(void **state)
{
    (void)state;
    struct store_origin origin = {.from = "ns:1", .saved_ms = 1000, .expires_ms = wall_now_ms() + 60000}, found;
    file_with_route(&origin, STORE_RECORD_VERSION);
    assert_int_equal(load_topic1(&found), 0);
    assert_string_equal(found.from, "ns:1");
    assert_true(found.saved_ms == 1000 && found.expires_ms == origin.expires_ms);
    origin.expires_ms = wall_now_ms() - 1;
    file_with_route(&origin, STORE_RECORD_VERSION);
    assert_int_equal(load_topic1(&found), -ENOENT);
    origin.expires_ms = wall_now_ms() + 100 * STORE_LIFETIME_MS; /* of a clock that was far ahead */
    file_with_route(&origin, STORE_RECORD_VERSION);
    assert_int_equal(load_topic1(&found), -ENOENT);
    assert_int_equal(warnings, 0);
}

static uint64_t real_monotonic(void *ctx)
{
    struct timespec now;
    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int64_t moved_ms;

static int64_t moved_realtime(void *ctx)
{
    struct timespec now;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + __atomic_load_n(&moved_ms, __ATOMIC_RELAXED);
}

static void records_expire_while_the_hub_runs(void **state)
{
    (void)state;
    static const struct clock_source source = {real_monotonic, moved_realtime, NULL};
    struct store_origin origin;
    char name[64], again[64];
    void *content = NULL;
    size_t len;
    clock_set_source(&source);
    struct store *store = open_store();
    save_route(store, "c1", "topic1", "x", 1);
    store_save(store, STORE_KIND_CONFIG, "", "last", "y", 1, "");
    assert_int_equal(store_instance_name(store, "k", name, sizeof(name)), 0);
    __atomic_store_n(&moved_ms, STORE_LIFETIME_MS - 60000, __ATOMIC_RELAXED);
    assert_int_equal(load_route(store, "c1", "topic1", &content, &len), 0);
    free(content);
    __atomic_store_n(&moved_ms, STORE_LIFETIME_MS + 1, __ATOMIC_RELAXED);
    int expired = load_route(store, "c1", "topic1", &content, &len);
    int config = store_load(store, STORE_KIND_CONFIG, "", "last", &content, &len, &origin);
    int kept = store_instance_name(store, "k", again, sizeof(again));
    store_close(store);
    __atomic_store_n(&moved_ms, 0, __ATOMIC_RELAXED);
    clock_set_source(NULL);
    assert_int_equal(expired, -ENOENT);
    assert_int_equal(config, 0); /* these two count for as long as they are there */
    free(content);
    assert_int_equal(kept, 0);
    assert_string_equal(name, again);
}

static void a_key_that_no_hub_made_is_left_out(void **state)
{
    (void)state;
    static const struct span keys[] = {{"route\0c1\0topic1", 15}, {"route", 6}, {"route\0c1", 9}, {"route\0c1\0a\0b", 13}};
    const struct store_origin origin = {.from = "ns:1", .saved_ms = 1000, .expires_ms = wall_now_ms() + 60000};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct store_file *file = NULL;
        struct store_status status;
        char value[128];
        store_record_seal(value, keys[i], &origin, (struct span){"x", 1});
        struct store_item item = {keys[i], {value, store_record_size(&origin, (struct span){"x", 1})}};
        assert_int_equal(store_file_create(&file, dirfd_of_test, &item, 1), 0);
        store_file_close(file);
        struct store *store = open_store();
        store_status(store, &status);
        assert_int_equal(status.entries, 0);
        store_close(store);
    }
}

static void records_of_another_version_are_left_out_and_are_no_damage(void **state)
{
    (void)state;
    struct store_origin origin = {.from = "ns:1", .saved_ms = 1000, .expires_ms = wall_now_ms() + 60000}, found;
    file_with_route(&origin, STORE_RECORD_VERSION + 1);
    assert_int_equal(load_topic1(&found), -ENOENT);
    assert_int_equal(warnings, 0);
    assert_int_equal(damaged_files(), 0);
}

static void what_is_forgotten_is_gone_here_at_once_and_from_the_file(void **state)
{
    (void)state;
    struct store_status status;
    struct store *store = open_store();
    void *body;
    size_t len;
    save_topics(store, 1);
    save_route(store, "c1", "kept", "k", 1);
    store_close(store);
    store = open_store();
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "topic%u", i);
        store_forget(store, STORE_KIND_ROUTE, "c1", name);
    }
    store_forget(store, STORE_KIND_ROUTE, "c1", "never-was");
    assert_int_equal(check_topics(store, 1), 0);
    store_close(store);
    store = open_store();
    assert_int_equal(check_topics(store, 1), 0);
    assert_int_equal(load_route(store, "c1", "kept", &body, &len), 0);
    free(body);
    /* Forgotten and saved again before the file knew: there. */
    store_forget(store, STORE_KIND_ROUTE, "c1", "kept");
    save_route(store, "c1", "kept", "again", 5);
    do {
        usleep(1000);
        store_status(store, &status);
    } while (status.unwritten);
    assert_int_equal(load_route(store, "c1", "kept", &body, &len), 0);
    assert_int_equal(len, 5);
    free(body);
    /* Forgotten entries do not pile up. */
    store_forget(store, STORE_KIND_ROUTE, "c1", "kept");
    do {
        usleep(1000);
        store_status(store, &status);
    } while (status.unwritten || status.entries);
    assert_int_equal(status.bytes, 0);
    store_close(store);
    assert_int_equal(warnings, 0);
}

static void however_much_changes_there_is_one_commit_a_second(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_status status;
    uint64_t start_ns = mono_now_ns();
    for (unsigned version = 0; mono_now_ns() - start_ns < 2500 * NS_PER_MS; version++) {
        save_topics(store, version);
        usleep(1000);
    }
    store_status(store, &status);
    assert_true(status.commits >= 1);
    assert_true(status.commits <= 1 + (mono_now_ns() - start_ns) / NS_PER_S);
    store_close(store);
}

static bool is_used(void *ctx, const char *scope, const char *name)
{
    (void)ctx;
    assert_string_equal(scope, "c1");
    return strcmp(name, "topic7") == 0;
}

static void what_nobody_uses_any_more_is_forgotten(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_origin origin;
    void *body = NULL;
    size_t len;
    save_topics(store, 1);
    store_save(store, STORE_KIND_BROKER, "c1", "b", "0=h:1", 5, "ns:1");
    assert_int_equal(store_forget_unused(store, STORE_KIND_ROUTE, wall_now_ms() - 60000, is_used, NULL), 0); /* too young */
    assert_int_equal(store_forget_unused(store, STORE_KIND_ROUTE, wall_now_ms() + 60000, is_used, NULL), TOPICS - 1);
    assert_int_equal(check_topics(store, 1), 1);
    assert_int_equal(load_route(store, "c1", "topic7", &body, &len), 0);
    free(body);
    assert_int_equal(store_load(store, STORE_KIND_BROKER, "c1", "b", &body, &len, &origin), 0);
    free(body);
    store_close(store);
    store = open_store();
    assert_int_equal(check_topics(store, 1), 1);
    store_close(store);
}

static void kinds_do_not_meet(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_origin origin;
    void *content;
    size_t len;
    store_save(store, STORE_KIND_ROUTE, "c", "n", "route", 5, "a:1");
    store_save(store, STORE_KIND_BROKER, "c", "n", "0=b:1", 5, "a:2");
    store_save(store, STORE_KIND_NAME_SERVERS, "", "http://d/n", "a:1;a:2", 7, "");
    store_close(store);
    store = open_store();
    assert_int_equal(store_load(store, STORE_KIND_BROKER, "c", "n", &content, &len, &origin), 0);
    assert_string_equal(content, "0=b:1");
    assert_string_equal(origin.from, "a:2");
    free(content);
    assert_int_equal(store_load(store, STORE_KIND_NAME_SERVERS, "", "http://d/n", &content, &len, &origin), 0);
    assert_string_equal(content, "a:1;a:2");
    free(content);
    assert_int_equal(store_load(store, STORE_KIND_CONFIG, "c", "n", &content, &len, &origin), -ENOENT);
    store_close(store);
}

static void the_oldest_entries_go_when_the_cache_is_full(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_status status;
    char *body = calloc(1, 1 << 20), name[32];
    for (unsigned i = 0; i < 14; i++) {
        snprintf(name, sizeof(name), "big%u", i);
        save_route(store, "c1", name, body, (1 << 20) - 100);
    }
    save_route(store, "c1", "huge", body, (1 << 20) + 1);
    store_status(store, &status);
    assert_true(status.bytes <= STORE_BYTES_MAX);
    assert_true(status.evicted >= 2);
    free(body);
    store_close(store);
}

static void wait_until_written(struct store *store)
{
    struct store_status status;
    do {
        usleep(1000);
        store_status(store, &status);
    } while (status.unwritten);
}

static void what_was_evicted_leaves_the_file(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_status status;
    char *body = calloc(1, 1 << 20), name[32];
    for (unsigned i = 0; i < 14; i++) {
        snprintf(name, sizeof(name), "big%u", i);
        save_route(store, "c1", name, body, (1 << 20) - 100);
        if (i == 9)
            wait_until_written(store); /* the first ones are in the file when they have to go */
    }
    free(body);
    store_status(store, &status);
    assert_true(status.evicted >= 2);
    wait_until_written(store);
    for (unsigned i = 0; i < 14; i++) {
        snprintf(name, sizeof(name), "big%u", i);
        store_forget(store, STORE_KIND_ROUTE, "c1", name);
    }
    store_close(store);
    store = open_store();
    store_status(store, &status);
    assert_int_equal(status.entries, 0);
    store_close(store);
    assert_int_equal(warnings, 0);
}

static void too_many_entries_push_out_others_for_good(void **state)
{
    (void)state;
    struct store *store = open_store();
    struct store_status status;
    char name[32];
    for (unsigned i = 0; i < STORE_ENTRIES_MAX + 100; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        save_route(store, "c1", name, "x", 1);
    }
    store_status(store, &status);
    assert_int_equal(status.evicted, 100);
    assert_true(status.entries <= STORE_ENTRIES_MAX + 100);
    wait_until_written(store);
    store_status(store, &status);
    assert_int_equal(status.entries, STORE_ENTRIES_MAX);
    store_close(store);
    store = open_store();
    store_status(store, &status);
    assert_int_equal(status.entries, STORE_ENTRIES_MAX);
    assert_int_equal(status.evicted, 0); /* the file had no more */
    store_close(store);
    assert_int_equal(warnings, 0);
}

static void a_full_disk_costs_only_the_cache(void **state)
{
    (void)state;
    struct rlimit before, tiny;
    struct store_status status;
    struct store *store = open_store();
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tiny = (struct rlimit){16384, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tiny);
    char *body = calloc(1, 200000);
    save_route(store, "c1", "t", body, 200000);
    free(body);
    do {
        usleep(1000);
        store_status(store, &status);
    } while (!status.failures);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status.state, STORE_DISK_FULL);
    assert_int_equal(warnings, 1);
    void *copy = NULL;
    size_t len;
    assert_int_equal(load_route(store, "c1", "t", &copy, &len), 0);
    assert_int_equal(len, 200000);
    free(copy);
    store_close(store);
}

/* ---- damage ---- */

static char *file_read(const char *name, size_t *len)
{
    int fd = openat(dirfd_of_test, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    *len = (size_t)st.st_size;
    char *data = malloc(*len);
    assert_int_equal(read(fd, data, *len), (ssize_t)*len);
    close(fd);
    return data;
}

static void file_write(const char *name, const char *data, size_t len)
{
    int fd = openat(dirfd_of_test, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static uint64_t random_state = 20260101;

static size_t random_below(size_t n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random_state >> 33) % n;
}

static void flip_bit(char *data, size_t at)
{
    uint8_t byte;
    memcpy(&byte, data + at, 1);
    byte = (uint8_t)(byte ^ (1u << random_below(8)));
    memcpy(data + at, &byte, 1);
}

static void swap_pages(char *data, size_t len)
{
    char page[4096];
    size_t a = random_below(len / sizeof(page)) * sizeof(page), b = random_below(len / sizeof(page)) * sizeof(page);
    memcpy(page, data + a, sizeof(page));
    memmove(data + a, data + b, sizeof(page));
    memcpy(data + b, page, sizeof(page));
}

/* The version of the file (LMDB's, in a meta page), or of a record. */
static void change_version(char *data, size_t len)
{
    char *record = memmem(data + random_below(len - 4096), 4096, "RMQH", 4);
    uint32_t version;
    if (record && random_below(2)) {
        be16_store(record + 4, (uint16_t)(1 + random_below(UINT16_MAX)));
        return;
    }
    char *meta = data + random_below(2) * 4096 + 16 + 4; /* page header, magic */
    memcpy(&version, meta, sizeof(version));
    version = 1 - version + (uint32_t)random_below(3);
    memcpy(meta, &version, sizeof(version));
}

/* One of: a flipped bit anywhere, or in a meta page; a zeroed page; two swapped ones; a truncation; noise; a wrong version. */
static size_t mutate(char *data, size_t len, unsigned kind)
{
    size_t at = random_below(len), page = at & ~(size_t)4095;
    switch (kind % 7) {
    case 0:
        flip_bit(data, at);
        return len;
    case 1:
        flip_bit(data, random_below(2 * (size_t)4096));
        return len;
    case 2:
        memset(data + page, 0, 4096);
        return len;
    case 3:
        return at;
    case 4:
        swap_pages(data, len);
        return len;
    case 5:
        change_version(data, len);
        return len;
    default:
        for (size_t i = 0; i < 64 && at + i < len; i++)
            data[at + i] = (char)random_below(256);
        return len;
    }
}

static void a_thousand_damaged_files_give_no_crash_and_no_wrong_route(void **state)
{
    (void)state;
    size_t len;
    unsigned whole = 0;
    unsigned slow = 0;
    struct store *store = open_store();
    save_topics(store, 3);
    store_close(store);
    char *good = file_read(STORE_FILE, &len), *mutant = malloc(len);
    for (unsigned i = 0; i < 1000; i++) {
        memcpy(mutant, good, len);
        file_write(STORE_FILE, mutant, mutate(mutant, len, i));
        uint64_t start_ns = mono_now_ns();
        store = open_store();
        uint64_t took_ns = mono_now_ns() - start_ns;
        slow += took_ns > NS_PER_S;
        whole += check_topics(store, 3) == TOPICS;
        store_close(store);
        assert_true(damaged_files() <= STORE_DAMAGED_KEPT);
    }
    print_message("%u of 1000 still gave every route; %u took longer than a second\n", whole, slow);
    assert_true(slow < 10); /* none does on a machine that has nothing else to do */
    assert_true(whole > 0 && whole < 900);
    free(good);
    free(mutant);
    store = open_store();
    save_topics(store, 4);
    store_close(store);
    store = open_store();
    assert_int_equal(check_topics(store, 4), TOPICS);
    store_close(store);
}

static void a_file_that_is_no_database_is_set_aside(void **state)
{
    (void)state;
    char noise[5000];
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)random_below(256);
    file_write(STORE_FILE, noise, sizeof(noise));
    store_close(open_store());
    assert_int_equal(damaged_files(), 1);
    assert_int_equal(warnings, 1);
    file_write(STORE_FILE, "", 0);
    store_close(open_store());
    assert_int_equal(symlinkat("/etc/passwd", dirfd_of_test, STORE_FILE ".x"), 0);
    renameat(dirfd_of_test, STORE_FILE ".x", dirfd_of_test, STORE_FILE);
    store_close(open_store());
    struct stat st;
    assert_int_equal(fstatat(dirfd_of_test, STORE_FILE, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void a_record_opens_only_under_its_own_key_and_whole(void **state)
{
    (void)state;
    uint8_t value[STORE_RECORD_HEADER + 4 + 10];
    const struct span whole = {(const char *)value, sizeof(value)};
    const struct store_origin origin = {.from = "ns:1", .saved_ms = 77, .expires_ms = 88};
    struct store_origin opened;
    struct span key = SPAN_LITERAL("k"), content = SPAN_LITERAL("0123456789"), out;
    assert_int_equal(store_record_size(&origin, content), sizeof(value));
    store_record_seal(value, key, &origin, content);
    assert_int_equal(store_record_open(key, whole, &opened, &out), 0);
    assert_int_equal(opened.saved_ms, 77);
    assert_int_equal(opened.expires_ms, 88);
    assert_string_equal(opened.from, "ns:1");
    assert_true(span_equals(out, content));
    assert_int_equal(store_record_open((struct span)SPAN_LITERAL("j"), whole, &opened, &out), -EBADMSG);
    for (size_t cut = 0; cut < sizeof(value); cut++)
        assert_int_equal(store_record_open(key, (struct span){whole.data, cut}, &opened, &out), -EBADMSG);
    for (size_t bit = 0; bit < 8 * sizeof(value); bit++) {
        bool in_version = bit / 8 == 4 || bit / 8 == 5;
        value[bit / 8] = (uint8_t)(value[bit / 8] ^ (1u << bit % 8));
        assert_int_equal(store_record_open(key, whole, &opened, &out), in_version ? -EPROTONOSUPPORT : -EBADMSG);
        value[bit / 8] = (uint8_t)(value[bit / 8] ^ (1u << bit % 8));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_record_opens_only_under_its_own_key_and_whole, setup),
        cmocka_unit_test_setup(routes_and_names_survive_a_restart, setup),
        cmocka_unit_test_setup(a_name_outlives_a_killed_hub, setup),
        cmocka_unit_test_setup(an_absent_file_is_no_damage, setup),
        cmocka_unit_test_setup(names_of_another_boot_are_forgotten, setup),
        cmocka_unit_test_setup(expired_records_are_forgotten, setup),
        cmocka_unit_test_setup(records_expire_while_the_hub_runs, setup),
        cmocka_unit_test_setup(a_key_that_no_hub_made_is_left_out, setup),
        cmocka_unit_test_setup(records_of_another_version_are_left_out_and_are_no_damage, setup),
        cmocka_unit_test_setup(what_is_forgotten_is_gone_here_at_once_and_from_the_file, setup),
        cmocka_unit_test_setup(what_nobody_uses_any_more_is_forgotten, setup),
        cmocka_unit_test_setup(kinds_do_not_meet, setup),
        cmocka_unit_test_setup(however_much_changes_there_is_one_commit_a_second, setup),
        cmocka_unit_test_setup(the_oldest_entries_go_when_the_cache_is_full, setup),
        cmocka_unit_test_setup(what_was_evicted_leaves_the_file, setup),
        cmocka_unit_test_setup(too_many_entries_push_out_others_for_good, setup),
        cmocka_unit_test_setup(a_full_disk_costs_only_the_cache, setup),
        cmocka_unit_test_setup(a_file_that_is_no_database_is_set_aside, setup),
        cmocka_unit_test_setup(a_thousand_damaged_files_give_no_crash_and_no_wrong_route, setup),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
