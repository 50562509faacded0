/*
 * A process may die between any two instructions. Here it does: each scenario runs in a child
 * under single-step, and after every instruction that changed shared memory the parent asks, on a
 * copy of the segments, what the survivors would make of it. Then these states are left behind by
 * a real SIGKILL and recovered from in place.
 *
 *   submit     the client fills a slot and accepts a message, after it freed another
 *   take       the hub takes, sends (to a page that plays the wire) and answers
 *   take-over  the next hub takes over, replies, sends; and is itself followed by a third one
 *   publish    the hub publishes two snapshots of the instance table
 *
 * What must hold: a message is accepted exactly when tail covers it; each accepted message is found
 * exactly once, carried over whole or handed out; what reached the wire is never handed out as
 * untainted; an answer is read whole or not at all; a reader of the table sees one whole snapshot.
 *
 * Each scenario also runs weakened, with two of its stores exchanged, and must then be caught:
 * otherwise the checks prove nothing.
 *
 *   crash_points              everything
 *   crash_points --weaken N   only weakened variant N; ends with status 1 because it is caught
 *
 * Linked statically: lazy binding would multiply the steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/base/clock.h"
#include "shm/lane.h"
#include "shm/table_reader.h"
#include "shm/table_writer.h"

#define KILLS_MAX 40u /* per scenario; beyond it every second, third, ... state is left by a kill */
#define MESSAGES 8u
#define BODY_BYTES 64u
#define BODY_STRIDE 256u

enum weakness {
    WEAK_NONE,
    WEAK_TAIL_BEFORE_LIVE,
    WEAK_TAIL_BEFORE_IDX,
    WEAK_BODY_AFTER_TAIL,
    WEAK_SEQ_BEFORE_ANSWER,
    WEAK_RING_BEFORE_SEQ,
    WEAK_SEND_BEFORE_HEAD,
    WEAK_REPLY_BEFORE_CARRY_OVER,
    WEAK_SEND_BEFORE_REPLY,
    WEAK_FLIP_BEFORE_ROWS,
    WEAKNESSES
};

static const char *const weakness_names[WEAKNESSES] = {
    "as it is",
    "submit: tail before LIVE",
    "submit: tail before idx",
    "submit: body after tail",
    "answer: seq before the record",
    "answer: async ring before seq",
    "take: sent before sq_head",
    "take-over: reply before the answers are carried over",
    "take-over: sent before the reply",
    "publish: generation before the rows",
};

/* What children write besides the segments: the wire, and whether the next hub has replied. */
struct outside {
    uint32_t sent[MESSAGES + 1]; /* by message id */
    uint32_t replied;
};

struct world {
    struct shm_c *c;
    struct shm_h *h, *next_h;
    struct outside *outside;
    struct lane_client client;
    struct lane_hub hub;
    unsigned slot_of[MESSAGES + 1];
    uint64_t base_tail;
};

static struct world world;
static struct table_writer *writer;
static struct table_reader *reader;
static char table_dir[] = "/tmp/rmqhub-crash-XXXXXX", table_path[64];
static enum weakness weakness;
static char violation[256];

static bool fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(violation, sizeof(violation), fmt, ap);
    va_end(ap);
    return false;
}

/* ---- messages and answers that can be recognised ---- */

enum { READ = 1, ANSWERED, ANSWERED_ASYNC, TAKEN, TAKEN_ASYNC, WAITING, FRESH };

static struct shm_slot_record record_of(uint32_t id, unsigned slot)
{
    struct shm_slot_record r = {.op = SHM_OP_SEND,
                                .flags = id == ANSWERED_ASYNC || id == TAKEN_ASYNC ? SHM_SLOT_ASYNC : 0,
                                .uniq_len = 16,
                                .producer_h = 1,
                                .topic_h = 2,
                                .queue_id = -1,
                                .deadline_ns = 1000 + id,
                                .submit_ns = 2000 + id,
                                .body_off = slot * BODY_STRIDE,
                                .body_len = BODY_BYTES};
    memset(r.uniq, (int)id, 16);
    return r;
}

static void write_body(struct shm_c *c, uint32_t id, unsigned slot)
{
    memset(c->arena + slot * BODY_STRIDE, (int)id, BODY_BYTES);
}

