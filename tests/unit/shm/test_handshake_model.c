/*
 * The orders that shm/layout.h, shm/lane.c and shm/table_writer.c rely on, tried in every
 * interleaving of a small machine: stores wait in per-thread, per-word queues until they become
 * visible, in any order between words (weaker than any CPU we run on), unless a release store or a
 * fence says otherwise. Each program is also run with each of its orders weakened in turn, and then
 * the search must find the failure: so the search can fail, and the order is needed.
 *
 * These are the programs of the product in miniature, one line per access to a shared word; the
 * real code runs under ThreadSanitizer in test_lane_threads and under single-step in crash_points.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 2
#define WORDS 6
#define REGISTERS 4
#define QUEUE 3

/* All bytes, no padding: states are compared and hashed as memory. */
struct machine {
    uint8_t memory[WORDS];
    uint8_t pc[THREADS];
    uint8_t reg[THREADS][REGISTERS];
    uint8_t queue[THREADS][WORDS][QUEUE], queued[THREADS][WORDS];
    uint8_t bad;
};

#define DONE 255

/* ---- what a program can do; false: not now ---- */

static bool nothing_queued(const struct machine *m, int t)
{
    for (int w = 0; w < WORDS; w++) {
        if (m->queued[t][w])
            return false;
    }
    return true;
}

static bool store(struct machine *m, int t, int word, uint8_t value)
{
    if (m->queued[t][word] == QUEUE)
        return false;
    m->queue[t][word][m->queued[t][word]++] = value;
    return true;
}

/* Becomes visible after everything stored before it. */
static bool store_release(struct machine *m, int t, int word, uint8_t value)
{
    return nothing_queued(m, t) && store(m, t, word, value);
}

static uint8_t load(const struct machine *m, int t, int word)
{
    return m->queued[t][word] ? m->queue[t][word][m->queued[t][word] - 1] : m->memory[word];
}

static void make_visible(struct machine *m, int t, int word)
{
    m->memory[word] = m->queue[t][word][0];
    memmove(m->queue[t][word], m->queue[t][word] + 1, QUEUE - 1);
    m->queue[t][word][--m->queued[t][word]] = 0;
}

/* ---- the search ---- */

struct model {
    /* Runs the next line of thread t; false when it has to wait. */
    bool (*step)(struct machine *m, int t, int weakness);
    /* Of a machine in which nothing moves any more. */
    bool (*is_bad_end)(const struct machine *m);
};

#define TABLE_SIZE (1u << 20)

static struct machine *visited;
static uint8_t *used;
static unsigned visited_count;

static bool visit(const struct machine *m)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    const uint8_t *bytes = (const uint8_t *)m;
    for (size_t i = 0; i < sizeof(*m); i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    uint32_t at = (uint32_t)(hash ^ hash >> 32) % TABLE_SIZE;
    for (; used[at]; at = (at + 1) % TABLE_SIZE) {
        if (memcmp(&visited[at], m, sizeof(*m)) == 0)
            return false;
    }
    assert_true(visited_count < TABLE_SIZE / 2);
    visited[at] = *m;
    used[at] = 1;
    visited_count++;
    return true;
}

static bool fails_from(const struct model *model, const struct machine *m, int weakness)
{
    bool moved = false;
    if (!visit(m))
        return false;
    if (m->bad)
        return true;
    for (int t = 0; t < THREADS; t++) {
        struct machine next = *m;
        if (next.pc[t] != DONE && model->step(&next, t, weakness)) {
            moved = true;
            if (fails_from(model, &next, weakness))
                return true;
        }
        for (int w = 0; w < WORDS; w++) {
            if (!m->queued[t][w])
                continue;
            moved = true;
            next = *m;
            make_visible(&next, t, w);
            if (fails_from(model, &next, weakness))
                return true;
        }
    }
    return !moved && model->is_bad_end && model->is_bad_end(m);
}

static void check(const struct model *model, int weaknesses)
{
    visited = calloc(TABLE_SIZE, sizeof(*visited));
    used = calloc(TABLE_SIZE, 1);
    assert_true(visited && used);
    for (int weakness = 0; weakness <= weaknesses; weakness++) {
        const struct machine start = {0};
        memset(used, 0, TABLE_SIZE);
        visited_count = 0;
        bool fails = fails_from(model, &start, weakness);
        print_message("  %s %d: %s after %u states\n", weakness ? "weakened" : "as it is", weakness, fails ? "fails" : "holds",
                      visited_count);
        assert_int_equal(fails, weakness != 0);
    }
    free(visited);
    free(used);
}

