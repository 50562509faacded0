#include "shm/base/clock.h"

#include <time.h>

static uint64_t kernel_monotonic_ns(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int64_t kernel_realtime_ms(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static const struct clock_source kernel_source = {kernel_monotonic_ns, kernel_realtime_ms, NULL};
static const struct clock_source *current = &kernel_source;

uint64_t mono_now_ns(void)
{
    return current->monotonic_ns(current->ctx);
}

int64_t wall_now_ms(void)
{
    return current->realtime_ms(current->ctx);
}

void clock_set_source(const struct clock_source *source)
{
    current = source ? source : &kernel_source;
}