static bool is_message(const struct shm_c *c, const struct shm_slot_record *r, uint32_t id, unsigned slot)
{
    struct shm_slot_record expected = record_of(id, slot);
    expected.index = r->index;
    unsigned char body[BODY_BYTES];
    memset(body, (int)id, sizeof(body));
    return memcmp(&expected, r, sizeof(*r)) == 0 && memcmp(body, c->arena + r->body_off, sizeof(body)) == 0;
}

static struct shm_mbox_record answer_of(uint32_t id)
{
    struct shm_mbox_record r = {.outcome = SHM_STORED,
                                .code = (int32_t)id,
                                .attempts = (uint16_t)id,
                                .queue_id = (int32_t)id,
                                .queue_offset = id * 1000,
                                .msgid_len = 16,
                                .broker_ix = 1,
                                .wire_us = id};
    memset(r.msgid, (int)id, 16);
    return r;
}

static const char *reason_of(uint32_t id)
{
    static const char *const reasons[MESSAGES + 1] = {
        "none", "the reason of the first", "of the second", "of the third one", "of number four", "of a fifth", "of the sixth", "of 7",
        "of 8"};
    return reasons[id];
}

static bool is_answer(const struct lane_client *lane, unsigned slot, uint32_t id)
{
    struct shm_mbox_record record, expected = answer_of(id);
    char reason[SHM_REASON_BYTES];
    lane_client_read_answer(lane, slot, &record, reason);
    expected.reason_len = record.reason_len;
    return memcmp(&record, &expected, sizeof(record)) == 0 && strcmp(reason, reason_of(id)) == 0;
}

/* ---- the world before the scenario: every kind of slot once ---- */

static void *shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(2);
    return p;
}

static void submit(uint32_t id)
{
    int slot = lane_client_take_slot(&world.client);
    struct shm_slot_record record = record_of(id, (unsigned)slot);
    world.slot_of[id] = (unsigned)slot;
    write_body(world.c, id, (unsigned)slot);
    lane_client_submit(&world.client, (unsigned)slot, &record);
}

static void take_one(struct lane_hub *hub)
{
    struct shm_slot_record record;
    unsigned slot;
    const char *why = NULL;
    if (lane_hub_take(hub, &record, &slot, &why) != LANE_TAKE_RECORD)
        exit(2);
    world.outside->sent[record.uniq[0]]++;
}

static void answer(uint32_t id)
{
    const struct shm_mbox_record record = answer_of(id);
    lane_hub_complete(&world.hub, world.slot_of[id], record_of(id, 0).flags, &record, reason_of(id));
}

static void build_lane(void)
{
    const char *why = NULL;
    memset(world.c, 0, sizeof(*world.c));
    memset(world.h, 0, sizeof(*world.h));
    memset(world.next_h, 0, sizeof(*world.next_h));
    memset(world.outside, 0, sizeof(*world.outside));
    lane_client_init(&world.client, world.c, world.h);
    if (lane_hub_init(&world.hub, world.c, world.h, &why) < 0)
        exit(2);
    strcpy(world.h->broker[1], "broker-a");
    for (unsigned i = 0; i < SHM_SLOTS; i++) /* as an earlier lap left it: another slot than the one that comes here now */
        atomic_store(&world.c->idx[i], SHM_SLOTS - 1);
    for (uint32_t id = READ; id <= WAITING; id++) {
        submit(id);
        if (id != WAITING)
            take_one(&world.hub);
    }
    answer(READ);
    answer(ANSWERED);
    answer(ANSWERED_ASYNC);
    world.base_tail = world.client.tail;
}

/* ---- what the next hub makes of it ---- */

struct copies {
    struct shm_c *c;
    struct shm_h *h, *next_h;
};

static struct copies copies;

/* Counts in found[] how often each message is found, having checked that it is whole. */
static bool count_found(const struct lane_found *list, int n, unsigned *found)
{
    for (int i = 0; i < n; i++) {
        uint32_t id = list[i].record.uniq[0];
        if (id == 0 || id > MESSAGES || !is_message(copies.c, &list[i].record, id, list[i].slot))
            return fail("slot %u is found with a record or a body that nobody wrote", list[i].slot);
        if (i > 0 && list[i - 1].record.index >= list[i].record.index)
            return fail("found messages are not in submission order");
        if (world.outside->sent[id] && !list[i].tainted)
            return fail("message %u reached the wire and is found untainted", id);
        found[id]++;
    }
    return true;
}