/* ---- doorbell: lane_client_submit and lane_hub_arm ---- */

enum { TAIL, ARMED, BELL };
enum { HEAD = 0, SEEN_BELL = 1, LOOKED = 2 };
enum { CLIENT, HUB };

#define SUBMISSIONS 2

/* tail = n (release); fence; armed? ring. Weakness 1: no fence. 2: armed is read before tail is stored. */
static bool doorbell_client(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[CLIENT];
    switch (m->pc[CLIENT]) {
    case 0:
        if (weakness == 2)
            r[LOOKED] = load(m, CLIENT, ARMED);
        if (!store_release(m, CLIENT, TAIL, r[HEAD] + 1))
            return false;
        m->pc[CLIENT] = 1;
        return true;
    case 1:
        if (weakness != 1 && !nothing_queued(m, CLIENT))
            return false;
        if (weakness != 2)
            r[LOOKED] = load(m, CLIENT, ARMED);
        m->pc[CLIENT] = 2;
        return true;
    default: /* the doorbell is a system call: visible at once */
        m->memory[BELL] += r[LOOKED];
        r[LOOKED] = 0;
        m->pc[CLIENT] = ++r[HEAD] == SUBMISSIONS ? DONE : 0;
        return true;
    }
}

/* Take what is there; armed = 1; fence; look once more; sleep. Weakness 3: no fence. 4: it looks before it arms. */
static bool doorbell_hub(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[HUB];
    switch (m->pc[HUB]) {
    case 0:
        r[HEAD] = load(m, HUB, TAIL);
        m->pc[HUB] = r[HEAD] == SUBMISSIONS ? DONE : 1;
        return true;
    case 1:
        if (weakness == 4)
            r[LOOKED] = load(m, HUB, TAIL);
        if (!store(m, HUB, ARMED, 1))
            return false;
        m->pc[HUB] = 2;
        return true;
    case 2:
        if (weakness != 3 && !nothing_queued(m, HUB))
            return false;
        if (weakness != 4)
            r[LOOKED] = load(m, HUB, TAIL);
        m->pc[HUB] = r[LOOKED] == r[HEAD] ? 3 : 4;
        return true;
    case 3: /* asleep in epoll; edge-triggered and never read */
        if (m->memory[BELL] == r[SEEN_BELL])
            return false;
        r[SEEN_BELL] = m->memory[BELL];
        m->pc[HUB] = 4;
        return true;
    default:
        if (!store(m, HUB, ARMED, 0))
            return false;
        m->pc[HUB] = 0;
        return true;
    }
}

static bool doorbell_step(struct machine *m, int t, int weakness)
{
    return t == CLIENT ? doorbell_client(m, weakness) : doorbell_hub(m, weakness);
}

static bool hub_sleeps_on_a_message(const struct machine *m)
{
    return m->pc[CLIENT] == DONE && m->pc[HUB] != DONE;
}

static void a_submission_never_meets_a_sleeping_hub(void **state)
{
    (void)state;
    check(&(struct model){doorbell_step, hub_sleeps_on_a_message}, 4);
}

/* ---- wake byte: rmqhub_dispatch's wish and ipc_client_notify ---- */

enum { WANT, ASYNC_TAIL, BYTES };
enum { CONSUMED = 0, WISHES = 1, SEEN_WANT = 1, SEEN = 2 };

#define COMPLETIONS 2

/* Drain; consume; want + 1 (release); fence; look; poll. Weakness 1: no fence. 2: it looks before it wishes. */
static bool byte_client(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[CLIENT];
    switch (m->pc[CLIENT]) {
    case 0:
        m->memory[BYTES] = 0;
        m->pc[CLIENT] = 1;
        return true;
    case 1:
        r[CONSUMED] = load(m, CLIENT, ASYNC_TAIL);
        m->pc[CLIENT] = r[CONSUMED] == COMPLETIONS ? DONE : 2;
        return true;
    case 2:
        if (weakness == 2)
            r[SEEN] = load(m, CLIENT, ASYNC_TAIL);
        if (r[WISHES] == 6 || !store_release(m, CLIENT, WANT, r[WISHES] + 1))
            return false;
        r[WISHES]++;
        m->pc[CLIENT] = 3;
        return true;
    case 3:
        if (weakness != 1 && !nothing_queued(m, CLIENT))
            return false;
        if (weakness != 2)
            r[SEEN] = load(m, CLIENT, ASYNC_TAIL);
        m->pc[CLIENT] = r[SEEN] == r[CONSUMED] ? 4 : 1;
        return true;
    default: /* in poll */
        if (!m->memory[BYTES])
            return false;
        m->pc[CLIENT] = 0;
        return true;
    }
}

