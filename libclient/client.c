/*
 * The attachment: its memory, its end, and dispatch.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "libclient/internal.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"
#include "shm/segment.h"

const char *rmqhub_version(void)
{
    return RMQHUB_VERSION;
}

uint64_t rmqhub_deadline_after_ms(uint32_t ms)
{
    return mono_now_ns() + ms * NS_PER_MS;
}

/* ---- options ---- */

rmqhub_options_t *rmqhub_options_new(void)
{
    return calloc(1, sizeof(rmqhub_options_t));
}

void rmqhub_options_free(rmqhub_options_t *options)
{
    free(options);
}

int rmqhub_options_set_runtime_dir(rmqhub_options_t *options, const char *path)
{
    if (!options || !path || strlen(path) >= sizeof(options->runtime_dir))
        return RMQHUB_ERR_INVALID_ARGUMENT;
    text_copy(options->runtime_dir, sizeof(options->runtime_dir), path, strlen(path));
    return RMQHUB_OK;
}

int rmqhub_options_set_log(rmqhub_options_t *options, rmqhub_log_fn fn, void *ctx)
{
    if (!options)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    options->log = fn;
    options->log_ctx = ctx;
    return RMQHUB_OK;
}

/* ---- attach ---- */

/* A page that a child of fork finds zeroed: atfork handlers miss raw clone. */
static _Atomic uint32_t *make_alive_word(void)
{
    long page = sysconf(_SC_PAGESIZE);
    void *map = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    if (madvise(map, (size_t)page, MADV_WIPEONFORK) < 0) {
        munmap(map, (size_t)page);
        return NULL;
    }
    _Atomic uint32_t *word = map;
    atomic_store(word, 1);
    return word;
}

bool hub_is_forked(const struct rmqhub *hub)
{
    return atomic_load_explicit(hub->alive_word, memory_order_relaxed) == 0;
}

static void init_locks(struct rmqhub *hub)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&hub->link_lock, NULL);
    pthread_mutex_init(&hub->lane_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&hub->credit, &attr);
    pthread_condattr_destroy(&attr);
}

static int make_segment(struct rmqhub *hub)
{
    void *map = NULL;
    int r = shm_segment_create("rmqhub-c", SHM_C_BYTES, &hub->c_fd, &map);
    if (r < 0) {
        errno = -r;
        return r == -ENOMEM || r == -ENOSPC ? RMQHUB_ERR_NO_MEMORY : RMQHUB_ERR_SYSTEM;
    }
    hub->c = map;
    hub->c_inode = link_inode_of(hub->c_fd);
    struct shm_c_header *header = &hub->c->header;
    header->abi_major = SHM_ABI_MAJOR;
    header->abi_minor = SHM_ABI_MINOR;
    header->total_bytes = SHM_C_BYTES;
    header->fingerprint = shm_layout_fingerprint();
    memcpy(header->nonce, hub->nonce, SHM_NONCE_BYTES);
    header->magic = SHM_C_MAGIC;
    return RMQHUB_OK;
}

static int prepare(struct rmqhub *hub)
{
    hub->alive_word = make_alive_word();
    if (!hub->alive_word || getrandom(hub->nonce, sizeof(hub->nonce), 0) != sizeof(hub->nonce))
        return RMQHUB_ERR_SYSTEM;
    int r = make_segment(hub);
    if (r == RMQHUB_OK)
        r = link_open_descriptors(hub);
    arena_init(&hub->arena);
    uniq_key_source_init(&hub->uniq);
    return r;
}

static int wait_for_link(struct rmqhub *hub, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = mono_now_ns();
        link_step(hub, now_ns);
        int state = atomic_load(&hub->link.state);
        if (state == LINK_UP)
            return RMQHUB_OK;
        /* At the first attach an absent hub is an answer, not something to wait for; a full backlog or limit is. */
        if (state == LINK_REFUSED || (state == LINK_DOWN && hub->link.final_error != RMQHUB_ERR_SYSTEM && hub->link.final_error != 0))
            return hub->link.final_error;
        if (now_ns >= deadline_ns)
            return RMQHUB_ERR_TIMEOUT;
        uint64_t left_ms = (deadline_ns - now_ns) / NS_PER_MS + 1;
        struct pollfd p = {.fd = state == LINK_ATTACHING ? hub->link.fd : -1, .events = POLLIN};
        poll(&p, 1, state == LINK_ATTACHING && left_ms < 1000 ? (int)left_ms : state == LINK_ATTACHING ? 1000 : 5);
    }
}

