/*
 * The link to the hub: one SOCK_SEQPACKET socket on which ATTACH travels once per hub, and
 * after that only wake bytes and, one day, the hang-up that says the hub is gone.
 *
 * The handshake never blocks and belongs to no thread: whoever enters the library takes it one
 * step further. So a hub that hangs in the middle of it cannot make a caller miss its deadline.
 *
 * A hub answers ATTACH before it sends anything of what it took over, and the answer stays
 * readable when that hub dies. Hence a hang-up without an answer proves that nothing was taken,
 * and an ATTACH once sent is never given up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "libclient/internal.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"
#include "shm/fd_packet.h"
#include "shm/runtime_dir.h"
#include "shm/segment.h"

#define BACKOFF_FIRST_NS (5 * NS_PER_MS)
#define BACKOFF_CAP_NS (250 * NS_PER_MS)

void hub_log(struct rmqhub *hub, enum rmqhub_log_level level, const char *fmt, ...)
{
    if (!hub->options.log)
        return;
    char text[256], line[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    text_escape(line, sizeof(line), text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
    hub->options.log(hub->options.log_ctx, level, line);
}

/* Under link_lock. */
static void set_problem(struct rmqhub *hub, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void set_problem(struct rmqhub *hub, const char *fmt, va_list ap)
{
    char text[sizeof(hub->link.problem)];
    vsnprintf(text, sizeof(text), fmt, ap);
    text_escape(hub->link.problem, sizeof(hub->link.problem), text, strlen(text));
}

static void link_problem(struct rmqhub *hub, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void link_problem(struct rmqhub *hub, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set_problem(hub, fmt, ap);
    va_end(ap);
}

void hub_problem(struct rmqhub *hub, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&hub->link_lock);
    set_problem(hub, fmt, ap);
    pthread_mutex_unlock(&hub->link_lock);
    va_end(ap);
}

uint64_t link_inode_of(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* An application that becomes a daemon closes descriptors that are not its own, and opens others under the same numbers. */
static bool fd_is_ours(int fd, uint64_t inode)
{
    return inode != 0 && link_inode_of(fd) == inode;
}

int link_open_descriptors(struct rmqhub *hub)
{
    hub->pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    hub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    hub->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = hub->timer_fd};
    if (hub->pid_fd < 0 || hub->epoll_fd < 0 || hub->timer_fd < 0 || epoll_ctl(hub->epoll_fd, EPOLL_CTL_ADD, hub->timer_fd, &event) < 0)
        return RMQHUB_ERR_SYSTEM;
    return RMQHUB_OK;
}

/* The socket's number is no longer our socket, so no number is believed any more that cannot be checked. What rmqhub_fd gave
 * out is gone with the rest; the next call gives the new one. Under link_lock. */
static void replace_lost_descriptors(struct rmqhub *hub)
{
    hub->link.fd = -1;
    atomic_store(&hub->link.doorbell, -1);
    if (!fd_is_ours(hub->c_fd, hub->c_inode))
        hub->c_fd = -1;
    if (!fd_is_ours(hub->h_fd, hub->h_inode))
        hub->h_fd = -1;
    pthread_mutex_lock(&hub->lane_lock);
    atomic_store(&hub->polled, false);
    hub->timer_armed_ns = 0;
    if (link_open_descriptors(hub) != RMQHUB_OK)
        hub_log(hub, RMQHUB_LOG_ERROR, "no descriptors left: %s", strerror(errno));
    pthread_mutex_unlock(&hub->lane_lock);
    hub_log(hub, RMQHUB_LOG_WARN, "the application closed descriptors that are not its own; attaching again");
}

static void watch(struct rmqhub *hub, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
    epoll_ctl(hub->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* Under link_lock: leaves the socket, and decides when to look for the next hub. */
static void go_down(struct rmqhub *hub, uint64_t now_ns)
{
    struct link *link = &hub->link;
    if (fd_is_ours(link->fd, link->fd_inode))
        close(link->fd); /* epoll forgets it by itself */
    link->fd = -1;
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = (uint32_t)now_ns;
    link->backoff_ns = link->backoff_ns ? link->backoff_ns * 2 : BACKOFF_FIRST_NS;
    if (link->backoff_ns > BACKOFF_CAP_NS)
        link->backoff_ns = BACKOFF_CAP_NS;
    /* Half fixed, half drawn: two hundred processes must not knock in step. */
    link->next_try_ns = now_ns + link->backoff_ns / 2 + random % (link->backoff_ns / 2);
    atomic_store(&link->state, LINK_DOWN);
}

static int send_attach(struct rmqhub *hub, int fd)
{
    struct attach_request request = {
        .magic = ATTACH_MAGIC,
        .bytes = sizeof(request),
        .abi_major_min = SHM_ABI_MAJOR,
        .abi_major_max = SHM_ABI_MAJOR,
        .abi_minor = SHM_ABI_MINOR,
        .fingerprint = shm_layout_fingerprint(),
        .monotonic_ns = mono_now_ns(),
    };
    memcpy(request.nonce, hub->nonce, SHM_NONCE_BYTES);
    text_copy(request.command, sizeof(request.command), program_invocation_short_name, strlen(program_invocation_short_name));
    int fds[ATTACH_FDS_MAX];
    size_t count = 0;
    /* A C whose descriptor the application closed cannot be sent again; a hub that still holds it can be asked to adopt us. */
    if (fd_is_ours(hub->c_fd, hub->c_inode)) {
        request.flags |= ATTACH_WITH_C;
        fds[count++] = hub->c_fd;
        fds[count++] = hub->pid_fd;
        if (hub->h_fd >= 0) {
            request.flags |= ATTACH_WITH_PREVIOUS_H | (hub->head_is_final ? 0 : ATTACH_HEAD_UNSURE);
            fds[count++] = hub->h_fd;
        }
    }
    return fd_packet_send(fd, &request, sizeof(request), fds, count);
}

static void try_connect(struct rmqhub *hub, uint64_t now_ns)
{
    struct link *link = &hub->link;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", hub->options.runtime_dir, RUNTIME_FILE_HUB_SOCKET);
    if (n >= (int)sizeof(address.sun_path)) {
        link_problem(hub, "runtime directory %s: path too long for a socket", hub->options.runtime_dir);
        link->final_error = RMQHUB_ERR_INVALID_ARGUMENT;
        atomic_store(&link->state, LINK_REFUSED);
        return;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : 0;
    if (r == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        r = -errno;
    if (r == 0) {
        /* Under lane_lock, so that nobody is in the middle of revoking what the next hub is about to find. */
        pthread_mutex_lock(&hub->lane_lock);
        atomic_store(&link->state, LINK_ATTACHING);
        pthread_mutex_unlock(&hub->lane_lock);
        r = send_attach(hub, fd);
    }
    if (r == -EPIPE || r == -ECONNRESET)
        r = 0; /* hung up already, but with its reason in our socket */
    if (r < 0) {
        link->final_error = r == -ENOENT || r == -ECONNREFUSED ? RMQHUB_ERR_HUB_NOT_RUNNING
                            : r == -EACCES || r == -EPERM      ? RMQHUB_ERR_PERMISSION
                                                               : RMQHUB_ERR_SYSTEM;
        link_problem(hub, "hub %s: %s", address.sun_path, strerror(-r));
        if (fd >= 0)
            close(fd);
        link->fd = -1;
        go_down(hub, now_ns);
        errno = -r;
        return;
    }
    link->fd = fd;
    link->fd_inode = link_inode_of(fd);
    watch(hub, fd);
}

static void futex_wake_all(const shm_u64 *word)
{
    syscall(SYS_futex, (const void *)word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* Puts the new H where the old one was. Waiters on old words are woken; one that falls asleep in between wakes by its slice. */
static int enter_h(struct rmqhub *hub, int h_fd, int doorbell, const struct attach_reply *reply)
{
    const char *why = NULL;
    void *map = NULL;
    int r = shm_segment_map_foreign(h_fd, SHM_H_BYTES, NULL, &map, &why);
    if (r < 0) {
        link_problem(hub, "hub pid %u: %s", reply->hub_pid, why);
        return r;
    }
    const struct shm_h *h = map;
    bool right = h->header.magic == SHM_H_MAGIC && h->header.fingerprint == shm_layout_fingerprint() &&
                 memcmp(h->header.nonce, hub->nonce, SHM_NONCE_BYTES) == 0;
    if (!right) {
        munmap(map, SHM_H_BYTES);
        link_problem(hub, "hub pid %u: its segment is not made for this client", reply->hub_pid);
        return -EBADMSG;
    }
    bool first = hub->h == NULL;
    uint64_t inode = link_inode_of(h_fd);
    bool doorbell_kept = fd_is_ours(atomic_load(&hub->link.doorbell), atomic_load(&hub->link.doorbell_inode));
    pthread_mutex_lock(&hub->lane_lock);
    if (first) {
        hub->h = map;
        lane_client_init(&hub->lane, hub->c, hub->h);
    } else {
        munmap(map, SHM_H_BYTES);
        for (unsigned i = 0; i < SHM_SLOTS; i++) {
            if (hub->pending[i].in_use)
                futex_wake_all(&hub->h->mbox[i].seq);
        }
        map = mmap(hub->h, SHM_H_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, h_fd, 0);
        if (map != MAP_FAILED && inode != hub->h_inode)
            lane_client_enter_new_h(&hub->lane);
    }
    r = map == MAP_FAILED ? -errno : 0;
    hub->head_is_final = false;
    pthread_mutex_unlock(&hub->lane_lock);
    if (r < 0)
        return r;
    atomic_store(&hub->link.doorbell_inode, link_inode_of(doorbell));
    if (doorbell_kept) { /* under the old number, which other threads may be writing to right now */
        dup3(doorbell, atomic_load(&hub->link.doorbell), O_CLOEXEC);
        close(doorbell);
    } else {
        atomic_store(&hub->link.doorbell, doorbell);
    }
    if (fd_is_ours(hub->h_fd, hub->h_inode))
        close(hub->h_fd);
    hub->h_fd = h_fd;
    hub->h_inode = inode;
    return 0;
}

static int error_of_status(uint32_t status)
{
    switch (status) {
    case ATTACH_VERSION:
        return RMQHUB_ERR_VERSION;
    case ATTACH_PERMISSION:
        return RMQHUB_ERR_PERMISSION;
    case ATTACH_LIMIT:
        return RMQHUB_ERR_LIMIT;
    case ATTACH_QUARANTINED:
        return RMQHUB_ERR_QUARANTINED;
    case ATTACH_DRAINING:
        return RMQHUB_ERR_HUB_DRAINING;
    default:
        return RMQHUB_ERR_REFUSED;
    }
}

static bool status_is_final(const struct rmqhub *hub, uint32_t status)
{
    if (status == ATTACH_UNKNOWN_CLIENT) /* given up by a hub that is about to forget us: then our C will do */
        return !fd_is_ours(hub->c_fd, hub->c_inode);
    return status != ATTACH_LIMIT && status != ATTACH_DRAINING;
}

/* The hub took the lane over, but we cannot follow it to its H. It has us in its books, or the next hub resends as tainted. */
static void lose_h(struct rmqhub *hub, uint64_t now_ns)
{
    pthread_mutex_lock(&hub->lane_lock);
    hub->head_is_final = false;
    pthread_mutex_unlock(&hub->lane_lock);
    hub->link.final_error = RMQHUB_ERR_SYSTEM;
    go_down(hub, now_ns);
}

static void handle_reply(struct rmqhub *hub, struct attach_reply *reply, const int *fds, size_t fd_count, uint64_t now_ns)
{
    struct link *link = &hub->link;
    reply->text[sizeof(reply->text) - 1] = '\0';
    if (reply->status == ATTACH_OK) {
        bool again = hub->h != NULL;
        if (fd_count != 2)
            link_problem(hub, "hub pid %u: its descriptors did not arrive: is this process at its limit of open files?", reply->hub_pid);
        if (fd_count != 2 || enter_h(hub, fds[0], fds[1], reply) < 0) {
            fd_packet_close(fds, fd_count);
            lose_h(hub, now_ns);
            return;
        }
        link->backoff_ns = 0;
        atomic_store(&link->state, LINK_UP);
        link_ring(hub);
        if (again) {
            pthread_mutex_lock(&hub->lane_lock);
            hub->stats.reattached++;
            pthread_cond_broadcast(&hub->credit);
            pthread_mutex_unlock(&hub->lane_lock);
        }
        hub_log(hub, RMQHUB_LOG_INFO, "%s to hub pid %u, epoch %llu, as client %llu", again ? "attached again" : "attached", reply->hub_pid,
                (unsigned long long)reply->epoch, (unsigned long long)reply->client_number);
        return;
    }
    fd_packet_close(fds, fd_count);
    link_problem(hub, "hub pid %u refused: %s", reply->hub_pid, reply->text);
    hub_log(hub, RMQHUB_LOG_WARN, "hub pid %u refused to attach this process: %s", reply->hub_pid, reply->text);
    link->final_error = error_of_status(reply->status);
    go_down(hub, now_ns);
    if (status_is_final(hub, reply->status))
        atomic_store(&link->state, LINK_REFUSED);
}

static void receive_reply(struct rmqhub *hub, uint64_t now_ns)
{
    struct attach_reply reply;
    int fds[4];
    size_t count = 0;
    bool cut = false;
    ssize_t n = fd_packet_receive(hub->link.fd, &reply, sizeof(reply), fds, 4, &count, &cut);
    if (n == -ECONNRESET) /* reported once; what the hub said before stands behind it */
        n = fd_packet_receive(hub->link.fd, &reply, sizeof(reply), fds, 4, &count, &cut);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n == (ssize_t)sizeof(reply) && reply.magic == ATTACH_MAGIC && reply.bytes == sizeof(reply)) {
        handle_reply(hub, &reply, fds, count, now_ns);
        return;
    }
    fd_packet_close(fds, count);
    link_problem(hub, n <= 0 ? "the hub hung up during attach" : "the hub answered attach with something else");
    go_down(hub, now_ns);
}

void link_step(struct rmqhub *hub, uint64_t now_ns)
{
    int state = atomic_load(&hub->link.state);
    if (state == LINK_UP || state == LINK_REFUSED || pthread_mutex_trylock(&hub->link_lock) != 0)
        return;
    state = atomic_load(&hub->link.state);
    if (state == LINK_DOWN && now_ns >= hub->link.next_try_ns)
        try_connect(hub, now_ns);
    if (atomic_load(&hub->link.state) == LINK_ATTACHING)
        receive_reply(hub, now_ns);
    pthread_mutex_unlock(&hub->link_lock);
}

/* The hub's hang-up, as opposed to our own descriptor gone: that hub, if it lives, takes nothing any more. */
static bool hub_hung_up(const struct rmqhub *hub)
{
    struct pollfd p = {.fd = hub->link.fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

void link_look(struct rmqhub *hub, uint64_t now_ns)
{
    if (atomic_load(&hub->link.state) != LINK_UP || pthread_mutex_trylock(&hub->link_lock) != 0)
        return;
    if (atomic_load(&hub->link.state) == LINK_UP) {
        bool closed = !fd_is_ours(hub->link.fd, hub->link.fd_inode); /* by the application: the hub may not know yet, and take on */
        bool hung_up = !closed && hub_hung_up(hub);
        if (closed)
            replace_lost_descriptors(hub);
        if (closed || hung_up) {
            pthread_mutex_lock(&hub->lane_lock);
            hub->head_is_final = hung_up;
            unsigned waiting = hub->in_flight;
            pthread_mutex_unlock(&hub->lane_lock);
            link_problem(hub, "the hub hung up; looking for it again");
            hub_log(hub, RMQHUB_LOG_WARN, "the hub hung up; %u messages wait for the next one", waiting);
            hub->link.backoff_ns = 0;
            go_down(hub, now_ns);
        }
    }
    pthread_mutex_unlock(&hub->link_lock);
}

void link_drain_wake_bytes(struct rmqhub *hub)
{
    if (pthread_mutex_trylock(&hub->link_lock) != 0)
        return;
    char bytes[8];
    if (atomic_load(&hub->link.state) == LINK_UP && fd_is_ours(hub->link.fd, hub->link.fd_inode)) {
        while (recv(hub->link.fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
            ;
    }
    pthread_mutex_unlock(&hub->link_lock);
}

void link_ring(struct rmqhub *hub)
{
    const uint64_t one = 1;
    int doorbell = atomic_load(&hub->link.doorbell);
    /* Looked at each time: eight bytes in a file of the application would be worse than a hub that is rung late. */
    if (!fd_is_ours(doorbell, atomic_load(&hub->link.doorbell_inode)) || write(doorbell, &one, sizeof(one)) < 0)
        return; /* full: the hub was rung often enough */
}

void link_close(struct rmqhub *hub, bool forked)
{
    if (fd_is_ours(hub->link.fd, hub->link.fd_inode)) {
        if (!forked)
            shutdown(hub->link.fd, SHUT_RDWR); /* children may hold copies, and the hub is to hear of it now */
        close(hub->link.fd);
    }
    hub->link.fd = -1;
}
