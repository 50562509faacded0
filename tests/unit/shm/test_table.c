/*
 * The instance table: what a reader sees while a writer publishes, dies, or left
 * damage. Reader and writer are interleaved at every system call of both sides.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/runtime_dir.h"
#include "shm/table_reader.h"
#include "shm/table_writer.h"

#define SMALL \
    { \
        8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 64 \
    }

static const uint32_t small[TABLE_SECTION_COUNT] = SMALL;
static char dir[64], path[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/rmqhub-table-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/table", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char other[96];
    unlink(path);
    snprintf(other, sizeof(other), "%s/table.new", dir);
    unlink(other);
    snprintf(other, sizeof(other), "%s/lock", dir);
    unlink(other);
    return rmdir(dir);
}

static struct table_writer *new_writer(void)
{
    struct table_writer *w = NULL;
    assert_int_equal(table_writer_new(&w, dir, small), 0);
    return w;
}

static struct table_reader *new_reader(void)
{
    struct table_reader *r = NULL;
    assert_int_equal(table_reader_new(&r, dir), 0);
    return r;
}

/* A snapshot whose every part carries the same number. */
static int publish_number(struct table_writer *w, uint64_t number, const struct table_event_ring *ring)
{
    table_writer_begin(w);
    for (unsigned i = 0; i < 1 + number % 8; i++) {
        struct table_client *client = table_writer_add(w, TABLE_CLIENTS);
        client->number = number;
        snprintf(client->command, sizeof(client->command), "command-%llu", (unsigned long long)number);
        struct table_counter *counter = table_writer_add(w, TABLE_COUNTERS);
        counter->value = number;
    }
    table_writer_hub(w)->epoch = number;
    return table_writer_publish(w, ring);
}

/* Every part of the loaded snapshot carries one number, which is returned. */
static uint64_t whole_number(const struct table_reader *r)
{
    uint64_t number = table_reader_half(r)->hub.epoch;
    uint32_t clients, counters;
    const struct table_client *client = table_reader_rows(r, TABLE_CLIENTS, &clients);
    const struct table_counter *counter = table_reader_rows(r, TABLE_COUNTERS, &counters);
    assert_int_equal(clients, 1 + number % 8);
    assert_int_equal(counters, clients);
    for (unsigned i = 0; i < clients; i++) {
        char command[32];
        snprintf(command, sizeof(command), "command-%llu", (unsigned long long)number);
        assert_int_equal(client[i].number, number);
        assert_string_equal(client[i].command, command);
        assert_int_equal(counter[i].value, number);
    }
    return number;
}