/* async_tail + 1 (release); fence; one byte per new wish. Weakness 3: no fence. 4: the wish is read before the completion. */
static bool byte_hub(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[HUB];
    switch (m->pc[HUB]) {
    case 0:
        if (weakness == 4)
            r[SEEN] = load(m, HUB, WANT);
        if (!store_release(m, HUB, ASYNC_TAIL, r[CONSUMED] + 1))
            return false;
        r[CONSUMED]++;
        m->pc[HUB] = 1;
        return true;
    case 1:
        if (weakness != 3 && !nothing_queued(m, HUB))
            return false;
        if (weakness != 4)
            r[SEEN] = load(m, HUB, WANT);
        m->pc[HUB] = 2;
        return true;
    default:
        if (r[SEEN] != r[SEEN_WANT]) {
            r[SEEN_WANT] = r[SEEN];
            m->memory[BYTES] = 1;
        }
        m->pc[HUB] = r[CONSUMED] == COMPLETIONS ? DONE : 0;
        return true;
    }
}

static bool byte_step(struct machine *m, int t, int weakness)
{
    return t == CLIENT ? byte_client(m, weakness) : byte_hub(m, weakness);
}

static bool client_polls_beside_a_completion(const struct machine *m)
{
    return m->pc[HUB] == DONE && m->pc[CLIENT] != DONE;
}

static void a_completion_never_leaves_the_application_in_poll(void **state)
{
    (void)state;
    check(&(struct model){byte_step, client_polls_beside_a_completion}, 4);
}

/* ---- submission: record, LIVE, idx, tail ---- */

enum { RECORD, LIVE, IDX, S_TAIL };

/* Weakness 1: tail without release. 2: LIVE without release, and tail too early for it. 3: tail first. */
static bool submit_client(struct machine *m, int weakness)
{
    bool done;
    switch (m->pc[CLIENT]) {
    case 0:
        done = weakness == 3 ? store_release(m, CLIENT, S_TAIL, 1) : store(m, CLIENT, RECORD, 7);
        break;
    case 1:
        done = weakness == 2   ? store_release(m, CLIENT, S_TAIL, 1)
               : weakness == 3 ? store(m, CLIENT, RECORD, 7)
                               : store_release(m, CLIENT, LIVE, 1);
        break;
    case 2:
        done = store(m, CLIENT, IDX, 1);
        break;
    default:
        done = weakness == 2 || weakness == 3 ? store(m, CLIENT, LIVE, 1)
               : weakness == 1                ? store(m, CLIENT, S_TAIL, 1)
                                              : store_release(m, CLIENT, S_TAIL, 1);
        break;
    }
    if (done)
        m->pc[CLIENT] = m->pc[CLIENT] == 3 ? DONE : m->pc[CLIENT] + 1;
    return done;
}

/* tail, idx, state, record. Weakness 4: the record is read before tail is (no acquire). */
static bool submit_hub(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[HUB];
    switch (m->pc[HUB]) {
    case 0:
        if (weakness == 4)
            r[1] = load(m, HUB, RECORD);
        m->pc[HUB] = 1;
        return true;
    case 1:
        if (load(m, HUB, S_TAIL) == 0)
            return false;
        m->pc[HUB] = 2;
        return true;
    default:
        m->bad = load(m, HUB, IDX) != 1 || load(m, HUB, LIVE) != 1 || (weakness == 4 ? r[1] : load(m, HUB, RECORD)) != 7;
        m->pc[HUB] = DONE;
        return true;
    }
}

static bool submit_step(struct machine *m, int t, int weakness)
{
    return t == CLIENT ? submit_client(m, weakness) : submit_hub(m, weakness);
}

static void what_the_tail_covers_is_whole(void **state)
{
    (void)state;
    check(&(struct model){submit_step, NULL}, 4);
}

/* ---- completion: record, seq, async ring ---- */

enum { ANSWER, SEQ, RING, C_TAIL };

