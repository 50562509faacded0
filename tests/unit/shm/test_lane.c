/*
 * The lane with both sides in one process, over memory that stands in for the two segments:
 * submission, taking, completion, the async ring, revocation, what the next hub finds, and
 * every lie that the hub's side must refuse.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shm/lane.h"

struct fixture {
    struct shm_c *c;
    struct shm_h *h, *next_h;
    struct lane_client client;
    struct lane_hub hub;
    struct lane_found found[SHM_SLOTS];
};

static void *zeroed(size_t bytes)
{
    void *p = aligned_alloc(4096, bytes);
    assert_non_null(p);
    return memset(p, 0, bytes);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *why = NULL;
    f->c = zeroed(sizeof(*f->c));
    f->h = zeroed(sizeof(*f->h));
    f->next_h = zeroed(sizeof(*f->next_h));
    lane_client_init(&f->client, f->c, f->h);
    assert_int_equal(lane_hub_init(&f->hub, f->c, f->h, &why), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    free(f->c);
    free(f->h);
    free(f->next_h);
    free(f);
    return 0;
}

static struct shm_slot_record message(uint32_t body_off)
{
    return (struct shm_slot_record){
        .op = SHM_OP_SEND, .uniq_len = 16, .producer_h = 1, .topic_h = 2, .queue_id = -1, .body_off = body_off, .body_len = 100};
}

/* Submits one message and returns its slot. */
static unsigned submit(struct fixture *f, uint8_t flags)
{
    struct shm_slot_record record = message(64);
    record.flags = flags;
    int slot = lane_client_take_slot(&f->client);
    assert_true(slot >= 0);
    lane_client_submit(&f->client, (unsigned)slot, &record);
    return (unsigned)slot;
}

static unsigned take(struct fixture *f)
{
    struct shm_slot_record record;
    unsigned slot = SHM_SLOTS;
    const char *why = NULL;
    assert_int_equal(lane_hub_take(&f->hub, &record, &slot, &why), LANE_TAKE_RECORD);
    return slot;
}

static void complete(struct fixture *f, unsigned slot, uint8_t flags, int32_t code, const char *reason)
{
    const struct shm_mbox_record record = {.outcome = SHM_STORED, .code = code, .queue_offset = code, .attempts = 1};
    lane_hub_complete(&f->hub, slot, flags, &record, reason);
}

static int32_t read_code(struct fixture *f, unsigned slot)
{
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    assert_true(lane_client_is_answered(&f->client, slot));
    lane_client_read_answer(&f->client, slot, &record, reason);
    assert_int_equal(record.queue_offset, record.code);
    return record.code;
}

/* The next hub takes over; afterwards the fixture is between the client and that hub. */
static int take_over(struct fixture *f, bool head_is_final)
{
    const char *why = NULL;
    memset(f->next_h, 0, sizeof(*f->next_h));
    int n = lane_hub_take_over(&f->hub, f->c, f->next_h, f->h, head_is_final, f->found, &why);
    if (n < 0) {
        assert_non_null(why);
        return n;
    }
    struct shm_h *old = f->h;
    f->client.h = f->h = f->next_h;
    f->next_h = old;
    lane_client_enter_new_h(&f->client);
    return n;
}

/* ---- the plain way ---- */

static void a_record_arrives_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    struct shm_slot_record in = message(4096), out;
    unsigned slot = SHM_SLOTS;
    const char *why = NULL;
    in.deadline_ns = 77;
    in.submit_ns = 66;
    in.flags = SHM_SLOT_ASYNC;
    in.queue_id = 5;
    in.msg_flag = -9;
    in.properties_off = 12;
    in.properties_len = 34;
    memset(in.uniq, 0xab, 16);
    assert_int_equal(lane_hub_take(&f->hub, &out, &slot, &why), LANE_TAKE_NONE);
    int mine = lane_client_take_slot(&f->client);
    lane_client_submit(&f->client, (unsigned)mine, &in);
    assert_int_equal(lane_hub_take(&f->hub, &out, &slot, &why), LANE_TAKE_RECORD);
    assert_int_equal(slot, mine);
    assert_memory_equal(&in, &out, sizeof(in));
    assert_int_equal(lane_hub_take(&f->hub, &out, &slot, &why), LANE_TAKE_NONE);
    assert_int_equal(shm_load_relaxed(&f->h->sq_head), 1);
}

