/*
 * Time, behind one replaceable source.
 *
 * Durations and deadlines use the monotonic clock only, so that a step of the
 * wall clock changes nothing; the wall clock exists for born timestamps and for
 * people. Tests install a source of their own and never sleep to be right.
 */
#pragma once

#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/** Whole microseconds from one time to a later one; 0 if it is not later, at most UINT32_MAX. */
static inline uint32_t us_between(uint64_t from_ns, uint64_t to_ns)
{
    uint64_t us = to_ns > from_ns ? (to_ns - from_ns) / NS_PER_US : 0;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/** A source of time; @c ctx is handed back to both functions. */
struct clock_source {
    uint64_t (*monotonic_ns)(void *ctx);
    int64_t (*realtime_ms)(void *ctx);
    void *ctx;
};

/** CLOCK_MONOTONIC in nanoseconds. */
uint64_t mono_now_ns(void);

/** Milliseconds since the Unix epoch. */
int64_t wall_now_ms(void);

/** Replaces the source for the whole process; NULL restores the kernel's clocks. Tests only. */
void clock_set_source(const struct clock_source *source);