static void test_publish_and_read(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    assert_int_equal(table_reader_load(r), -ENOENT);
    assert_non_null(strstr(table_reader_reason(r), path));
    for (uint64_t i = 1; i <= 20; i++) {
        assert_int_equal(publish_number(w, i, NULL), 0);
        assert_int_equal(table_reader_load(r), TABLE_LOADED);
        assert_int_equal(whole_number(r), i);
        assert_int_equal(table_reader_load(r), TABLE_UNCHANGED);
        assert_int_equal(whole_number(r), i);
    }
    assert_true(table_reader_age_ms(r) < 60000);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, RUNTIME_FILE_MODE);
    assert_true((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
    table_writer_free(w);
    assert_int_equal(table_reader_load(r), TABLE_UNCHANGED); /* the file outlives its hub */
    table_reader_free(r);
}

static void test_full_section_is_counted(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    table_writer_begin(w);
    for (unsigned i = 0; i < 8; i++)
        assert_non_null(table_writer_add(w, TABLE_PENDING));
    assert_null(table_writer_add(w, TABLE_PENDING));
    assert_null(table_writer_add(w, TABLE_PENDING));
    assert_int_equal(table_writer_publish(w, NULL), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(table_reader_half(r)->dropped[TABLE_PENDING], 2);
    assert_int_equal(table_reader_half(r)->count[TABLE_PENDING], 8);
    table_reader_free(r);
    table_writer_free(w);
}

static void test_next_hub_replaces_the_file(void **state)
{
    (void)state;
    struct table_writer *first = new_writer();
    struct table_reader *r = new_reader();
    assert_int_equal(publish_number(first, 1, NULL), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    struct table_writer *second = new_writer();
    assert_int_equal(table_reader_load(r), TABLE_UNCHANGED); /* nothing to see before its first snapshot */
    assert_int_equal(publish_number(second, 2, NULL), 0);
    assert_int_equal(publish_number(first, 3, NULL), 0); /* an old hub that still writes is not seen */
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(whole_number(r), 2);
    table_reader_free(r);
    table_writer_free(first);
    table_writer_free(second);
}

static void test_unpublished_file_is_removed(void **state)
{
    (void)state;
    table_writer_free(new_writer());
    char temporary[96];
    snprintf(temporary, sizeof(temporary), "%s/table.new", dir);
    assert_int_equal(access(temporary, F_OK), -1);
    table_writer_free(NULL);
    table_reader_free(NULL);
}

struct event_fixture {
    struct table_event rows[64];
    struct table_event_ring ring;
};

static void add_event(struct event_fixture *f)
{
    uint64_t seq = f->ring.next_seq++;
    struct table_event *e = &f->rows[seq % 64];
    *e = (struct table_event){.seq = seq, .count = 1};
    snprintf(e->text, sizeof(e->text), "event %llu", (unsigned long long)seq);
}

static void check_events(const struct table_reader *r, const struct event_fixture *f)
{
    uint64_t first, next;
    table_reader_events(r, &first, &next);
    assert_int_equal(next, f->ring.next_seq);
    assert_int_equal(first, next > 64 ? next - 64 : 0);
    for (uint64_t seq = first; seq < next; seq++)
        assert_memory_equal(table_reader_event(r, seq), &f->rows[seq % 64], sizeof(struct table_event));
}

static void test_event_ring_is_copied_into_both_halves(void **state)
{
    (void)state;
    static struct event_fixture f;
    f.ring = (struct table_event_ring){f.rows, 64, 0};
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    static const unsigned burst[] = {0, 1, 3, 0, 70, 1, 63, 64, 65, 200, 0, 5};
    for (unsigned i = 0; i < sizeof(burst) / sizeof(burst[0]); i++) {
        for (unsigned n = 0; n < burst[i]; n++)
            add_event(&f);
        if (f.ring.next_seq > TABLE_EVENT_REWRITE) /* a repeat merged into a recent line */
            f.rows[(f.ring.next_seq - TABLE_EVENT_REWRITE) % 64].count++;
        assert_int_equal(publish_number(w, i + 1, &f.ring), 0);
        assert_int_equal(table_reader_load(r), TABLE_LOADED);
        check_events(r, &f);
    }
    table_reader_free(r);
    table_writer_free(w);
}

/* Interleaving: at the chosen step of one side, the other side runs. */
struct interleave {
    struct table_writer *writer;
    struct table_reader *reader;
    unsigned step, at, publishes;
    uint64_t published;
    bool hit;
};

static void publish_at_step(void *ctx, const char *step)
{
    (void)step;
    struct interleave *x = ctx;
    if (x->step++ != x->at)
        return;
    x->hit = true;
    for (unsigned i = 0; i < x->publishes; i++)
        assert_int_equal(publish_number(x->writer, ++x->published, NULL), 0);
}

static void test_publish_at_each_step_of_a_reader(void **state)
{
    (void)state;
    for (unsigned publishes = 1; publishes <= 4; publishes++) {
        for (unsigned at = 0;; at++) {
            struct interleave x = {.writer = new_writer(), .reader = new_reader(), .at = at, .publishes = publishes, .published = 5};
            assert_int_equal(publish_number(x.writer, 5, NULL), 0);
            table_reader_set_step_hook(x.reader, publish_at_step, &x);
            assert_int_equal(table_reader_load(x.reader), TABLE_LOADED);
            whole_number(x.reader);
            table_reader_free(x.reader);
            table_writer_free(x.writer);
            if (!x.hit)
                break;
            assert_true(at < 100);
        }
    }
}

static void load_at_step(void *ctx, const char *step)
{
    (void)step;
    struct interleave *x = ctx;
    int result = table_reader_load(x->reader);
    assert_true(result == TABLE_LOADED || result == TABLE_UNCHANGED);
    uint64_t seen = whole_number(x->reader);
    assert_true(seen == x->published || seen == x->published - 1);
    x->hit = true;
}

static void test_read_at_each_step_of_a_publish(void **state)
{
    (void)state;
    struct interleave x = {.writer = new_writer(), .reader = new_reader(), .published = 1};
    assert_int_equal(publish_number(x.writer, 1, NULL), 0);
    table_writer_set_step_hook(x.writer, load_at_step, &x);
    for (x.published = 2; x.published < 20; x.published++)
        assert_int_equal(publish_number(x.writer, x.published, NULL), 0);
    assert_true(x.hit);
    table_reader_free(x.reader);
    table_writer_free(x.writer);
}

static void always_publish(void *ctx, const char *step)
{
    struct interleave *x = ctx;
    if (strcmp(step, "generation again") == 0)
        assert_int_equal(publish_number(x->writer, ++x->published, NULL), 0);
}

static void test_reader_gives_up_in_the_end(void **state)
{
    (void)state;
    struct interleave x = {.writer = new_writer(), .reader = new_reader(), .published = 1};
    assert_int_equal(publish_number(x.writer, 1, NULL), 0);
    table_reader_set_step_hook(x.reader, always_publish, &x);
    assert_int_equal(table_reader_load(x.reader), -EAGAIN);
    uint32_t count;
    assert_null(table_reader_rows(x.reader, TABLE_CLIENTS, &count));
    assert_int_equal(count, 0);
    table_reader_set_step_hook(x.reader, NULL, NULL);
    assert_int_equal(table_reader_load(x.reader), TABLE_LOADED);
    whole_number(x.reader);
    table_reader_free(x.reader);
    table_writer_free(x.writer);
}

static void die_at_step(void *ctx, const char *step)
{
    (void)step;
    struct interleave *x = ctx;
    if (x->step++ == x->at)
        _exit(7);
}

/* A child publishes 1, 2, 3 and is gone before its n-th step: readers find a whole snapshot, the last one that ended. */
static void test_death_before_each_step(void **state)
{
    (void)state;
    uint64_t last_seen = 0;
    for (unsigned at = 0;; at++) {
        pid_t child = fork();
        if (child == 0) {
            struct interleave x = {.writer = new_writer(), .at = at};
            table_writer_set_step_hook(x.writer, die_at_step, &x);
            for (uint64_t i = 1; i <= 3; i++)
                if (publish_number(x.writer, i, NULL) != 0)
                    _exit(9);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 9);
        struct table_reader *r = new_reader();
        int result = table_reader_load(r);
        if (result == -ENOENT) {
            assert_int_equal(last_seen, 0);
        } else {
            assert_int_equal(result, TABLE_LOADED);
            uint64_t seen = whole_number(r);
            assert_true(seen == last_seen || seen == last_seen + 1);
            last_seen = seen;
        }
        table_reader_free(r);
        unlink(path);
        if (WEXITSTATUS(status) == 0)
            break;
        assert_true(at < 100);
    }
    assert_int_equal(last_seen, 3);
}

/* A child flips as fast as it can while this process reads. */
static void test_flips_under_a_concurrent_reader(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    assert_int_equal(publish_number(w, 1, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t i = 2; i < 20000; i++)
            if (publish_number(w, i, NULL) != 0)
                _exit(1);
        _exit(0);
    }
    struct table_reader *r = new_reader();
    uint64_t last = 0;
    int status;
    for (bool running = true; running;) {
        running = waitpid(child, &status, WNOHANG) == 0;
        int result = table_reader_load(r);
        if (result == -EAGAIN)
            continue;
        assert_true(result == TABLE_LOADED || result == TABLE_UNCHANGED);
        uint64_t seen = whole_number(r);
        assert_true(seen >= last);
        last = seen;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(last, 19999);
    table_reader_free(r);
    table_writer_free(w);
}

/* Whatever a dying or failing writer left in the idle half, the named one is whole. */
static void test_idle_half_may_hold_anything(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    struct table_file_header h;
    static char noise[1 << 20];
    memset(noise, 0xff, sizeof(noise));
    for (uint64_t i = 1; i < 10; i++) {
        assert_int_equal(publish_number(w, i, NULL), 0);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
        assert_true(h.half_bytes <= sizeof(noise));
        off_t idle = (off_t)(TABLE_HEADER_BYTES + (~h.generation & 1) * h.half_bytes);
        assert_int_equal(pwrite(fd, noise, h.half_bytes, idle), h.half_bytes);
        close(fd);
        assert_int_equal(table_reader_load(r), TABLE_LOADED);
        assert_int_equal(whole_number(r), i);
    }
    table_reader_free(r);
    table_writer_free(w);
}

static void test_deleted_and_truncated_tables_come_back(void **state)
{
    (void)state;
    static struct event_fixture f;
    f.ring = (struct table_event_ring){f.rows, 64, 0};
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    for (unsigned i = 0; i < 40; i++)
        add_event(&f);
    assert_int_equal(publish_number(w, 1, &f.ring), 0);
    assert_int_equal(publish_number(w, 2, &f.ring), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(table_reader_load(r), -ENOENT);
    assert_int_equal(publish_number(w, 3, &f.ring), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(whole_number(r), 3);
    check_events(r, &f);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(table_reader_load(r), -EBADMSG);
    assert_int_equal(publish_number(w, 4, &f.ring), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(whole_number(r), 4);
    check_events(r, &f);
    table_reader_free(r);
    table_writer_free(w);
}

/*
 * The order of the writer's steps, weakened: what is named before it is written. The
 * checks above must notice, or they prove nothing.
 */
struct too_early {
    struct interleave x;
    struct table_file_header header;
    bool half_header_too, done, noticed;
};

static void name_too_early(void *ctx, const char *step)
{
    struct too_early *e = ctx;
    if (!e->done && strcmp(step, "clients") == 0) {
        uint64_t next = e->header.generation + 1;
        off_t half = (off_t)(TABLE_HEADER_BYTES + (next & 1) * e->header.half_bytes);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        struct table_half_header header;
        assert_int_equal(pread(fd, &header, sizeof(header), half), sizeof(header));
        header.generation = next;
        header.hub.epoch += 2;
        if (e->half_header_too)
            assert_int_equal(pwrite(fd, &header, sizeof(header), half), sizeof(header));
        assert_int_equal(pwrite(fd, &next, sizeof(next), offsetof(struct table_file_header, generation)), sizeof(next));
        close(fd);
        e->done = true;
    }
    int result = table_reader_load(e->x.reader);
    uint32_t count;
    const struct table_client *client = table_reader_rows(e->x.reader, TABLE_CLIENTS, &count);
    if (result == -EBADMSG || (result == TABLE_LOADED && client[0].number != table_reader_half(e->x.reader)->hub.epoch))
        e->noticed = true;
}

static void test_weaker_orders_are_noticed(void **state)
{
    (void)state;
    for (int half_header_too = 0; half_header_too < 2; half_header_too++) {
        struct too_early e = {.x = {.writer = new_writer(), .reader = new_reader()}, .half_header_too = half_header_too};
        for (uint64_t i = 1; i <= 4; i++)
            assert_int_equal(publish_number(e.x.writer, i, NULL), 0);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, &e.header, sizeof(e.header), 0), sizeof(e.header));
        close(fd);
        table_writer_set_step_hook(e.x.writer, name_too_early, &e);
        assert_int_equal(publish_number(e.x.writer, 5, NULL), 0);
        assert_true(e.done && e.noticed);
        table_reader_free(e.x.reader);
        table_writer_free(e.x.writer);
    }
}

static void patch(off_t at, const void *data, size_t bytes)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, at), bytes);
    close(fd);
}

static void expect_error(int expected, const char *word)
{
    struct table_reader *r = new_reader();
    int result = table_reader_load(r);
    assert_int_equal(result, expected);
    assert_non_null(strstr(table_reader_reason(r), word));
    table_reader_free(r);
}

static void test_damaged_files_are_named(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    assert_int_equal(publish_number(w, 1, NULL), 0);
    struct table_file_header good;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &good, sizeof(good), 0), sizeof(good));
    close(fd);
    uint16_t version = TABLE_VERSION_MAJOR + 1;
    patch(offsetof(struct table_file_header, version_major), &version, sizeof(version));
    expect_error(-EPROTONOSUPPORT, "version");
    patch(0, &good, sizeof(good));
    uint64_t wrong = 42;
    patch(offsetof(struct table_file_header, fingerprint), &wrong, sizeof(wrong));
    expect_error(-EPROTONOSUPPORT, "builds");
    patch(0, &good, sizeof(good));
    patch(offsetof(struct table_file_header, magic), &wrong, sizeof(wrong));
    expect_error(-EBADMSG, "magic");
    patch(0, &good, sizeof(good));
    uint32_t huge = UINT32_MAX;
    patch(offsetof(struct table_file_header, section[2].capacity), &huge, sizeof(huge));
    expect_error(-EBADMSG, "claims");
    huge = 1 << 20; /* allowed by itself; the sum is not */
    patch(offsetof(struct table_file_header, section[2].capacity), &huge, sizeof(huge));
    expect_error(-EBADMSG, "fit together");
    patch(0, &good, sizeof(good));
    wrong = 0;
    patch(offsetof(struct table_file_header, generation), &wrong, sizeof(wrong));
    expect_error(-EBADMSG, "no snapshot");
    wrong = good.generation + 1;
    patch(offsetof(struct table_file_header, generation), &wrong, sizeof(wrong));
    expect_error(-EBADMSG, "announced");
    patch(0, &good, sizeof(good));
    off_t half = (off_t)(TABLE_HEADER_BYTES + (good.generation & 1) * good.half_bytes);
    huge = 9;
    patch(half + (off_t)offsetof(struct table_half_header, count[TABLE_ROUTES]), &huge, sizeof(huge));
    expect_error(-EBADMSG, "routes");
    table_writer_free(w);
}