static bool count_carried(const struct lane_client *survivor, unsigned *found)
{
    unsigned in_ring = 0, async = 0;
    for (unsigned slot = 0; slot < SHM_SLOTS; slot++) {
        uint64_t state = shm_load_relaxed(&copies.c->slot[slot].state);
        if ((state & 3) != SHM_SLOT_LIVE || shm_load_relaxed(&copies.next_h->mbox[slot].seq) != state >> 2)
            continue;
        struct shm_slot_record record;
        SHM_RECORD_LOAD(&record, &copies.c->slot[slot]);
        if (!is_answer(survivor, slot, record.uniq[0]))
            return fail("the answer in slot %u is carried over in part", slot);
        found[record.uniq[0]]++;
        async += record.flags & SHM_SLOT_ASYNC;
    }
    uint64_t tail = shm_load_relaxed(&copies.next_h->async_tail);
    for (uint64_t i = 0; i < tail; i++)
        in_ring += shm_load_relaxed(&copies.next_h->mbox[atomic_load(&copies.next_h->async_idx[i])].seq) != 0;
    return in_ring == async ? true : fail("%u async answers are carried over, %u stand in the ring", async, in_ring);
}

/* Recovery on the copies: old_h is what the client had when its hub died. */
static bool check_next_hub(const struct shm_h *old_h)
{
    static struct lane_found list[SHM_SLOTS];
    struct lane_hub hub;
    struct lane_client survivor = world.client;
    unsigned found[MESSAGES + 1] = {0};
    const char *why = NULL;
    memset(copies.next_h, 0, sizeof(*copies.next_h));
    int n = lane_hub_take_over(&hub, copies.c, copies.next_h, old_h, true, list, &why);
    if (n < 0)
        return fail("the next hub refuses the client: %s", why);
    survivor.c = copies.c;
    survivor.h = copies.next_h;
    if (!count_found(list, n, found) || !count_carried(&survivor, found))
        return false;
    uint64_t tail = shm_load_relaxed(&copies.c->tail);
    bool read_freed = (shm_load_relaxed(&copies.c->slot[world.slot_of[READ]].state) & 3) == SHM_SLOT_FREE || tail > world.base_tail;
    for (uint32_t id = READ; id <= FRESH; id++) {
        unsigned expected = id == FRESH ? tail > world.base_tail : id == READ ? !read_freed : 1;
        if (found[id] > 1 || (found[id] != expected && id != READ))
            return fail("message %u is found %u times, expected %u", id, found[id], expected);
    }
    return true;
}

/* The hub of this H lives: what does it take next? */
static bool check_living_hub(void)
{
    struct lane_hub hub = world.hub;
    struct shm_slot_record record;
    unsigned slot, taken = 0;
    const char *why = NULL;
    int r;
    hub.c = copies.c;
    hub.h = copies.h;
    while ((r = lane_hub_take(&hub, &record, &slot, &why)) == LANE_TAKE_RECORD) {
        uint32_t id = record.uniq[0];
        taken++;
        if ((id != WAITING && id != FRESH) || !is_message(copies.c, &record, id, slot))
            return fail("the hub takes a record or a body that nobody wrote");
    }
    unsigned expected = 1 + (shm_load_relaxed(&copies.c->tail) > world.base_tail);
    if (r != LANE_TAKE_NONE)
        return fail("the hub refuses what the client left: %s", r == LANE_TAKE_REVOKED ? "revoked" : why);
    return taken == expected ? true : fail("the hub takes %u messages, %u are accepted", taken, expected);
}

/* The client lives: what does it read? */
static bool check_living_client(void)
{
    struct lane_client client = world.client;
    client.c = copies.c;
    client.h = copies.h;
    for (uint32_t id = ANSWERED; id <= WAITING; id++) {
        if (lane_client_is_answered(&client, world.slot_of[id]) && !is_answer(&client, world.slot_of[id], id))
            return fail("the client reads half an answer to message %u", id);
    }
    uint64_t tail = shm_load_relaxed(&copies.h->async_tail);
    for (uint64_t i = 0; i < tail; i++) {
        unsigned slot = atomic_load(&copies.h->async_idx[i]);
        if (!lane_client_is_answered(&client, slot))
            return fail("the async ring names slot %u, which has no answer: its callback would be lost", slot);
    }
    return true;
}

static void copy_world(void)
{
    memcpy(copies.c, world.c, sizeof(*world.c));
    memcpy(copies.h, world.h, sizeof(*world.h));
}

/* ---- submit ---- */