int rmqhub_attach(const rmqhub_options_t *options, uint64_t deadline_ns, rmqhub_t **out)
{
    if (!out)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    struct rmqhub *hub = calloc(1, sizeof(*hub));
    if (!hub)
        return RMQHUB_ERR_NO_MEMORY;
    hub->c_fd = hub->h_fd = hub->pid_fd = hub->epoll_fd = hub->timer_fd = hub->link.fd = -1;
    atomic_store(&hub->link.doorbell, -1);
    hub->earliest_async_ns = UINT64_MAX;
    init_locks(hub);
    list_init(&hub->producers);
    if (options)
        hub->options = *options;
    int r = RMQHUB_OK;
    if (runtime_dir_resolve(hub->options.runtime_dir, options && options->runtime_dir[0] ? options->runtime_dir : NULL) < 0)
        r = RMQHUB_ERR_INVALID_ARGUMENT;
    if (r == RMQHUB_OK)
        r = prepare(hub);
    if (r == RMQHUB_OK)
        r = wait_for_link(hub, deadline_ns);
    if (r != RMQHUB_OK) {
        int saved = errno;
        rmqhub_detach(hub);
        errno = saved;
        return r;
    }
    *out = hub;
    return RMQHUB_OK;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void rmqhub_detach(rmqhub_t *hub)
{
    if (!hub)
        return;
    bool forked = hub->alive_word && hub_is_forked(hub);
    if (!forked)
        link_look(hub, mono_now_ns()); /* whose descriptors are these by now? */
    LIST_FOR_EACH_SAFE (it, next, &hub->producers)
        producer_free_memory(LIST_ENTRY(it, struct rmqhub_producer, link));
    if (!forked) {
        if (hub->c) {
            shm_store_release(&hub->c->header.detached, 1); /* before the hang-up, after which the hub reads it */
            munmap(hub->c, SHM_C_BYTES);
        }
        if (hub->h)
            munmap(hub->h, SHM_H_BYTES);
        if (hub->alive_word)
            munmap((void *)hub->alive_word, (size_t)sysconf(_SC_PAGESIZE));
        pthread_cond_destroy(&hub->credit);
        pthread_mutex_destroy(&hub->lane_lock);
        pthread_mutex_destroy(&hub->link_lock);
    }
    link_close(hub, forked);
    close_fd(atomic_load(&hub->link.doorbell));
    close_fd(hub->c_fd);
    close_fd(hub->h_fd);
    close_fd(hub->pid_fd);
    close_fd(hub->timer_fd);
    close_fd(hub->epoll_fd);
    free(hub);
}

const char *rmqhub_last_problem(rmqhub_t *hub, char *buf, size_t cap)
{
    if (cap == 0)
        return buf;
    buf[0] = '\0';
    if (!hub || hub_is_forked(hub))
        return buf;
    pthread_mutex_lock(&hub->link_lock);
    text_copy(buf, cap, hub->link.problem, strlen(hub->link.problem));
    pthread_mutex_unlock(&hub->link_lock);
    return buf;
}

int rmqhub_get_stats(rmqhub_t *hub, struct rmqhub_stats *out)
{
    if (!hub || !out)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(hub))
        return RMQHUB_ERR_FORKED;
    pthread_mutex_lock(&hub->lane_lock);
    slots_reap(hub);
    *out = hub->stats;
    out->in_flight = hub->in_flight;
    pthread_mutex_unlock(&hub->lane_lock);
    return RMQHUB_OK;
}

/* ---- dispatch ---- */

/* The next async slot that the caller must be told about: answered, or overdue. Fills result and callback. Under lane_lock. */
static bool next_finished(struct rmqhub *hub, rmqhub_result_t *result, rmqhub_send_fn *fn, void **ctx)
{
    for (int slot; (slot = lane_client_next_async(&hub->lane)) >= 0;) {
        struct pending *p = &hub->pending[slot];
        if (!p->in_use || p->told || !(p->flags & SHM_SLOT_ASYNC))
            continue; /* told UNKNOWN long ago; slots_reap counts it as late */
        *fn = p->fn;
        *ctx = p->ctx;
        slot_finish(hub, (unsigned)slot, result);
        return true;
    }
    return false;
}

static bool next_overdue(struct rmqhub *hub, rmqhub_result_t *result, rmqhub_send_fn *fn, void **ctx)
{
    uint64_t now_ns = mono_now_ns(), earliest = UINT64_MAX;
    bool refused = atomic_load(&hub->link.state) == LINK_REFUSED;
    if (hub->async_in_flight == 0 || (now_ns <= hub->earliest_async_ns + ANSWER_GRACE_NS && !refused))
        return false;
    for (unsigned i = 0; i < SHM_SLOTS; i++) {
        struct pending *p = &hub->pending[i];
        if (!p->in_use || p->told || !(p->flags & SHM_SLOT_ASYNC))
            continue;
        if (slot_is_overdue(hub, i, now_ns) && !lane_client_is_answered(&hub->lane, i)) {
            *fn = p->fn;
            *ctx = p->ctx;
            slot_give_up(hub, i, result);
            return true;
        }
        if (p->deadline_ns < earliest)
            earliest = p->deadline_ns;
    }
    hub->earliest_async_ns = earliest;
    return false;
}

/* Asks for one byte at the next async completion. False when a completion came in between. */
static bool wish_for_byte(struct rmqhub *hub)
{
    shm_store_release(&hub->c->header.want_byte, shm_load_relaxed(&hub->c->header.want_byte) + 1);
    shm_fence(); /* the wish before the look; the hub completes before it reads the wish */
    return !lane_client_has_async(&hub->lane);
}

