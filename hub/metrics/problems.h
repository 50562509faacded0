/*
 * What is wrong now: a bounded list of conditions that an operator should know of,
 * each raised where it is noticed and cleared where it ends. The snapshot copies it
 * into the instance table; `rmqhub status` and `rmqhub problems` show it.
 *
 * Raising and clearing log one line each when that changes something, so callers do
 * not log the condition as well. Repeating either is cheap and silent. Any thread.
 */
#pragma once

#include <stdbool.h>

#include "shm/table_layout.h"

/* The rules: one name for each kind of condition. docs/cli.md says what each means and what to do. */
#define PROBLEM_CREDENTIALS "credentials"
#define PROBLEM_DISCOVERY_FAILED "discovery-failed"
#define PROBLEM_DUPLICATE_CLIENT_ID "duplicate-client-id"
#define PROBLEM_HEARTBEAT_LATE "heartbeat-late"
#define PROBLEM_INSTANCE_START "instance-start"
#define PROBLEM_TLS_INSECURE "tls-insecure"
#define PROBLEM_TLS_NO_CONTEXT "tls-no-context"

/** As many as the table has rows for; what does not fit is counted. */
#define PROBLEMS_MAX 256u

struct problem {
    char rule[sizeof(((struct table_problem *)0)->rule)];
    char object[sizeof(((struct table_problem *)0)->object)];
    char text[sizeof(((struct table_problem *)0)->text)];
    enum table_severity severity;
    uint64_t since_ns; /* monotonic */
};

/**
 * @p rule: one of the names above; @p object: whose it is (a clientId, a broker's address). The two are the problem's identity: raised again it keeps its age and takes
 * the new severity and text. The text says what an operator sees and, where it helps, what to do.
 */
void problem_raise(const char *rule, const char *object, enum table_severity severity, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** It is over. @p object NULL: every one of that rule. Not raised: nothing happens. */
void problem_clear(const char *rule, const char *object);

/** Clears what was raised for an object that goes away, whatever the rule. */
void problem_clear_object(const char *object);

/** Oldest first. @p visit must not raise or clear. Returns how many did not fit since the start. */
unsigned problems_for_each(void (*visit)(void *ctx, const struct problem *problem), void *ctx);

/** Copies one out; false when it is not raised. */
bool problem_find(const char *rule, const char *object, struct problem *out);

/** Forgets all, silently. */
void problems_deinit(void);