static void an_answer_belongs_to_one_use_of_a_slot(void **state)
{
    struct fixture *f = *state;
    for (int32_t i = 1; i <= 1000; i++) {
        unsigned slot = submit(f, 0);
        assert_false(lane_client_is_answered(&f->client, slot));
        assert_int_equal(take(f), slot);
        assert_false(lane_client_is_answered(&f->client, slot));
        complete(f, slot, 0, i, NULL);
        assert_int_equal(read_code(f, slot), i);
        lane_client_free_slot(&f->client, slot);
    }
}

static void records_are_taken_in_submission_order(void **state)
{
    struct fixture *f = *state;
    unsigned order[SHM_SLOTS];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < SHM_SLOTS; i++)
            order[i] = submit(f, 0);
        assert_int_equal(lane_client_take_slot(&f->client), -1);
        for (unsigned i = 0; i < SHM_SLOTS; i++)
            assert_int_equal(take(f), order[i]);
        for (unsigned i = SHM_SLOTS; i-- > 0;) {
            complete(f, order[i], 0, (int32_t)i, NULL);
            assert_int_equal(read_code(f, order[i]), (int32_t)i);
            lane_client_free_slot(&f->client, order[i]);
        }
    }
}

static void reasons_are_cut_and_terminated(void **state)
{
    struct fixture *f = *state;
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES], longest[2 * SHM_REASON_BYTES];
    unsigned slot = submit(f, 0);
    take(f);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    complete(f, slot, 0, 1, longest);
    lane_client_read_answer(&f->client, slot, &record, reason);
    assert_int_equal(strlen(reason), SHM_REASON_BYTES - 1);
    assert_int_equal(record.reason_len, SHM_REASON_BYTES - 1);

    /* The client does not believe the length either. */
    record.reason_len = UINT16_MAX;
    SHM_RECORD_STORE(&f->h->mbox[slot], &record);
    lane_client_read_answer(&f->client, slot, &record, reason);
    assert_int_equal(strlen(reason), SHM_REASON_BYTES - 1);

    lane_client_free_slot(&f->client, slot);
    slot = submit(f, 0);
    take(f);
    complete(f, slot, 0, 1, "no such broker");
    lane_client_read_answer(&f->client, slot, &record, reason);
    assert_string_equal(reason, "no such broker");
}

static void the_doorbell_is_asked_for_before_sleep_only(void **state)
{
    struct fixture *f = *state;
    struct shm_slot_record record = message(0);
    assert_false(lane_client_submit(&f->client, (unsigned)lane_client_take_slot(&f->client), &record));
    assert_false(lane_hub_arm(&f->hub)); /* something is waiting: do not sleep */
    assert_int_equal(shm_load_relaxed(&f->h->armed), 0);
    take(f);
    assert_true(lane_hub_arm(&f->hub));
    assert_true(lane_client_submit(&f->client, (unsigned)lane_client_take_slot(&f->client), &record));
    lane_hub_disarm(&f->hub);
    assert_false(lane_client_submit(&f->client, (unsigned)lane_client_take_slot(&f->client), &record));
}

/* ---- the async ring ---- */

static void the_ring_names_async_answers_in_their_order(void **state)
{
    struct fixture *f = *state;
    unsigned a = submit(f, SHM_SLOT_ASYNC), sync = submit(f, 0), quiet = submit(f, SHM_SLOT_ASYNC | SHM_SLOT_QUIET),
             b = submit(f, SHM_SLOT_ASYNC);
    for (int i = 0; i < 4; i++)
        take(f);
    assert_false(lane_client_has_async(&f->client));
    assert_int_equal(lane_client_next_async(&f->client), -1);
    complete(f, b, SHM_SLOT_ASYNC, 1, NULL);
    complete(f, sync, 0, 2, NULL);
    complete(f, quiet, SHM_SLOT_ASYNC | SHM_SLOT_QUIET, 3, NULL);
    complete(f, a, SHM_SLOT_ASYNC, 4, NULL);
    assert_true(lane_client_has_async(&f->client));
    assert_int_equal(lane_client_next_async(&f->client), (int)b);
    assert_int_equal(lane_client_next_async(&f->client), (int)a);
    assert_int_equal(lane_client_next_async(&f->client), -1);
    assert_false(lane_client_has_async(&f->client));
}

