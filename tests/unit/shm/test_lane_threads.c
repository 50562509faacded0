/*
 * Both sides of a lane as threads over one mapping, for ThreadSanitizer and for plain speed: sync
 * callers on futexes, an async caller on the ring, a hub that sleeps on its doorbell, a hub that is
 * replaced again and again while callers read and free, and a table with a writer and readers.
 *
 * A wake-up that comes late is a failure: nobody here sleeps longer than LOST_MS.
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/base/clock.h"
#include "shm/lane.h"
#include "shm/table_reader.h"
#include "shm/table_writer.h"

#define LOST_MS 5000
#define CALLERS 3u
#define CALLS 3000u
#define BODY_STRIDE 512u

struct bench {
    struct shm_c *c;
    struct shm_h *h[2];
    unsigned present; /* which h; lock */
    pthread_mutex_t lock;
    struct lane_client client; /* lock */
    bool is_async[SHM_SLOTS];  /* lock */
    int doorbell;
    _Atomic bool stop;
    _Atomic unsigned failures;
    _Atomic unsigned told[CALLERS + 1][CALLS];
};

static struct bench bench;

static void *zeroed(size_t bytes)
{
    void *p = aligned_alloc(4096, bytes);
    assert_non_null(p);
    return memset(p, 0, bytes);
}

static int set_up(void **state)
{
    (void)state;
    memset(&bench, 0, sizeof(bench));
    bench.c = zeroed(sizeof(*bench.c));
    bench.h[0] = zeroed(sizeof(*bench.h[0]));
    bench.h[1] = zeroed(sizeof(*bench.h[1]));
    pthread_mutex_init(&bench.lock, NULL);
    bench.doorbell = eventfd(0, EFD_NONBLOCK);
    lane_client_init(&bench.client, bench.c, bench.h[0]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pthread_mutex_destroy(&bench.lock);
    close(bench.doorbell);
    free(bench.c);
    free(bench.h[0]);
    free(bench.h[1]);
    return 0;
}

static void failed(const char *what)
{
    fprintf(stderr, "%s\n", what);
    atomic_fetch_add(&bench.failures, 1);
    atomic_store(&bench.stop, true);
}

/* ---- callers ---- */

static uint32_t token_of(unsigned caller, unsigned call)
{
    return caller << 16 | call;
}

/* Under the lock: plain body bytes, then acceptance. -1: no slot is free. */
static int submit(unsigned caller, unsigned call, uint8_t flags)
{
    int slot = lane_client_take_slot(&bench.client);
    if (slot < 0)
        return -1;
    struct shm_slot_record record = {.op = SHM_OP_SEND, .flags = flags, .body_off = (uint32_t)slot * BODY_STRIDE, .body_len = BODY_STRIDE};
    record.deadline_ns = token_of(caller, call);
    bench.is_async[slot] = flags & SHM_SLOT_ASYNC;
    memset(bench.c->arena + record.body_off, (int)(call & 0xff), BODY_STRIDE);
    if (lane_client_submit(&bench.client, (unsigned)slot, &record)) {
        const uint64_t one = 1;
        if (write(bench.doorbell, &one, sizeof(one)) < 0)
            failed("the doorbell cannot be rung");
    }
    return slot;
}

/* Under the lock: reads the answer and ends the slot. */
static void read_and_free(unsigned slot, unsigned caller, unsigned call)
{
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES], expected[32];
    lane_client_read_answer(&bench.client, slot, &record, reason);
    snprintf(expected, sizeof(expected), "for %u", token_of(caller, call));
    if ((uint32_t)record.code != token_of(caller, call) || strcmp(reason, expected) != 0)
        failed("an answer is somebody else's, or not whole");
    atomic_fetch_add(&bench.told[caller][call], 1);
    lane_client_free_slot(&bench.client, slot);
}

static void sleep_on_mailbox(unsigned slot, uint64_t seen)
{
    const struct timespec limit = {LOST_MS / 1000, 0};
    const shm_u64 *word = &bench.client.h->mbox[slot].seq;
    if (syscall(SYS_futex, (const void *)word, FUTEX_WAIT, (uint32_t)seen, &limit, NULL, 0) < 0 && errno == ETIMEDOUT)
        failed("a caller was not woken");
}

static void *sync_caller(void *arg)
{
    unsigned caller = (unsigned)(uintptr_t)arg;
    for (unsigned call = 0; call < CALLS && !atomic_load(&bench.stop); call++) {
        pthread_mutex_lock(&bench.lock);
        int slot = submit(caller, call, 0);
        pthread_mutex_unlock(&bench.lock);
        while (!lane_client_is_answered(&bench.client, (unsigned)slot) && !atomic_load(&bench.stop)) {
            uint64_t seen = shm_load_acquire(&bench.client.h->mbox[slot].seq);
            if (!lane_client_is_answered(&bench.client, (unsigned)slot))
                sleep_on_mailbox((unsigned)slot, seen);
        }
        pthread_mutex_lock(&bench.lock);
        if (lane_client_is_answered(&bench.client, (unsigned)slot))
            read_and_free((unsigned)slot, caller, call);
        pthread_mutex_unlock(&bench.lock);
    }
    return NULL;
}