static void test_truncated_at_every_page(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    assert_int_equal(publish_number(w, 1, NULL), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (off_t length = st.st_size - 1; length >= 0; length = length > 4096 ? length - 4096 : length - 511) {
        assert_int_equal(truncate(path, length), 0);
        expect_error(-EBADMSG, "truncated");
    }
    table_writer_free(w);
}

static void truncate_at_step(void *ctx, const char *step)
{
    if (strcmp(step, ctx) == 0)
        assert_int_equal(truncate(path, 5000), 0);
}

static void test_truncated_while_it_is_read(void **state)
{
    (void)state;
    static const char *const steps[] = {"file header", "half header", "clients", "counters"};
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct table_writer *w = new_writer();
        struct table_reader *r = new_reader();
        assert_int_equal(publish_number(w, 2, NULL), 0);
        table_reader_set_step_hook(r, truncate_at_step, (void *)(uintptr_t)steps[i]);
        assert_int_equal(table_reader_load(r), -EBADMSG);
        table_reader_free(r);
        table_writer_free(w);
    }
}

static void test_garbage_and_special_files(void **state)
{
    (void)state;
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    char noise[8192];
    srand(4711);
    for (unsigned i = 0; i < sizeof(noise); i++)
        noise[i] = (char)rand();
    assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
    close(fd);
    expect_error(-EBADMSG, "magic");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_error(-EBADMSG, "regular"); /* and does not wait for a writer */
}