static void an_entry_of_a_use_that_ended_is_skipped(void **state)
{
    struct fixture *f = *state;
    unsigned a = submit(f, SHM_SLOT_ASYNC);
    take(f);
    complete(f, a, SHM_SLOT_ASYNC, 1, NULL);
    lane_client_free_slot(&f->client, a); /* read without the ring, as a caller does that was told UNKNOWN before */
    assert_int_equal(submit(f, SHM_SLOT_ASYNC), a);
    assert_int_equal(lane_client_next_async(&f->client), -1);
    take(f);
    complete(f, a, SHM_SLOT_ASYNC, 2, NULL);
    assert_int_equal(lane_client_next_async(&f->client), (int)a);
}

/* Entries of uses that ended and entries of all slots do not fit together: the overwritten ones must not be lost. */
static void a_lapped_ring_loses_nobody(void **state)
{
    struct fixture *f = *state;
    for (unsigned stale = 1; stale <= SHM_SLOTS; stale *= 16) {
        for (unsigned i = 0; i < stale; i++) {
            unsigned slot = submit(f, SHM_SLOT_ASYNC);
            assert_int_equal(take(f), slot);
            complete(f, slot, SHM_SLOT_ASYNC, 0, NULL);
            lane_client_free_slot(&f->client, slot);
        }
        bool seen[SHM_SLOTS] = {false};
        for (unsigned i = 0; i < SHM_SLOTS; i++) {
            unsigned slot = submit(f, SHM_SLOT_ASYNC);
            assert_int_equal(take(f), slot);
            complete(f, slot, SHM_SLOT_ASYNC, (int32_t)slot, NULL);
        }
        for (unsigned i = 0; i < SHM_SLOTS; i++) {
            int slot = lane_client_next_async(&f->client);
            assert_true(slot >= 0);
            assert_false(seen[slot]);
            seen[slot] = true;
            assert_int_equal(read_code(f, (unsigned)slot), slot);
            lane_client_free_slot(&f->client, (unsigned)slot);
        }
        assert_int_equal(lane_client_next_async(&f->client), -1);
    }
}

static void a_ring_that_lies_is_harmless(void **state)
{
    struct fixture *f = *state;
    unsigned a = submit(f, SHM_SLOT_ASYNC);
    take(f);
    atomic_store(&f->h->async_idx[0], UINT32_MAX);
    atomic_store(&f->h->async_idx[1], a);
    shm_store_release(&f->h->async_tail, 2);
    assert_int_equal(lane_client_next_async(&f->client), -1);
    shm_store_release(&f->h->async_tail, UINT64_MAX);
    assert_int_equal(lane_client_next_async(&f->client), -1);
}

/* ---- revocation ---- */

static void what_no_hub_took_can_be_revoked(void **state)
{
    struct fixture *f = *state;
    unsigned taken = submit(f, 0), untaken = submit(f, 0);
    take(f);
    assert_false(lane_client_was_not_taken(&f->client, taken));
    assert_true(lane_client_was_not_taken(&f->client, untaken));
    lane_client_free_slot(&f->client, untaken);

    struct shm_slot_record record;
    unsigned slot;
    const char *why = NULL;
    assert_int_equal(lane_hub_take(&f->hub, &record, &slot, &why), LANE_TAKE_REVOKED);

    /* Revoked and used again before the hub looks: the first index is void, the second is a message. */
    untaken = submit(f, 0);
    lane_client_free_slot(&f->client, untaken);
    assert_int_equal(submit(f, 0), untaken);
    assert_int_equal(lane_hub_take(&f->hub, &record, &slot, &why), LANE_TAKE_REVOKED);
    assert_int_equal(take(f), untaken);
}

/* ---- the next hub ---- */

