/*
 * The memory that a client and the hub share: two sealed memfds, one writer each.
 *
 *   C  (the client writes, the hub maps it read-only)
 *   ┌────────────┬──────────────────┬──────┬───────────┬───────────┬────────────────┐
 *   │ c_header   │ registration     │ tail │ idx[256]  │ slot[256] │ arena 512 KiB  │
 *   │ 4 KiB      │ [256] x 1 KiB    │      │ slot nrs  │ x 128 B   │ bodies, props  │
 *   └────────────┴──────────────────┴──────┴───────────┴───────────┴────────────────┘
 *   H  (the hub writes, the client maps it read-only)
 *   ┌────────────┬─────────┬───────┬────────────┬───────────┬────────────┬─────────┬─────────┐
 *   │ h_header   │ sq_head │ armed │ async_tail │ mbox[256] │ async_idx  │ reason  │ broker  │
 *   │ epoch,state│         │       │            │ x 128 B   │ [256]      │ [256]   │ [256]   │
 *   └────────────┴─────────┴───────┴────────────┴───────────┴────────────┴─────────┴─────────┘
 *
 * A send fills a slot, stores its number in idx[tail] and then tail + 1: that store is
 * acceptance. The completion is written into the mailbox of the same number, its seq
 * last. C outlives the hub and so is the journal of the next one.
 *
 * Shared words are only ever loaded with acquire or relaxed, and stored with release or
 * relaxed, by the functions below; plain data is ordered by them. No read-modify-write,
 * no lock, no pointer and no free list is in here, so a writer killed at any instruction
 * leaves nothing to mend.
 *
 * Room is left for further lanes (each another pair of segments) and for a body segment
 * (slot_record.body_segment), which this version refuses.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_ABI_MAJOR 2
#define SHM_ABI_MINOR 0
#define SHM_C_MAGIC UINT64_C(0x43627548514d5221) /* "!RMQHubC" */
#define SHM_H_MAGIC UINT64_C(0x48627548514d5221) /* "!RMQHubH" */

#define SHM_SLOTS 256u
#define SHM_REGISTRATIONS 256u
#define SHM_ARENA_BYTES (512u * 1024u)
#define SHM_REASON_BYTES 192u
#define SHM_BROKERS 256u
#define SHM_BROKER_NAME_BYTES 128u
#define SHM_NONCE_BYTES 16u
#define SHM_UNIQ_MAX 28u
/* Each group of words that one side writes and the other polls stands alone on this many bytes: two
 * cache lines, because adjacent lines are fetched together. */
#define SHM_ALONE 128

typedef _Atomic uint64_t shm_u64;
typedef _Atomic uint32_t shm_u32;

/* ---- the five ways to touch a shared word ---- */

