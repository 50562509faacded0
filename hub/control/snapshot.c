/*
 * The rhythm: a timer that is set for one second after the last publish and pulled
 * forward by a change, but never nearer than a tenth of a second to the last one.
 * So an idle hub wakes once a second for its table, and a storm of changes costs
 * ten snapshots a second, however many there are.
 */
#include "hub/control/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/config/hub_config.h"
#include "hub/control/snapshot_rows.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/ipc/ipc_server.h"
#include "hub/loop/event_loop.h"
#include "hub/metrics/events.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/layout.h"

#define PERIOD_NS NS_PER_S
#define NEAREST_NS (100 * NS_PER_MS)

struct snapshot {
    struct snapshot_sources sources;
    struct table_writer *writer;
    struct group_rows *groups;
    struct loop_timer timer;
    uint64_t published_ns, start_ns;
    int64_t start_ms;
    int statm_fd;
    int error; /* of the last publish, so that a lasting one is told once */
    enum table_hub_state state;
};

int64_t age_of_ns(const struct snapshot_now *now, uint64_t then_ns)
{
    if (then_ns == 0)
        return TABLE_NEVER;
    return then_ns < now->mono_ns ? (int64_t)((now->mono_ns - then_ns) / NS_PER_MS) : 0;
}

int64_t age_of_ms(const struct snapshot_now *now, int64_t then_ms)
{
    if (then_ms == 0)
        return TABLE_NEVER;
    return then_ms < now->wall_ms ? now->wall_ms - then_ms : 0;
}

int64_t left_until_ns(const struct snapshot_now *now, uint64_t then_ns)
{
    return then_ns > now->mono_ns ? (int64_t)((then_ns - now->mono_ns) / NS_PER_MS) : 0;
}