static void the_next_hub_finds_each_message_once(void **state)
{
    struct fixture *f = *state;
    unsigned answered = submit(f, 0), answered_async = submit(f, SHM_SLOT_ASYNC), read = submit(f, 0), taken = submit(f, 0);
    for (int i = 0; i < 4; i++)
        take(f);
    complete(f, answered, 0, 11, "because");
    complete(f, answered_async, SHM_SLOT_ASYNC, 12, NULL);
    complete(f, read, 0, 13, NULL);
    lane_client_free_slot(&f->client, read);
    unsigned untaken = submit(f, 0), revoked = submit(f, 0);
    lane_client_free_slot(&f->client, revoked);

    assert_int_equal(take_over(f, true), 2);
    assert_int_equal(f->found[0].slot, taken);
    assert_true(f->found[0].tainted);
    assert_int_equal(f->found[1].slot, untaken);
    assert_false(f->found[1].tainted);

    assert_int_equal(read_code(f, answered), 11);
    assert_int_equal(read_code(f, answered_async), 12);
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    lane_client_read_answer(&f->client, answered, &record, reason);
    assert_string_equal(reason, "because");
    assert_int_equal(lane_client_next_async(&f->client), (int)answered_async);
    assert_int_equal(lane_client_next_async(&f->client), -1);

    /* Both are in the new hub's hands, and it goes on behind them. */
    assert_false(lane_client_was_not_taken(&f->client, untaken));
    complete(f, taken, 0, 14, NULL);
    complete(f, untaken, 0, 15, NULL);
    assert_int_equal(read_code(f, taken), 14);
    assert_int_equal(read_code(f, untaken), 15);
    unsigned later = submit(f, 0);
    assert_int_equal(take(f), later);
}

static void found_messages_are_in_submission_order(void **state)
{
    struct fixture *f = *state;
    unsigned first[SHM_SLOTS], order[SHM_SLOTS];
    for (unsigned i = 0; i < SHM_SLOTS; i++)
        first[i] = submit(f, 0);
    for (unsigned i = 0; i < SHM_SLOTS; i++) {
        take(f);
        complete(f, first[i], 0, 0, NULL);
    }
    for (unsigned i = 0; i < SHM_SLOTS; i++)
        lane_client_free_slot(&f->client, first[(i * 7) % SHM_SLOTS]);
    for (unsigned i = 0; i < SHM_SLOTS; i++)
        order[i] = submit(f, 0);
    assert_int_equal(take_over(f, true), SHM_SLOTS);
    for (unsigned i = 0; i < SHM_SLOTS; i++)
        assert_int_equal(f->found[i].slot, order[i]);
}

static void without_a_final_head_everything_found_is_tainted(void **state)
{
    struct fixture *f = *state;
    submit(f, 0);
    assert_int_equal(take_over(f, false), 1);
    assert_true(f->found[0].tainted);
}

/* While no hub runs, slots are revoked and used again, as often as the application likes. */
static void a_long_absence_is_no_violation(void **state)
{
    struct fixture *f = *state;
    unsigned kept = submit(f, 0);
    for (unsigned i = 0; i < 3 * SHM_SLOTS; i++) {
        unsigned slot = submit(f, 0);
        assert_true(lane_client_was_not_taken(&f->client, slot));
        lane_client_free_slot(&f->client, slot);
    }
    unsigned last = submit(f, 0);
    assert_int_equal(take_over(f, true), 2);
    assert_int_equal(f->found[0].slot, kept);
    assert_int_equal(f->found[1].slot, last);
    assert_false(f->found[0].tainted || f->found[1].tainted);
    unsigned later = submit(f, 0);
    assert_int_equal(take(f), later);
}

static void what_is_not_accepted_yet_comes_by_the_tail(void **state)
{
    struct fixture *f = *state;
    unsigned slot = submit(f, 0);
    shm_store_release(&f->c->tail, 0); /* killed between LIVE and tail, or not that far yet */
    assert_int_equal(take_over(f, true), 0);
    shm_store_release(&f->c->tail, 1);
    assert_int_equal(take(f), slot);
}