static void *async_caller(void *arg)
{
    unsigned caller = (unsigned)(uintptr_t)arg, submitted = 0, told = 0;
    static unsigned call_of[SHM_SLOTS];
    uint64_t began_ns = mono_now_ns();
    while (told < CALLS && !atomic_load(&bench.stop)) {
        pthread_mutex_lock(&bench.lock);
        int slot = submitted < CALLS && submitted - told < 100 ? submit(caller, submitted, SHM_SLOT_ASYNC) : -1;
        if (slot >= 0)
            call_of[slot] = submitted++;
        for (int answered; (answered = lane_client_next_async(&bench.client)) >= 0;) {
            if (!bench.is_async[answered])
                continue; /* an entry of an earlier use, carried over; now a sync caller has the slot */
            read_and_free((unsigned)answered, caller, call_of[answered]);
            told++;
        }
        pthread_mutex_unlock(&bench.lock);
        if (slot < 0)
            sched_yield();
        if (mono_now_ns() - began_ns > 50 * NS_PER_S)
            failed("async answers are missing");
    }
    return NULL;
}

/* ---- the hub ---- */

static void check_body(const struct shm_slot_record *record)
{
    uint8_t expected = record->deadline_ns & 0xff;
    for (unsigned i = 0; i < record->body_len; i++) {
        if (bench.c->arena[record->body_off + i] != expected) {
            failed("a body is not the one that was accepted");
            return;
        }
    }
}