static void weak_submit(struct lane_client *lane, unsigned slot, uint32_t id)
{
    struct shm_slot_record record = record_of(id, slot);
    struct shm_slot *s = &lane->c->slot[slot];
    uint64_t word = shm_slot_word(++lane->seq[slot], SHM_SLOT_LIVE);
    record.index = lane->tail;
    if (weakness != WEAK_BODY_AFTER_TAIL)
        write_body(lane->c, id, slot);
    SHM_RECORD_STORE(s, &record);
    if (weakness != WEAK_TAIL_BEFORE_LIVE)
        shm_store_release(&s->state, word);
    if (weakness != WEAK_TAIL_BEFORE_IDX)
        atomic_store(&lane->c->idx[lane->tail % SHM_SLOTS], slot);
    shm_store_release(&lane->c->tail, lane->tail + 1);
    atomic_store(&lane->c->idx[lane->tail % SHM_SLOTS], slot);
    shm_store_release(&s->state, word);
    write_body(lane->c, id, slot);
    lane->tail++;
}

static void act_submit(void)
{
    lane_client_free_slot(&world.client, world.slot_of[READ]);
    int slot = lane_client_take_slot(&world.client);
    struct shm_slot_record record = record_of(FRESH, (unsigned)slot);
    if (weakness) {
        weak_submit(&world.client, (unsigned)slot, FRESH);
        return;
    }
    write_body(world.c, FRESH, (unsigned)slot);
    lane_client_submit(&world.client, (unsigned)slot, &record);
}

static bool check_submit(void)
{
    copy_world();
    if (!check_next_hub(copies.h))
        return false;
    copy_world();
    return check_living_hub();
}

/* ---- take, send, answer ---- */

static void weak_answer(uint32_t id)
{
    unsigned slot = world.slot_of[id];
    struct shm_mbox_record record = answer_of(id);
    struct shm_mbox *mbox = &world.h->mbox[slot];
    uint64_t seq = world.hub.seq[slot];
    record.reason_len = (uint16_t)strlen(reason_of(id));
    if (weakness == WEAK_SEQ_BEFORE_ANSWER)
        shm_store_release(&mbox->seq, seq);
    memcpy(world.h->reason[slot], reason_of(id), record.reason_len);
    SHM_RECORD_STORE(mbox, &record);
    atomic_store(&world.h->async_idx[world.hub.async_tail % SHM_SLOTS], slot);
    if (weakness == WEAK_RING_BEFORE_SEQ)
        shm_store_release(&world.h->async_tail, world.hub.async_tail + 1);
    shm_store_release(&mbox->seq, seq);
    shm_store_release(&world.h->async_tail, world.hub.async_tail + 1);
}

static void act_take(void)
{
    if (weakness == WEAK_SEND_BEFORE_HEAD)
        world.outside->sent[WAITING]++;
    take_one(&world.hub);
    if (weakness == WEAK_SEQ_BEFORE_ANSWER || weakness == WEAK_RING_BEFORE_SEQ)
        weak_answer(TAKEN_ASYNC);
    else
        answer(TAKEN_ASYNC);
    answer(TAKEN);
    answer(WAITING);
}

static bool check_take(void)
{
    copy_world();
    return check_living_client() && check_next_hub(copies.h);
}

/* ---- take-over ---- */

static void act_take_over(void)
{
    static struct lane_found list[SHM_SLOTS];
    const char *why = NULL;
    if (weakness == WEAK_REPLY_BEFORE_CARRY_OVER)
        world.outside->replied = 1;
    int n = lane_hub_take_over(&world.hub, world.c, world.next_h, world.h, true, list, &why);
    if (weakness != WEAK_SEND_BEFORE_REPLY)
        world.outside->replied = 1;
    for (int i = 0; i < n; i++)
        world.outside->sent[list[i].record.uniq[0]]++;
    world.outside->replied = 1;
    for (int i = 0; i < n; i++)
        answer(list[i].record.uniq[0]);
}

static bool check_take_over(void)
{
    copy_world();
    /* Before the reply the client has only the old H; the third hub gets that. */
    if (!world.outside->replied)
        return check_next_hub(copies.h);
    memcpy(copies.h, world.next_h, sizeof(*world.next_h));
    return check_living_client() && check_next_hub(copies.h);
}

/* ---- publish ---- */

#define ROWS 6u

static void fill_snapshot(uint64_t tag)
{
    table_writer_begin(writer);
    table_writer_hub(writer)->epoch = tag;
    for (unsigned i = 0; i < ROWS; i++) {
        struct table_counter *counter = table_writer_add(writer, TABLE_COUNTERS);
        struct table_task *task = table_writer_add(writer, TABLE_TASKS);
        counter->value = tag;
        task->runs = tag;
    }
}