static void broker_names_are_carried_over(void **state)
{
    struct fixture *f = *state;
    unsigned a = submit(f, 0), b = submit(f, 0);
    take(f);
    take(f);
    strcpy(f->h->broker[3], "broker-c");
    memset(f->h->broker[4], 'x', SHM_BROKER_NAME_BYTES);
    const struct shm_mbox_record good = {.outcome = SHM_STORED, .broker_ix = 3}, bad = {.outcome = SHM_STORED, .broker_ix = SHM_BROKERS};
    lane_hub_complete(&f->hub, a, 0, &good, NULL);
    lane_hub_complete(&f->hub, b, 0, &bad, NULL);
    assert_int_equal(take_over(f, true), 0);
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    lane_client_read_answer(&f->client, a, &record, reason);
    assert_string_equal(f->h->broker[record.broker_ix], "broker-c");
    assert_int_equal(f->h->broker[4][SHM_BROKER_NAME_BYTES - 1], '\0');
    lane_client_read_answer(&f->client, b, &record, reason);
    assert_int_equal(record.broker_ix, 0);
}

static void a_head_beyond_the_tail_is_a_violation(void **state)
{
    struct fixture *f = *state;
    submit(f, 0);
    take(f);
    shm_store_release(&f->c->tail, 0);
    assert_int_equal(take_over(f, true), -EBADMSG);
}

/* Words of a slot that was answered may change while the next hub looks: they are the client's to reuse. */
static void an_answered_slot_is_not_judged(void **state)
{
    struct fixture *f = *state;
    unsigned slot = submit(f, 0);
    take(f);
    complete(f, slot, 0, 21, NULL);
    struct shm_slot_record torn = message(SHM_ARENA_BYTES);
    SHM_RECORD_STORE(&f->c->slot[slot], &torn);
    assert_int_equal(take_over(f, true), 0);
    assert_int_equal(read_code(f, slot), 21);
}

/* ---- lies ---- */

static void expect_refused(struct fixture *f, const char *what)
{
    struct shm_slot_record record;
    unsigned slot;
    const char *why = NULL;
    assert_int_equal(lane_hub_take(&f->hub, &record, &slot, &why), -EBADMSG);
    assert_non_null(why);
    assert_non_null(strstr(why, what));
}

static void a_lane_in_use_is_no_first_attach(void **state)
{
    struct fixture *f = *state;
    const char *why = NULL;
    submit(f, 0);
    assert_int_equal(lane_hub_init(&f->hub, f->c, f->h, &why), -EBADMSG);
    assert_non_null(strstr(why, "not empty"));
}

static void lies_in_words_are_refused(void **state)
{
    struct fixture *f = *state;
    unsigned slot = submit(f, 0);

    shm_store_release(&f->c->tail, SHM_SLOTS + 1);
    expect_refused(f, "tail");
    shm_store_release(&f->c->tail, UINT64_MAX);
    expect_refused(f, "tail");
    shm_store_release(&f->c->tail, 1);

    atomic_store(&f->c->idx[0], SHM_SLOTS);
    expect_refused(f, "out of range");
    atomic_store(&f->c->idx[0], UINT32_MAX);
    expect_refused(f, "out of range");
    atomic_store(&f->c->idx[0], slot);

    take(f);
    atomic_store(&f->c->idx[1], slot);
    shm_store_release(&f->c->tail, 2);
    expect_refused(f, "in the hub's hands");
    shm_store_release(&f->c->tail, 0); /* backwards */
    expect_refused(f, "tail");
}

static void impossible_states_are_refused(void **state)
{
    struct fixture *f = *state;
    static const uint64_t impossible[] = {1, 2, 3, 4 | 2, 4 | 3};
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        unsigned slot = submit(f, 0);
        shm_store_release(&f->c->slot[slot].state, impossible[i]);
        expect_refused(f, "impossible state");
    }
}

struct lie {
    const char *name, *expected;
    void (*tell)(struct shm_slot_record *);
};

#define LIE(name, statement) \
    static void lie_##name(struct shm_slot_record *r) \
    { \
        statement; \
    }
LIE(body_outside, r->body_off = SHM_ARENA_BYTES - 99)
LIE(body_overflow, r->body_off = UINT32_MAX; r->body_len = UINT32_MAX)
LIE(body_none_outside, r->body_off = SHM_ARENA_BYTES + 1; r->body_len = 0)
LIE(properties_outside, r->properties_len = SHM_ARENA_BYTES + 1)
LIE(properties_overflow, r->properties_off = UINT32_MAX; r->properties_len = 2)
LIE(body_segment, r->body_segment = 1)
LIE(uniq_len, r->uniq_len = SHM_UNIQ_MAX + 1)
LIE(flags, r->flags = 16)
LIE(producer_h, r->producer_h = SHM_REGISTRATIONS)
LIE(topic_h, r->topic_h = UINT16_MAX)
LIE(reserved_first, r->reserved[0] = 1)
LIE(reserved_last, r->reserved[sizeof(r->reserved) - 1] = 1)