/* statm: sizes in pages; second: resident, third: of it shared with files and other processes. */
static void measure_memory(const struct snapshot *s, struct table_hub *hub)
{
    char text[128];
    ssize_t n = s->statm_fd < 0 ? -1 : pread(s->statm_fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return;
    text[n] = '\0';
    char *rest = text;
    strtoul(rest, &rest, 10); /* the size of the address space */
    uint64_t resident = strtoul(rest, &rest, 10), shared = strtoul(rest, &rest, 10);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    hub->rss_bytes = resident * page;
    hub->private_bytes = (resident - shared) * page;
}

static void measure_process(const struct snapshot *s, struct table_hub *hub)
{
    struct rusage usage;
    struct rlimit files;
    struct stat fds;
    measure_memory(s, hub);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        hub->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + (uint64_t)usage.ru_utime.tv_usec +
                      (uint64_t)usage.ru_stime.tv_usec;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        hub->fd_limit = files.rlim_cur < UINT32_MAX ? (uint32_t)files.rlim_cur : UINT32_MAX;
    if (stat("/proc/self/fd", &fds) == 0) /* the number of open descriptors, since Linux 6.2; else 0 */
        hub->open_fds = (uint32_t)fds.st_size;
}

/* What stays as it is while the hub runs, but for a reload. */
static void describe_hub(struct snapshot *s)
{
    struct table_hub *hub = table_writer_hub(s->writer);
    const struct hub_config *config = s->sources.config;
    hub->pid = (uint32_t)getpid();
    hub->uid = (uint32_t)geteuid();
    hub->epoch = s->sources.epoch;
    hub->start_wall_ms = s->start_ms;
    SNAPSHOT_TEXT(hub->version, RMQHUB_VERSION);
    gethostname(hub->host, sizeof(hub->host) - 1);
    SNAPSHOT_TEXT(hub->runtime_dir, config->hub.runtime_dir.text);
    SNAPSHOT_TEXT(hub->state_dir, config->hub.state_dir.text);
    SNAPSHOT_TEXT(hub->config_file, config->file);
    if (config->cluster_count > 0) {
        SNAPSHOT_TEXT(hub->cluster, config->clusters[0].name);
        SNAPSHOT_TEXT(hub->namesrv_addr, config->clusters[0].keys.namesrv_addr.text);
    }
}

static void fill_hub(struct snapshot *s, const struct snapshot_now *now)
{
    struct table_hub *hub = table_writer_hub(s->writer);
    const struct loop_counters *loop = event_loop_counters(s->sources.loop);
    hub->state = (uint8_t)s->state;
    hub->up_ms = (int64_t)((now->mono_ns - s->start_ns) / NS_PER_MS);
    hub->linger_ms = (uint32_t)s->sources.config->hub.linger_ms;
    hub->loop_rounds = loop->rounds;
    hub->loop_wakeups = loop->sleeps;
    hub->loop_worst_round_ns = loop->worst_round_ns;
    unsigned clients = s->sources.clients ? ipc_server_count(s->sources.clients) : 0;
    hub->segment_bytes = (uint64_t)clients * (SHM_C_BYTES + SHM_H_BYTES);
    measure_process(s, hub);
}

static void fill_rows(struct snapshot *s, const struct snapshot_now *now)
{
    const struct snapshot_sources *from = &s->sources;
    struct table_hub *hub = table_writer_hub(s->writer);
    hub->insecure_instances = hub->extra_connections = 0;
    group_rows_begin(s->groups);
    for (unsigned i = 0; i < mq_client_manager_count(from->instances); i++)
        snapshot_add_instance(s->writer, now, mq_client_manager_at(from->instances, i));
    if (from->clients) {
        snapshot_add_clients(s->writer, now, from->clients);
        snapshot_count_processes(s->groups, from->clients);
    }
    snapshot_add_problems(s->writer, now);
    snapshot_add_config(s->writer, from->config);
    snapshot_add_counters(s->writer, from);
}

static int publish(struct snapshot *s)
{
    struct snapshot_now now = {mono_now_ns(), wall_now_ms(), s->groups};
    table_writer_begin(s->writer);
    fill_hub(s, &now);
    fill_rows(s, &now);
    const struct table_event_ring *events = events_lock();
    int r = table_writer_publish(s->writer, events->rows ? events : NULL);
    events_unlock();
    s->published_ns = now.mono_ns;
    if (r < 0 && r != s->error)
        LOG_ERROR("table", "cannot publish: %s; readers keep the last snapshot", strerror(-r));
    s->error = r;
    return r;
}

/* On whole seconds, like the scheduled tasks, so that an idle hub wakes once for all of them. */
static void schedule_next(struct snapshot *s)
{
    loop_timer_schedule(&s->timer, (s->published_ns / PERIOD_NS + 1) * PERIOD_NS);
}

static void on_timer(void *ctx)
{
    struct snapshot *s = ctx;
    publish(s);
    schedule_next(s);
}

static void release(struct snapshot *s)
{
    loop_timer_deinit(&s->timer);
    table_writer_free(s->writer);
    free(s->groups);
    if (s->statm_fd >= 0)
        close(s->statm_fd);
    free(s);
}

int snapshot_new(struct snapshot **out, const struct snapshot_sources *sources)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    *s = (struct snapshot){.sources = *sources, .statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)};
    s->start_ns = mono_now_ns();
    s->start_ms = wall_now_ms();
    s->groups = group_rows_new();
    int r = s->groups ? table_writer_new(&s->writer, sources->config->hub.runtime_dir.text, NULL) : -ENOMEM;
    if (r == 0)
        r = loop_timer_init(&s->timer, sources->loop, on_timer, s);
    if (r == 0) {
        describe_hub(s);
        r = publish(s);
    }
    if (r < 0) {
        release(s);
        return r;
    }
    schedule_next(s);
    *out = s;
    return 0;
}

struct snapshot *snapshot_free(struct snapshot *s)
{
    if (!s)
        return NULL;
    s->state = TABLE_HUB_STOPPED;
    publish(s);
    release(s);
    return NULL;
}

void snapshot_set_clients(struct snapshot *s, const struct ipc_server *clients)
{
    s->sources.clients = clients;
    snapshot_mark_dirty(s);
}

void snapshot_set_state(struct snapshot *s, enum table_hub_state state)
{
    s->state = state;
    snapshot_mark_dirty(s);
}

void snapshot_mark_dirty(struct snapshot *s)
{
    uint64_t soon = s->published_ns + NEAREST_NS;
    if (!loop_timer_is_scheduled(&s->timer) || s->timer.at_ns > soon)
        loop_timer_schedule(&s->timer, soon);
}