static void build_table(void)
{
    static const uint32_t capacity[TABLE_SECTION_COUNT] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 16};
    table_writer_free(writer);
    table_reader_free(reader);
    writer = NULL;
    reader = NULL;
    if (table_writer_new(&writer, table_dir, capacity) < 0 || table_reader_new(&reader, table_dir) < 0)
        exit(2);
    fill_snapshot(1);
    if (table_writer_publish(writer, NULL) < 0)
        exit(2);
}

static void act_publish(void)
{
    for (uint64_t tag = 2; tag <= 3; tag++) {
        fill_snapshot(tag);
        if (table_writer_publish(writer, NULL) < 0)
            _exit(3);
    }
}

/* The weak order is made where the writes are made: whatever is written waits until the generation is out. */
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    static struct {
        char data[8192];
        size_t bytes;
        off_t offset;
    } held[8];
    static unsigned count;
    bool is_generation = offset == (off_t)offsetof(struct table_file_header, generation);
    if (weakness == WEAK_FLIP_BEFORE_ROWS && !is_generation && count < 8 && bytes <= sizeof(held[0].data)) {
        memcpy(held[count].data, data, bytes);
        held[count].bytes = bytes;
        held[count++].offset = offset;
        return (ssize_t)bytes;
    }
    ssize_t n = __real_pwrite(fd, data, bytes, offset);
    for (; is_generation && count > 0; count--)
        __real_pwrite(fd, held[count - 1].data, held[count - 1].bytes, held[count - 1].offset);
    return n;
}

static bool check_publish(void)
{
    int r = table_reader_load(reader);
    if (r < 0)
        return fail("the table cannot be read: %s", table_reader_reason(reader));
    uint32_t counters, tasks;
    const struct table_counter *counter = table_reader_rows(reader, TABLE_COUNTERS, &counters);
    const struct table_task *task = table_reader_rows(reader, TABLE_TASKS, &tasks);
    uint64_t tag = table_reader_half(reader)->hub.epoch;
    if (counters != ROWS || tasks != ROWS)
        return fail("the snapshot has %u and %u rows, written were %u each", counters, tasks, ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        if (counter[i].value != tag || task[i].runs != tag)
            return fail("rows of two snapshots in one");
    }
    return true;
}

/* ---- single steps ---- */

struct scenario {
    const char *name;
    void (*build)(void);
    void (*act)(void);
    bool (*check)(void);
    enum weakness first_weak, last_weak;
    bool is_file;
};

static const struct scenario scenarios[] = {
    {"submit", build_lane, act_submit, check_submit, WEAK_TAIL_BEFORE_LIVE, WEAK_BODY_AFTER_TAIL, false},
    {"take", build_lane, act_take, check_take, WEAK_SEQ_BEFORE_ANSWER, WEAK_SEND_BEFORE_HEAD, false},
    {"take-over", build_lane, act_take_over, check_take_over, WEAK_REPLY_BEFORE_CARRY_OVER, WEAK_SEND_BEFORE_REPLY, false},
    {"publish", build_table, act_publish, check_publish, WEAK_FLIP_BEFORE_ROWS, WEAK_FLIP_BEFORE_ROWS, true},
};

/* The part of shared memory that scenarios write: unchanged since the last look? */
static bool is_same(char *last, const void *now, size_t bytes)
{
    if (memcmp(last, now, bytes) == 0)
        return true;
    memcpy(last, now, bytes);
    return false;
}

static bool memory_changed(const struct scenario *s)
{
    static char lane[sizeof(struct shm_c)], old_h[sizeof(struct shm_h)], new_h[sizeof(struct shm_h)], other[sizeof(struct outside)];
    static char file[1 << 20], file_now[1 << 20];
    if (s->is_file) {
        int fd = open(table_path, O_RDONLY);
        ssize_t n = fd >= 0 ? pread(fd, file_now, sizeof(file_now), 0) : 0;
        if (fd >= 0)
            close(fd);
        return n > 0 && !is_same(file, file_now, (size_t)n);
    }
    const size_t lane_bytes = offsetof(struct shm_c, arena) - offsetof(struct shm_c, tail) + (MESSAGES + 2) * BODY_STRIDE;
    bool same = is_same(lane, (const char *)world.c + offsetof(struct shm_c, tail), lane_bytes);
    same = is_same(old_h, world.h, sizeof(*world.h)) && same;
    same = is_same(new_h, world.next_h, sizeof(*world.next_h)) && same;
    return !(is_same(other, world.outside, sizeof(*world.outside)) && same);
}