static const struct lie lies[] = {
    {"body outside", "outside the arena", lie_body_outside},
    {"body sum overflows", "outside the arena", lie_body_overflow},
    {"empty body outside", "outside the arena", lie_body_none_outside},
    {"properties outside", "outside the arena", lie_properties_outside},
    {"properties sum overflows", "outside the arena", lie_properties_overflow},
    {"body segment", "no body segment", lie_body_segment},
    {"uniq length", "impossible uniq length or flag", lie_uniq_len},
    {"flags", "impossible uniq length or flag", lie_flags},
    {"producer handle", "handle out of range", lie_producer_h},
    {"topic handle", "handle out of range", lie_topic_h},
    {"first reserved byte", "reserved bytes", lie_reserved_first},
    {"last reserved byte", "reserved bytes", lie_reserved_last},
};

static void lies_in_records_are_refused(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        print_message("  %s\n", lies[i].name);
        struct shm_slot_record record = message(0);
        lies[i].tell(&record);
        unsigned slot = (unsigned)lane_client_take_slot(&f->client);
        lane_client_submit(&f->client, slot, &record);
        assert_int_equal(take_over(f, true), -EBADMSG);
        const char *why = NULL;
        memset(&f->hub, 0, sizeof(f->hub)); /* the first hub again, as it stood before this submission */
        f->hub.c = f->c;
        f->hub.h = f->h;
        f->hub.head = f->client.tail - 1;
        struct shm_slot_record out;
        assert_int_equal(lane_hub_take(&f->hub, &out, &slot, &why), -EBADMSG);
        assert_non_null(strstr(why, lies[i].expected));
        lane_client_free_slot(&f->client, slot);
    }
}

/* The exact edges are no lies. */
static void edges_are_accepted(void **state)
{
    struct fixture *f = *state;
    struct shm_slot_record record = message(SHM_ARENA_BYTES - 100);
    record.properties_off = 0;
    record.properties_len = SHM_ARENA_BYTES;
    record.uniq_len = SHM_UNIQ_MAX;
    record.flags = SHM_SLOT_FLAGS_ALL;
    record.producer_h = record.topic_h = SHM_REGISTRATIONS - 1;
    lane_client_submit(&f->client, (unsigned)lane_client_take_slot(&f->client), &record);
    take(f);
    record.body_off = SHM_ARENA_BYTES;
    record.body_len = 0;
    lane_client_submit(&f->client, (unsigned)lane_client_take_slot(&f->client), &record);
    take(f);
}

static void the_fingerprint_is_stable(void **state)
{
    (void)state;
    assert_true(shm_layout_fingerprint() != 0);
    assert_true(shm_layout_fingerprint() == shm_layout_fingerprint());
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_arrives_as_it_was_written),
        TEST(an_answer_belongs_to_one_use_of_a_slot),
        TEST(records_are_taken_in_submission_order),
        TEST(reasons_are_cut_and_terminated),
        TEST(the_doorbell_is_asked_for_before_sleep_only),
        TEST(the_ring_names_async_answers_in_their_order),
        TEST(an_entry_of_a_use_that_ended_is_skipped),
        TEST(a_lapped_ring_loses_nobody),
        TEST(a_ring_that_lies_is_harmless),
        TEST(what_no_hub_took_can_be_revoked),
        TEST(the_next_hub_finds_each_message_once),
        TEST(found_messages_are_in_submission_order),
        TEST(without_a_final_head_everything_found_is_tainted),
        TEST(a_long_absence_is_no_violation),
        TEST(what_is_not_accepted_yet_comes_by_the_tail),
        TEST(broker_names_are_carried_over),
        TEST(a_head_beyond_the_tail_is_a_violation),
        TEST(an_answered_slot_is_not_judged),
        TEST(a_lane_in_use_is_no_first_attach),
        TEST(lies_in_words_are_refused),
        TEST(impossible_states_are_refused),
        TEST(lies_in_records_are_refused),
        TEST(edges_are_accepted),
        TEST(the_fingerprint_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