/* Weakness 1: seq without release. 2: the ring's tail without release. 3: the ring before seq. */
static bool complete_hub(struct machine *m, int weakness)
{
    bool done;
    switch (m->pc[HUB]) {
    case 0:
        done = store(m, HUB, ANSWER, 9);
        break;
    case 1:
        done = weakness == 1 ? store(m, HUB, SEQ, 1) : weakness == 3 ? store(m, HUB, RING, 1) : store_release(m, HUB, SEQ, 1);
        break;
    case 2:
        done = weakness == 3 ? store_release(m, HUB, C_TAIL, 1) : store(m, HUB, RING, 1);
        break;
    default:
        done = weakness == 2 ? store(m, HUB, C_TAIL, 1) : weakness == 3 ? store_release(m, HUB, SEQ, 1) : store_release(m, HUB, C_TAIL, 1);
        break;
    }
    if (done)
        m->pc[HUB] = m->pc[HUB] == 3 ? DONE : m->pc[HUB] + 1;
    return done;
}

/* One that waits for its mailbox, one that follows the ring: whichever comes first. Weakness 4: the answer is read before seq is. */
static bool complete_client(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[CLIENT];
    switch (m->pc[CLIENT]) {
    case 0:
        r[0] = load(m, CLIENT, ANSWER);
        m->pc[CLIENT] = 1;
        return true;
    case 1:
        r[1] = load(m, CLIENT, C_TAIL);
        m->pc[CLIENT] = r[1] ? 2 : 3;
        return true;
    case 2: /* the ring has an entry: it must name an answered slot, or its callback is lost */
        m->bad = load(m, CLIENT, RING) != 1 || load(m, CLIENT, SEQ) != 1;
        m->pc[CLIENT] = 3;
        return true;
    default:
        if (load(m, CLIENT, SEQ) == 0)
            return false;
        m->bad |= (weakness == 4 ? r[0] : load(m, CLIENT, ANSWER)) != 9;
        m->pc[CLIENT] = DONE;
        return true;
    }
}

static bool complete_step(struct machine *m, int t, int weakness)
{
    return t == CLIENT ? complete_client(m, weakness) : complete_hub(m, weakness);
}

static void an_answer_is_whole_when_seq_says_so(void **state)
{
    (void)state;
    check(&(struct model){complete_step, NULL}, 4);
}

/* ---- table flip: system calls, each visible when it returns ---- */

enum { GENERATION, HALF_0, HALF_0_END, HALF_1, HALF_1_END };

#define SNAPSHOTS 3

/* Two rows of the idle half, then the generation. Weakness 1: the generation first. 2: the half in use is written. */
static bool flip_writer(struct machine *m, int weakness)
{
    uint8_t next = m->reg[HUB][0] + 1;
    int half = ((weakness == 2 ? next + 1 : next) & 1) ? HALF_1 : HALF_0;
    switch (m->pc[HUB] + (weakness == 1 ? 2 : 0)) {
    case 0:
    case 3:
        m->memory[half] = next;
        break;
    case 1:
    case 4:
        m->memory[half + 1] = next;
        break;
    default:
        m->memory[GENERATION] = next;
        break;
    }
    if (m->pc[HUB] == 2)
        m->reg[HUB][0] = next;
    m->pc[HUB] = m->pc[HUB] < 2 ? m->pc[HUB] + 1 : next == SNAPSHOTS ? DONE : 0;
    return true;
}

/* generation, rows, generation again. Weakness 3: not again. */
static bool flip_reader(struct machine *m, int weakness)
{
    uint8_t *r = m->reg[CLIENT];
    int half = (r[0] & 1) ? HALF_1 : HALF_0;
    switch (m->pc[CLIENT]) {
    case 0:
        r[0] = m->memory[GENERATION];
        if (r[0] == 0)
            return false;
        m->pc[CLIENT] = 1;
        return true;
    case 1:
        r[1] = m->memory[half];
        m->pc[CLIENT] = 2;
        return true;
    case 2:
        r[2] = m->memory[half + 1];
        m->pc[CLIENT] = 3;
        return true;
    default:
        if (weakness != 3 && m->memory[GENERATION] != r[0]) {
            m->pc[CLIENT] = 0;
            return true;
        }
        m->bad = r[1] != r[0] || r[2] != r[0];
        m->pc[CLIENT] = DONE;
        return true;
    }
}

static bool flip_step(struct machine *m, int t, int weakness)
{
    return t == CLIENT ? flip_reader(m, weakness) : flip_writer(m, weakness);
}

static void a_reader_sees_one_whole_snapshot(void **state)
{
    (void)state;
    check(&(struct model){flip_step, NULL}, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_submission_never_meets_a_sleeping_hub), cmocka_unit_test(a_completion_never_leaves_the_application_in_poll),
        cmocka_unit_test(what_the_tail_covers_is_whole),           cmocka_unit_test(an_answer_is_whole_when_seq_says_so),
        cmocka_unit_test(a_reader_sees_one_whole_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