static pid_t start_child(const struct scenario *s)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(4);
        raise(SIGSTOP);
        s->act();
        raise(SIGSTOP);
        _exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        fprintf(stderr, "crash_points: ptrace is refused here (%s); nothing can be proved without it\n",
                WIFEXITED(status) && WEXITSTATUS(status) == 4 ? "PTRACE_TRACEME" : "fork or wait");
        exit(2);
    }
    return pid;
}

static void end_child(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

struct tally {
    unsigned long steps;
    unsigned states, kills;
};

/* Steps until shared memory has changed kill_at times (0: to the end). False with violation[] set. */
static bool run(const struct scenario *s, unsigned kill_at, struct tally *tally)
{
    unsigned states = 0;
    bool held = true, ended = false;
    s->build();
    memory_changed(s);
    pid_t pid = start_child(s);
    while (held && !ended && (kill_at == 0 || states < kill_at)) {
        int status = 0;
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
            held = fail("the child ended unexpectedly, status %x: %s", status, strerror(errno));
            break;
        }
        tally->steps++;
        ended = WSTOPSIG(status) == SIGSTOP;
        if (!memory_changed(s))
            continue;
        states++;
        if (kill_at == 0)
            held = s->check();
    }
    end_child(pid);
    if (kill_at == 0) {
        tally->states += states;
        return held && (ended || fail("the scenario did not come to its end"));
    }
    tally->kills++;
    return held && s->check();
}

static bool run_all_states(const struct scenario *s, struct tally *tally)
{
    weakness = WEAK_NONE;
    if (!run(s, 0, tally))
        return false;
    for (unsigned i = 1; i <= tally->states; i += tally->states / KILLS_MAX + 1) {
        if (!run(s, i, tally))
            return false;
    }
    return true;
}

static bool prove(const struct scenario *s)
{
    struct tally tally = {0};
    uint64_t began_ns = mono_now_ns();
    bool held = run_all_states(s, &tally);
    printf("%-10s %7lu steps, %4u states of memory checked, %4u left by SIGKILL, %5.2f s: %s\n", s->name, tally.steps, tally.states,
           tally.kills, (double)(mono_now_ns() - began_ns) / 1e9, held ? "holds" : violation);
    return held;
}

static bool is_caught(const struct scenario *s, enum weakness weak)
{
    struct tally tally = {0};
    weakness = weak;
    bool caught = !run(s, 0, &tally);
    printf("   weakened: %-52s %s%s\n", weakness_names[weak], caught ? "caught: " : "NOT CAUGHT", caught ? violation : "");
    weakness = WEAK_NONE;
    return caught;
}

static void make_memory(void)
{
    world.c = shared(sizeof(*world.c));
    world.h = shared(sizeof(*world.h));
    world.next_h = shared(sizeof(*world.next_h));
    world.outside = shared(sizeof(*world.outside));
    copies.c = shared(sizeof(*copies.c));
    copies.h = shared(sizeof(*copies.h));
    copies.next_h = shared(sizeof(*copies.next_h));
    if (!mkdtemp(table_dir))
        exit(2);
    snprintf(table_path, sizeof(table_path), "%s/table", table_dir);
}

static void remove_table(void)
{
    table_writer_free(writer);
    table_reader_free(reader);
    unlink(table_path);
    rmdir(table_dir);
}

int main(int argc, char **argv)
{
    /* A repeated string instruction is one step per byte: have memcpy do without. */
    if (!getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:glibc.cpu.x86_rep_stosb_threshold=0x7fffffff", 1);
        execv("/proc/self/exe", argv);
    }
    int only = argc == 3 && strcmp(argv[1], "--weaken") == 0 ? atoi(argv[2]) : 0;
    bool held = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_memory();
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        const struct scenario *s = &scenarios[i];
        held = (only || prove(s)) && held;
        for (int weak = (int)s->first_weak; weak <= (int)s->last_weak; weak++) {
            if (!only)
                held = is_caught(s, (enum weakness)weak) && held;
            else if (only == weak && is_caught(s, (enum weakness)weak))
                held = false;
        }
    }
    remove_table();
    return held ? 0 : 1;
}