static void answer(struct lane_hub *hub, unsigned slot, const struct shm_slot_record *in)
{
    char reason[32];
    check_body(in);
    snprintf(reason, sizeof(reason), "for %u", (uint32_t)in->deadline_ns);
    const struct shm_mbox_record record = {.outcome = SHM_STORED, .code = (int32_t)in->deadline_ns};
    lane_hub_complete(hub, slot, in->flags, &record, reason);
    if (!(in->flags & SHM_SLOT_ASYNC))
        syscall(SYS_futex, (void *)&hub->h->mbox[slot].seq, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Takes and answers at most max; false when nothing was there. */
static bool serve(struct lane_hub *hub, unsigned max)
{
    bool any = false;
    for (unsigned i = 0; i < max; i++) {
        struct shm_slot_record record;
        unsigned slot;
        const char *why = NULL;
        int r = lane_hub_take(hub, &record, &slot, &why);
        if (r == LANE_TAKE_NONE)
            break;
        if (r != LANE_TAKE_RECORD) {
            failed(why ? why : "a revoked slot that nobody revoked");
            break;
        }
        any = true;
        answer(hub, slot, &record);
    }
    return any;
}

static void *sleeping_hub(void *arg)
{
    struct lane_hub *hub = arg;
    while (!atomic_load(&bench.stop)) {
        if (serve(hub, 64) || !lane_hub_arm(hub))
            continue;
        struct pollfd p = {.fd = bench.doorbell, .events = POLLIN};
        uint64_t rings;
        if (poll(&p, 1, LOST_MS) == 0 && shm_load_acquire(&bench.c->tail) != hub->head)
            failed("the doorbell was not rung");
        if (read(bench.doorbell, &rings, sizeof(rings)) < 0)
            sched_yield();
        lane_hub_disarm(hub);
    }
    return NULL;
}

static void expect_each_call_told_once(void)
{
    assert_int_equal(atomic_load(&bench.failures), 0);
    for (unsigned caller = 0; caller <= CALLERS; caller++) {
        for (unsigned call = 0; call < CALLS; call++)
            assert_int_equal(atomic_load(&bench.told[caller][call]), 1);
    }
}

static void callers_and_a_sleeping_hub(void **state)
{
    (void)state;
    static struct lane_hub hub;
    const char *why = NULL;
    pthread_t threads[CALLERS + 1], hub_thread;
    assert_int_equal(lane_hub_init(&hub, bench.c, bench.h[0], &why), 0);
    pthread_create(&hub_thread, NULL, sleeping_hub, &hub);
    for (uintptr_t i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, sync_caller, (void *)i);
    pthread_create(&threads[CALLERS], NULL, async_caller, (void *)(uintptr_t)CALLERS);
    for (unsigned i = 0; i <= CALLERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&bench.stop, true);
    const uint64_t one = 1;
    assert_int_equal(write(bench.doorbell, &one, sizeof(one)), sizeof(one));
    pthread_join(hub_thread, NULL);
    expect_each_call_told_once();
}

/* ---- one hub after the other ---- */

/* A caller that looks under the lock, because the H it looks at may be replaced. */
static void *patient_caller(void *arg)
{
    unsigned caller = (unsigned)(uintptr_t)arg;
    for (unsigned call = 0; call < CALLS && !atomic_load(&bench.stop); call++) {
        pthread_mutex_lock(&bench.lock);
        int slot = submit(caller, call, 0);
        pthread_mutex_unlock(&bench.lock);
        for (bool told = false; !told && !atomic_load(&bench.stop); sched_yield()) {
            pthread_mutex_lock(&bench.lock);
            told = lane_client_is_answered(&bench.client, (unsigned)slot);
            if (told)
                read_and_free((unsigned)slot, caller, call);
            pthread_mutex_unlock(&bench.lock);
        }
    }
    return NULL;
}

/* Serves a little, leaves some of it taken and unanswered, and is followed by the next one, beside callers that go on. */
static void *short_lived_hubs(void *arg)
{
    static struct lane_hub hub;
    static struct lane_found found[SHM_SLOTS];
    const char *why = NULL;
    unsigned seed = 99;
    (void)arg;
    lane_hub_init(&hub, bench.c, bench.h[0], &why);
    while (!atomic_load(&bench.stop)) {
        for (int rounds = rand_r(&seed) % 8; rounds > 0; rounds--)
            serve(&hub, 5);
        struct shm_slot_record left;
        unsigned slot;
        if (rand_r(&seed) % 2)
            lane_hub_take(&hub, &left, &slot, &why);
        struct shm_h *old = bench.h[bench.present], *next = bench.h[!bench.present];
        memset(next, 0, sizeof(*next));
        int n = lane_hub_take_over(&hub, bench.c, next, old, true, found, &why);
        if (n < 0) {
            failed(why);
            break;
        }
        pthread_mutex_lock(&bench.lock);
        bench.present = !bench.present;
        bench.client.h = next;
        lane_client_enter_new_h(&bench.client);
        pthread_mutex_unlock(&bench.lock);
        for (int i = 0; i < n; i++)
            answer(&hub, found[i].slot, &found[i].record);
    }
    return NULL;
}

static void callers_and_one_hub_after_the_other(void **state)
{
    (void)state;
    pthread_t threads[CALLERS + 1], hub_thread;
    pthread_create(&hub_thread, NULL, short_lived_hubs, NULL);
    for (uintptr_t i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, patient_caller, (void *)i);
    pthread_create(&threads[CALLERS], NULL, async_caller, (void *)(uintptr_t)CALLERS);
    for (unsigned i = 0; i <= CALLERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&bench.stop, true);
    pthread_join(hub_thread, NULL);
    expect_each_call_told_once();
}

/* ---- the table ---- */

#define SNAPSHOTS 3000u

static char table_dir[] = "/tmp/rmqhub-threads-XXXXXX";

static void *read_table(void *arg)
{
    struct table_reader *reader = arg;
    uint64_t last = 0;
    while (!atomic_load(&bench.stop)) {
        int r = table_reader_load(reader);
        if (r == -EAGAIN || r == TABLE_UNCHANGED)
            continue;
        if (r < 0) {
            failed(table_reader_reason(reader));
            break;
        }
        uint32_t count;
        const struct table_counter *rows = table_reader_rows(reader, TABLE_COUNTERS, &count);
        uint64_t tag = table_reader_half(reader)->hub.epoch;
        if (tag < last || count != tag % 8)
            failed("an older snapshot, or another one's count");
        for (uint32_t i = 0; i < count; i++) {
            if (rows[i].value != tag)
                failed("rows of two snapshots in one");
        }
        last = tag;
    }
    return NULL;
}

static void publish(struct table_writer *writer, uint64_t tag)
{
    table_writer_begin(writer);
    table_writer_hub(writer)->epoch = tag;
    for (unsigned i = 0; i < tag % 8; i++)
        ((struct table_counter *)table_writer_add(writer, TABLE_COUNTERS))->value = tag;
    assert_int_equal(table_writer_publish(writer, NULL), 0);
}

static void a_table_and_its_readers(void **state)
{
    (void)state;
    static const uint32_t capacity[TABLE_SECTION_COUNT] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 16};
    struct table_writer *writer = NULL;
    struct table_reader *readers[2];
    pthread_t threads[2];
    assert_non_null(mkdtemp(table_dir));
    assert_int_equal(table_writer_new(&writer, table_dir, capacity), 0);
    publish(writer, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(table_reader_new(&readers[i], table_dir), 0);
        pthread_create(&threads[i], NULL, read_table, readers[i]);
    }
    for (uint64_t tag = 2; tag < SNAPSHOTS && !atomic_load(&bench.stop); tag++)
        publish(writer, tag);
    atomic_store(&bench.stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        table_reader_free(readers[i]);
    }
    table_writer_free(writer);
    char path[64];
    snprintf(path, sizeof(path), "%s/table", table_dir);
    unlink(path);
    rmdir(table_dir);
    assert_int_equal(atomic_load(&bench.failures), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(callers_and_a_sleeping_hub, set_up, tear_down),
        cmocka_unit_test_setup_teardown(callers_and_one_hub_after_the_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_table_and_its_readers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