/* The descriptor must also wake for what no byte announces: a local deadline, or the next try to find a hub. */
static void set_timer(struct rmqhub *hub, uint64_t now_ns)
{
    uint64_t at = hub->async_in_flight ? hub->earliest_async_ns + ANSWER_GRACE_NS + NS_PER_MS : UINT64_MAX;
    int state = atomic_load(&hub->link.state);
    if (state == LINK_DOWN || state == LINK_ATTACHING) {
        uint64_t try_ns = now_ns + WAIT_SLICE_LINK_DOWN_NS;
        at = try_ns < at ? try_ns : at;
    }
    if (at == hub->timer_armed_ns || (hub->timer_armed_ns > now_ns && hub->timer_armed_ns <= at))
        return; /* what is armed comes early enough; it will be looked at again then */
    struct itimerspec spec = {0};
    if (at != UINT64_MAX)
        spec.it_value = (struct timespec){.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};
    timerfd_settime(hub->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    hub->timer_armed_ns = at;
}

static void mind_the_link(struct rmqhub *hub)
{
    uint64_t now_ns = mono_now_ns();
    pthread_mutex_lock(&hub->lane_lock);
    bool polled = atomic_load(&hub->polled);
    bool look = polled || now_ns - hub->last_look_ns >= WAIT_SLICE_NS;
    if (look)
        hub->last_look_ns = now_ns;
    pthread_mutex_unlock(&hub->lane_lock);
    if (look)
        link_look(hub, now_ns);
    link_step(hub, now_ns);
}

static int dispatch(rmqhub_t *hub, unsigned max)
{
    struct rmqhub_result result;
    int ran = 0;
    for (;;) {
        rmqhub_send_fn fn = NULL;
        void *ctx = NULL;
        pthread_mutex_lock(&hub->lane_lock);
        bool found = next_finished(hub, &result, &fn, &ctx) || next_overdue(hub, &result, &fn, &ctx);
        pthread_mutex_unlock(&hub->lane_lock);
        if (!found)
            return ran;
        ran++;
        if (fn)
            fn(ctx, &result);
        if (max && (unsigned)ran >= max)
            return ran;
    }
}

int rmqhub_dispatch(rmqhub_t *hub, unsigned max)
{
    if (!hub)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(hub))
        return RMQHUB_ERR_FORKED;
    int ran = dispatch(hub, max);
    if (ran && !atomic_load(&hub->polled))
        return ran;
    mind_the_link(hub);
    while (atomic_load(&hub->polled)) {
        link_drain_wake_bytes(hub);
        if (!max || (unsigned)ran < max)
            ran += dispatch(hub, max ? max - (unsigned)ran : 0);
        pthread_mutex_lock(&hub->lane_lock);
        bool quiet = wish_for_byte(hub);
        if (quiet || (max && (unsigned)ran >= max))
            set_timer(hub, mono_now_ns());
        pthread_mutex_unlock(&hub->lane_lock);
        if (quiet || (max && (unsigned)ran >= max))
            break;
    }
    return ran;
}

int rmqhub_fd(rmqhub_t *hub)
{
    if (!hub)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(hub))
        return RMQHUB_ERR_FORKED;
    if (!atomic_exchange(&hub->polled, true)) {
        /* From now on dispatch keeps wish and timer up to date; until its first run the descriptor is readable. */
        struct itimerspec now = {.it_value = {0, 1}};
        timerfd_settime(hub->timer_fd, 0, &now, NULL);
    }
    return hub->epoll_fd;
}

static bool all_told(struct rmqhub *hub)
{
    pthread_mutex_lock(&hub->lane_lock);
    slots_reap(hub);
    bool none = hub->in_flight == 0;
    pthread_mutex_unlock(&hub->lane_lock);
    return none;
}

int rmqhub_flush(rmqhub_t *hub, uint64_t deadline_ns)
{
    if (!hub)
        return RMQHUB_ERR_INVALID_ARGUMENT;
    if (hub_is_forked(hub))
        return RMQHUB_ERR_FORKED;
    rmqhub_fd(hub);
    for (;;) {
        int ran = rmqhub_dispatch(hub, 0);
        if (ran < 0)
            return ran;
        if (all_told(hub))
            return RMQHUB_OK;
        uint64_t now_ns = mono_now_ns();
        if (now_ns >= deadline_ns)
            return RMQHUB_ERR_TIMEOUT;
        pthread_mutex_lock(&hub->lane_lock);
        bool quiet = hub->quiet_or_told > 0;
        pthread_mutex_unlock(&hub->lane_lock);
        uint64_t left_ms = (deadline_ns - now_ns) / NS_PER_MS + 1;
        struct pollfd p = {.fd = hub->epoll_fd, .events = POLLIN};
        poll(&p, 1, quiet ? 1 : left_ms < 50 ? (int)left_ms : 50);
    }
}