/* Random bytes changed in a published table: an error or a whole load, never a crash or a read outside. */
static void test_random_damage(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    srand(815);
    for (unsigned round = 0; round < 400; round++) {
        assert_int_equal(publish_number(w, round, NULL), 0);
        for (unsigned i = 0; i < 4; i++) {
            uint8_t byte = (uint8_t)rand();
            bool in_header = rand() & 1;
            off_t at = in_header ? rand() % 1100 : (off_t)TABLE_HEADER_BYTES + rand() % 12000;
            patch(at, &byte, 1);
        }
        struct table_reader *r = new_reader();
        int result = table_reader_load(r);
        uint32_t count;
        const struct table_client *client = table_reader_rows(r, TABLE_CLIENTS, &count);
        for (unsigned i = 0; result == TABLE_LOADED && i < count; i++)
            assert_true(strlen(client[i].command) < sizeof(client[i].command));
        table_reader_free(r);
        table_writer_free(w);
        w = new_writer();
    }
    table_writer_free(w);
}

/* Runs as a user without privileges: as root no mode keeps anybody out. */
static void test_no_permission(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    assert_int_equal(publish_number(w, 1, NULL), 0);
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        struct table_reader *r;
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
            _exit(2);
        if (table_reader_new(&r, dir) < 0)
            _exit(3);
        _exit(table_reader_load(r) == -EACCES ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    table_writer_free(w);
}

static void test_no_room(void **state)
{
    (void)state;
    struct rlimit old, low = {4096, 4096};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    struct table_writer *w = NULL;
    int result = table_writer_new(&w, dir, small);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(result, -EFBIG);
    assert_null(w);
}

/* The disk is full in the middle of a snapshot: an error for the hub, the last whole snapshot for readers, and then it goes on. */
static void test_a_failed_publish_is_survived(void **state)
{
    (void)state;
    struct rlimit old, low = {4096, 4096};
    static struct event_fixture f;
    f.ring = (struct table_event_ring){f.rows, 64, 0};
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    add_event(&f);
    assert_int_equal(publish_number(w, 1, &f.ring), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    int result = publish_number(w, 2, &f.ring);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(result, -EFBIG);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(whole_number(r), 1);
    assert_int_equal(publish_number(w, 3, &f.ring), 0);
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_int_equal(whole_number(r), 3);
    check_events(r, &f);
    struct table_event_ring wrong = {f.rows, 32, 1};
    assert_int_equal(table_writer_publish(w, &wrong), -EINVAL);
    table_reader_free(r);
    table_writer_free(w);
}

/* A table of another boot: its monotonic times mean nothing here. */
static void test_age_of_another_boot(void **state)
{
    (void)state;
    struct table_writer *w = new_writer();
    struct table_reader *r = new_reader();
    assert_int_equal(publish_number(w, 1, NULL), 0);
    uint8_t other[16] = {1};
    patch(offsetof(struct table_file_header, boot_id), other, sizeof(other));
    assert_int_equal(table_reader_load(r), TABLE_LOADED);
    assert_in_range(table_reader_age_ms(r), 0, 60000);
    assert_string_equal(table_reader_path(r), path);
    assert_int_equal(table_writer_count(w, TABLE_CLIENTS), 2);
    table_reader_free(r);
    table_writer_free(w);
}

static void test_lock_tells_who_lives(void **state)
{
    (void)state;
    char lock[96];
    snprintf(lock, sizeof(lock), "%s/lock", dir);
    assert_int_equal(runtime_lock_is_held(dir), 0);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    assert_int_equal(runtime_lock_is_held(dir), 0);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
    assert_int_equal(runtime_lock_is_held(dir), 1);
    close(fd);
    assert_int_equal(runtime_lock_is_held(dir), 0);
}

static void test_directories(void **state)
{
    (void)state;
    char out[RUNTIME_DIR_CAP], wide[RUNTIME_PATH_CAP], longer[300];
    setenv("RMQHUB_RUNTIME_DIR", "/from/environment/", 1);
    assert_int_equal(runtime_dir_resolve(out, NULL), 0);
    assert_string_equal(out, "/from/environment");
    assert_int_equal(runtime_dir_resolve(out, "/from/flag"), 0);
    assert_string_equal(out, "/from/flag");
    unsetenv("RMQHUB_RUNTIME_DIR");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(runtime_dir_resolve(out, ""), 0);
    assert_string_equal(out, geteuid() == 0 ? "/run/rmqhub" : "/run/user/7/rmqhub");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(runtime_dir_resolve(out, longer), -ENAMETOOLONG);
    assert_int_equal(state_dir_resolve(wide, sizeof(wide), longer), 0);
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(runtime_dir_resolve(out, "sub"), 0);
    assert_int_equal(strncmp(out, dir, strlen(dir)), 0);
    assert_int_equal(chdir("/"), 0);
}

static void check_own_directories(void)
{
    char out[RUNTIME_DIR_CAP], wide[RUNTIME_PATH_CAP];
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("XDG_STATE_HOME", "/people/x/.state", 1);
    setenv("HOME", "/people/x", 1);
    assert_int_equal(runtime_dir_resolve(out, NULL), 0);
    assert_string_equal(out, "/run/user/7/rmqhub");
    assert_int_equal(state_dir_resolve(wide, sizeof(wide), NULL), 0);
    assert_string_equal(wide, "/people/x/.state/rmqhub");
    unsetenv("XDG_RUNTIME_DIR");
    unsetenv("XDG_STATE_HOME");
    assert_int_equal(runtime_dir_resolve(out, NULL), 0);
    assert_int_equal(strncmp(out, "/run/user/", 10), 0);
    assert_int_equal(state_dir_resolve(wide, sizeof(wide), NULL), 0);
    assert_string_equal(wide, "/people/x/.local/state/rmqhub");
    unsetenv("HOME");
    assert_int_equal(state_dir_resolve(wide, sizeof(wide), NULL), -ENOENT);
    assert_int_equal(state_dir_resolve(wide, 4, "/long"), -ENAMETOOLONG);
    assert_int_equal(runtime_path(wide, 8, "/run/rmqhub", RUNTIME_FILE_TABLE), -ENAMETOOLONG);
}

static void test_directories_of_a_user(void **state)
{
    (void)state;
    bool root = geteuid() == 0;
    unsetenv("RMQHUB_RUNTIME_DIR");
    if (root) {
        char wide[RUNTIME_PATH_CAP];
        assert_int_equal(state_dir_resolve(wide, sizeof(wide), NULL), 0);
        assert_string_equal(wide, "/var/lib/rmqhub");
        assert_int_equal(seteuid(65534), 0);
    }
    check_own_directories();
    if (root)
        assert_int_equal(seteuid(0), 0);
}

/* The layout of version 2.0; if this changes, so must TABLE_VERSION_MAJOR (or the new field uses reserved room). */
static void test_layout_is_the_released_one(void **state)
{
    (void)state;
    struct table_file_header h;
    assert_int_equal(table_layout_init(&h, NULL), 0);
    assert_true(h.file_bytes < (16u << 20));
    static const uint32_t capacities[] = {64, 1024, 1024, 5000, 256, 512, 1024, 4096, 512, 256, 512, 256, 4096, 64, 512};
    for (int s = 0; s < TABLE_SECTION_COUNT; s++)
        assert_int_equal(h.section[s].capacity, capacities[s]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_publish_and_read),
        TEST(test_full_section_is_counted),
        TEST(test_next_hub_replaces_the_file),
        TEST(test_unpublished_file_is_removed),
        TEST(test_event_ring_is_copied_into_both_halves),
        TEST(test_publish_at_each_step_of_a_reader),
        TEST(test_read_at_each_step_of_a_publish),
        TEST(test_reader_gives_up_in_the_end),
        TEST(test_death_before_each_step),
        TEST(test_flips_under_a_concurrent_reader),
        TEST(test_idle_half_may_hold_anything),
        TEST(test_deleted_and_truncated_tables_come_back),
        TEST(test_weaker_orders_are_noticed),
        TEST(test_damaged_files_are_named),
        TEST(test_truncated_at_every_page),
        TEST(test_truncated_while_it_is_read),
        TEST(test_garbage_and_special_files),
        TEST(test_random_damage),
        TEST(test_no_permission),
        TEST(test_no_room),
        TEST(test_a_failed_publish_is_survived),
        TEST(test_age_of_another_boot),
        TEST(test_lock_tells_who_lives),
        TEST(test_directories),
        TEST(test_directories_of_a_user),
        TEST(test_layout_is_the_released_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