static inline uint64_t shm_load_acquire(const shm_u64 *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void shm_store_release(shm_u64 *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static inline uint64_t shm_load_relaxed(const shm_u64 *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void shm_store_relaxed(shm_u64 *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/** Orders a store before a later load of another word: the two sides of sleep and wake-up. */
static inline void shm_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

/* ---- C ---- */

struct shm_c_header {
    uint64_t magic;
    uint16_t abi_major, abi_minor;
    uint32_t total_bytes;
    uint64_t fingerprint;
    uint64_t features_required, features_optional;
    uint8_t nonce[SHM_NONCE_BYTES];
    uint8_t reserved[64];
    /* Raised by the client when it wants one byte on the socket at the next async completion. */
    _Alignas(SHM_ALONE) shm_u64 want_byte;
    shm_u64 detached; /* 1: the client left for good; its tail is final though its process lives */
};

enum shm_registration_kind { SHM_KIND_PRODUCER = 1, SHM_KIND_TOPIC = 2 };
enum shm_registration_state { SHM_REGISTRATION_FREE = 0, SHM_REGISTRATION_LIVE = 1 };

/* Strings of a producer registration, in this order in the text; a topic uses the first alone. */
enum shm_registration_string {
    SHM_STRING_NAME, /* group or topic, without namespace */
    SHM_STRING_NAMESPACE,
    SHM_STRING_CLUSTER,
    SHM_STRING_NAMESRV,
    SHM_STRING_INSTANCE,
    SHM_STRING_UNIT,
    SHM_STRING_CREATE_TOPIC_KEY,
    SHM_STRINGS
};

#define SHM_REGISTRATION_TEXT_BYTES 968u

/** The index of a registration is its handle, and survives hubs. */
struct shm_registration_record {
    uint16_t kind;             /* enum shm_registration_kind */
    uint16_t parent;           /* topic: handle of its producer */
    uint32_t max_message_size; /* of producers; 0 and "" stand for the hub's defaults */
    uint16_t string_len[SHM_STRINGS];
    uint16_t reserved0;
    uint32_t default_topic_queue_nums;
    uint8_t reserved[20];
    char text[SHM_REGISTRATION_TEXT_BYTES];
};

struct shm_registration {
    shm_u64 state; /* enum shm_registration_state; stored last with release */
    shm_u64 words[sizeof(struct shm_registration_record) / 8];
};

/** Numbers are never reused. */
enum shm_op {
    SHM_OP_REGISTER = 1,   /* producer_h or, with SHM_SLOT_TOPIC, topic_h names the registration */
    SHM_OP_UNREGISTER = 2, /* with SHM_SLOT_FINAL: no linger */
    SHM_OP_SEND = 3,       /* two-way */
    SHM_OP_ONEWAY = 4,
};

enum shm_slot_flag {
    SHM_SLOT_ASYNC = 1, /* the completion also enters async_idx */
    SHM_SLOT_TOPIC = 2, /* (un)register a topic, not a producer */
    SHM_SLOT_FINAL = 4,
    SHM_SLOT_QUIET = 8, /* nobody waits: neither futex wake nor async_idx */
};
#define SHM_SLOT_FLAGS_ALL 15u

enum shm_slot_state { SHM_SLOT_FREE = 0, SHM_SLOT_LIVE = 1 };

/** State word of a slot: use count << 2 | FREE or LIVE. */
static inline uint64_t shm_slot_word(uint64_t seq, enum shm_slot_state state)
{
    return seq << 2 | (uint64_t)state;
}

struct shm_slot_record {
    uint64_t index;       /* value of tail before this submission */
    uint64_t deadline_ns; /* client's CLOCK_MONOTONIC */
    uint64_t submit_ns;
    uint8_t op, flags, uniq_len, body_segment;
    uint16_t producer_h, topic_h;
    int32_t queue_id; /* -1: the hub chooses */
    int32_t msg_flag;
    uint32_t properties_off, properties_len; /* offsets into the arena */
    uint32_t body_off, body_len;
    uint8_t uniq[SHM_UNIQ_MAX];
    uint8_t reserved[36];
};

struct shm_slot {
    shm_u64 state; /* shm_slot_word(); stored last with release */
    shm_u64 words[sizeof(struct shm_slot_record) / 8];
};

struct shm_c {
    _Alignas(4096) struct shm_c_header header;
    _Alignas(4096) struct shm_registration registration[SHM_REGISTRATIONS];
    _Alignas(4096) shm_u64 tail; /* submissions ever: acceptance is the store that raises it */
    _Alignas(SHM_ALONE) shm_u32 idx[SHM_SLOTS];
    _Alignas(SHM_ALONE) struct shm_slot slot[SHM_SLOTS];
    _Alignas(4096) unsigned char arena[SHM_ARENA_BYTES];
};

/* ---- H ---- */

enum shm_hub_state { SHM_HUB_RUN = 1, SHM_HUB_DRAIN = 2, SHM_HUB_CLOSED = 3 };

struct shm_h_header {
    uint64_t magic;
    uint16_t abi_major, abi_minor;
    uint32_t total_bytes;
    uint64_t fingerprint;
    uint64_t epoch; /* grows with each hub */
    uint64_t client_number;
    uint8_t nonce[SHM_NONCE_BYTES]; /* of the client it was made for */
    uint8_t reserved[64];
    _Alignas(SHM_ALONE) shm_u64 state; /* enum shm_hub_state */
};

enum shm_mbox_flag { SHM_MBOX_MAYBE_DUPLICATED = 1 };

/* Outcomes as in rmqhub.h, plus the answers to REGISTER and UNREGISTER, whose code is an enum shm_answer. */
enum shm_outcome { SHM_STORED = 1, SHM_NOT_STORED = 2, SHM_UNKNOWN = 3, SHM_ANSWERED = 4 };

enum shm_answer {
    SHM_ANSWER_OK = 0,
    SHM_ANSWER_INVALID = 1,         /* the registration breaks a rule; the reason names it */
    SHM_ANSWER_DUPLICATE_GROUP = 2, /* same group twice in one client under an explicit instance name */
    SHM_ANSWER_PERMISSION = 3,
    SHM_ANSWER_LIMIT = 4,
    SHM_ANSWER_DRAINING = 5,
};

struct shm_mbox_record {
    uint8_t outcome, send_status, msgid_len, reserved0;
    int32_t code;
    uint16_t attempts, flags;
    int32_t queue_id;
    int64_t queue_offset;
    uint8_t msgid[SHM_UNIQ_MAX];
    uint16_t broker_ix;  /* into broker[], 0 = none */
    uint16_t reason_len; /* of reason[slot] */
    uint32_t ring_us, hub_us, connect_us, wire_us;
    uint8_t reserved[48];
};

struct shm_mbox {
    shm_u64 seq; /* use count of the slot it answers; stored last with release. Its low half is the futex word. */
    shm_u64 words[sizeof(struct shm_mbox_record) / 8];
};

struct shm_h {
    _Alignas(4096) struct shm_h_header header;
    _Alignas(SHM_ALONE) shm_u64 sq_head; /* submissions taken; stored before any byte of them can reach a socket */
    _Alignas(SHM_ALONE) shm_u64 armed;   /* 1: ring the doorbell after a submission */
    _Alignas(SHM_ALONE) shm_u64 async_tail;
    _Alignas(4096) struct shm_mbox mbox[SHM_SLOTS];
    _Alignas(SHM_ALONE) shm_u32 async_idx[SHM_SLOTS];
    _Alignas(SHM_ALONE) char reason[SHM_SLOTS][SHM_REASON_BYTES];
    _Alignas(SHM_ALONE) char broker[SHM_BROKERS][SHM_BROKER_NAME_BYTES]; /* terminated; written once */
};

#define SHM_C_BYTES ((uint32_t)sizeof(struct shm_c))
#define SHM_H_BYTES ((uint32_t)sizeof(struct shm_h))

/* ---- copies: word by word, each word once ---- */

static inline void shm_words_load(void *record, const shm_u64 *words, size_t count)
{
    uint64_t *out = record;
    for (size_t i = 0; i < count; i++)
        out[i] = shm_load_relaxed(&words[i]);
}

static inline void shm_words_store(shm_u64 *words, const void *record, size_t count)
{
    const uint64_t *in = record;
    for (size_t i = 0; i < count; i++)
        shm_store_relaxed(&words[i], in[i]);
}

#define SHM_RECORD_LOAD(record, holder) shm_words_load((record), (holder)->words, sizeof(*(record)) / 8)
#define SHM_RECORD_STORE(holder, record) shm_words_store((holder)->words, (record), sizeof(*(record)) / 8)

/** Changes with every offset and size below; both sides compare it at attach. */
uint64_t shm_layout_fingerprint(void);

/* ---- the contract, offset by offset ---- */

#define SHM_AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member)

_Static_assert(sizeof(shm_u64) == 8 && ATOMIC_LLONG_LOCK_FREE == 2, "64-bit words must be lock-free");
_Static_assert(sizeof(struct shm_registration_record) % 8 == 0 && sizeof(struct shm_registration) == 1024, "registration");
_Static_assert(sizeof(struct shm_slot_record) == 120 && sizeof(struct shm_slot) == 128, "slot");
_Static_assert(sizeof(struct shm_mbox_record) == 120 && sizeof(struct shm_mbox) == 128, "mbox");
SHM_AT(struct shm_c_header, magic, 0);
SHM_AT(struct shm_c_header, abi_major, 8);
SHM_AT(struct shm_c_header, abi_minor, 10);
SHM_AT(struct shm_c_header, total_bytes, 12);
SHM_AT(struct shm_c_header, fingerprint, 16);
SHM_AT(struct shm_c_header, features_required, 24);
SHM_AT(struct shm_c_header, features_optional, 32);
SHM_AT(struct shm_c_header, nonce, 40);
SHM_AT(struct shm_c_header, want_byte, 128);
SHM_AT(struct shm_c_header, detached, 136);
SHM_AT(struct shm_registration_record, kind, 0);
SHM_AT(struct shm_registration_record, parent, 2);
SHM_AT(struct shm_registration_record, max_message_size, 4);
SHM_AT(struct shm_registration_record, string_len, 8);
SHM_AT(struct shm_registration_record, default_topic_queue_nums, 24);
SHM_AT(struct shm_registration_record, text, 48);
SHM_AT(struct shm_slot_record, index, 0);
SHM_AT(struct shm_slot_record, deadline_ns, 8);
SHM_AT(struct shm_slot_record, submit_ns, 16);
SHM_AT(struct shm_slot_record, op, 24);
SHM_AT(struct shm_slot_record, producer_h, 28);
SHM_AT(struct shm_slot_record, topic_h, 30);
SHM_AT(struct shm_slot_record, queue_id, 32);
SHM_AT(struct shm_slot_record, msg_flag, 36);
SHM_AT(struct shm_slot_record, properties_off, 40);
SHM_AT(struct shm_slot_record, body_off, 48);
SHM_AT(struct shm_slot_record, uniq, 56);
SHM_AT(struct shm_c, registration, 4096);
SHM_AT(struct shm_c, tail, 266240);
SHM_AT(struct shm_c, idx, 266368);
SHM_AT(struct shm_c, slot, 267392);
SHM_AT(struct shm_c, arena, 303104);
_Static_assert(sizeof(struct shm_c) == 827392, "C");
SHM_AT(struct shm_h_header, epoch, 24);
SHM_AT(struct shm_h_header, client_number, 32);
SHM_AT(struct shm_h_header, nonce, 40);
SHM_AT(struct shm_h_header, state, 128);
SHM_AT(struct shm_mbox_record, outcome, 0);
SHM_AT(struct shm_mbox_record, code, 4);
SHM_AT(struct shm_mbox_record, attempts, 8);
SHM_AT(struct shm_mbox_record, flags, 10);
SHM_AT(struct shm_mbox_record, queue_id, 12);
SHM_AT(struct shm_mbox_record, queue_offset, 16);
SHM_AT(struct shm_mbox_record, msgid, 24);
SHM_AT(struct shm_mbox_record, broker_ix, 52);
SHM_AT(struct shm_mbox_record, reason_len, 54);
SHM_AT(struct shm_mbox_record, ring_us, 56);
SHM_AT(struct shm_h, sq_head, 256);
SHM_AT(struct shm_h, armed, 384);
SHM_AT(struct shm_h, async_tail, 512);
SHM_AT(struct shm_h, mbox, 4096);
SHM_AT(struct shm_h, async_idx, 36864);
SHM_AT(struct shm_h, reason, 37888);
SHM_AT(struct shm_h, broker, 87040);
_Static_assert(sizeof(struct shm_h) == 122880, "H");
