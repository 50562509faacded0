/*
 * Scripted faults: which requests are not answered as they should be, and how.
 * Rules count, they do not roll dice, unless told to; so a test sees the same
 * thing every time. Pure: text and requests in, decisions out.
 *
 * A rule in words (README.md has the table):
 *     CODES ACTION[=ARG] [after=N] [times=N] [every=N] [p=0.1] [broker=NAME|nameserver]
 */
#pragma once

#include "shm/base/bytes.h"
#include "shm/base/list.h"

#include <stdbool.h>
#include <stdint.h>

enum fault_action {
    FAULT_NONE,
    FAULT_ERROR,        /* not executed; replies with code `arg` */
    FAULT_STATUS,       /* executed; the reply carries code `arg` (10, 11, 12: stored, but ...) */
    FAULT_NO_REPLY,     /* neither executed nor answered */
    FAULT_STORE_SILENT, /* executed, not answered */
    FAULT_STORE_REFUSE, /* first attempt of a UNIQ_KEY executed and not answered, later ones refused with code `arg` */
    FAULT_DELAY,        /* executed and answered after `arg` ms */
    FAULT_LATE,         /* executed at once, answered after `arg` ms */
    FAULT_DUPLICATE,    /* answered twice */
    FAULT_WRONG_OPAQUE, /* answered under another opaque */
    FAULT_GARBAGE,      /* executed; `arg` random bytes instead of the reply */
    FAULT_RAW,          /* executed; the given bytes instead of the reply */
    FAULT_CUT,          /* executed; the first `arg` bytes of the reply, then closed */
    FAULT_CLOSE,        /* not executed; closed */
    FAULT_STORE_CLOSE,  /* executed; closed without an answer */
    FAULT_RESET,        /* as close, with a RST */
    FAULT_STORE_RESET,
    FAULT_STOP_READING, /* not executed; the connection is not read for `arg` ms (0: never again) */
};

#define FAULT_CODES_MAX 8
#define FAULT_RAW_MAX 4096

struct fault_rule {
    struct list_link link;
    unsigned number; /* from 1, as listed */
    char text[256];  /* as given */
    int32_t codes[FAULT_CODES_MAX];
    unsigned code_count; /* 0: every request */
    char broker[64];     /* empty: everywhere */
    enum fault_action action;
    int64_t arg;
    uint64_t after, times, every;
    double probability; /* 1: always */
    uint64_t seen, applied;
    uint8_t *raw;
    size_t raw_len;
    struct key_set *seen_keys; /* of FAULT_STORE_REFUSE */
};

struct fault_plan {
    struct list_link rules;
    unsigned last_number;
    uint64_t random_state;
};

struct fault_request {
    int32_t code;
    const char *broker;     /* "nameserver" for the nameserver */
    struct span unique_key; /* of a send; may be empty */
    bool repeated;          /* out: FAULT_STORE_REFUSE has stored this key before */
};

void fault_plan_init(struct fault_plan *plan, uint64_t seed);
void fault_plan_deinit(struct fault_plan *plan);
void fault_plan_clear(struct fault_plan *plan);
void fault_plan_seed(struct fault_plan *plan, uint64_t seed);

/**
 * Adds a rule.
 * @param reason  set on failure to a static text that says what is allowed
 * @return 0, -EINVAL or -ENOMEM
 */
int fault_plan_add(struct fault_plan *plan, const char *text, const char **reason);

/** The rule that applies to this request, or NULL; the first that strikes wins. Counts. */
struct fault_rule *fault_plan_match(struct fault_plan *plan, struct fault_request *request);

/** Bytes that are no frame: not one of them could be the start of a legal length. */
void fault_plan_garbage(struct fault_plan *plan, uint8_t *dst, size_t len);
