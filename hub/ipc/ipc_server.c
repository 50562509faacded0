/*
 * The door. A connection gets two seconds to bring its one ATTACH; uid and gid are the kernel's
 * word (SO_PEERCRED), never the client's. A full descriptor table pauses accepting instead of
 * spinning on it, and a descriptor is kept in reserve to turn the next one away politely.
 *
 * The order inside a round (event_loop.h): doorbells mark their client hot; LANES takes from hot
 * clients in turn, each within a budget; FLUSH sends wake bytes after the completions of the round;
 * BEFORE_SLEEP arms the doorbells and looks once more.
 */
#include "hub/ipc/ipc_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hub/ipc/ipc_internal.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/fd_packet.h"
#include "shm/runtime_dir.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define WHO "attach"
#define HALF_OPEN_MAX 64u
#define HALF_OPEN_MAX_PER_UID 16u
#define HALF_OPEN_NS (2 * NS_PER_S)
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)
#define ACCEPTS_PER_ROUND 8 /* each allocates a segment: some 100 us */
#define OVERFLOW_UID 65534  /* what a user namespace shows for everybody it does not know */
#define GROUPS_MAX 128
/* A hot lane that stayed empty for this many rounds asks for its doorbell and is looked at no more. */
#define IDLE_ROUNDS_MAX 16
#define REQUESTS_PER_CHUNK 256u

struct half_open {
    struct list_link link;
    struct ipc_server *server;
    int fd;
    struct ucred cred;
    struct loop_io io;
    struct loop_timer timer;
};

struct request_chunk {
    struct list_link link;
    struct ipc_request requests[REQUESTS_PER_CHUNK];
};

/* ---- pool ---- */

struct ipc_request *ipc_request_new(struct ipc_server *server)
{
    struct list_link *first = list_first(&server->free_requests);
    if (!first) {
        struct request_chunk *chunk = calloc(1, sizeof(*chunk));
        if (!chunk)
            return NULL;
        list_append(&server->request_chunks, &chunk->link);
        for (unsigned i = 0; i < REQUESTS_PER_CHUNK; i++)
            list_append(&server->free_requests, &chunk->requests[i].link);
        first = list_first(&server->free_requests);
    }
    list_unlink(first);
    return LIST_ENTRY(first, struct ipc_request, link);
}

void ipc_request_free(struct ipc_server *server, struct ipc_request *request)
{
    /* At the front: the record used last is the warm one. */
    list_insert_before(server->free_requests.next, &request->link);
}

/* ---- clients ---- */

static void changed(struct ipc_server *server)
{
    if (server->config.changed)
        server->config.changed(server->config.ctx);
}

void ipc_server_mark_hot(struct ipc_server *server, struct ipc_client *client)
{
    client->idle_rounds = 0;
    if (!list_is_linked(&client->hot))
        list_append(&server->hot, &client->hot);
}

void ipc_server_forget(struct ipc_server *server, struct ipc_client *client)
{
    for (unsigned i = 0; i < server->count; i++) {
        if (server->clients[i] == client) {
            server->clients[i] = server->clients[--server->count];
            break;
        }
    }
    ipc_client_free(client);
    changed(server);
}

static struct ipc_client *find_by_nonce(const struct ipc_server *server, const uint8_t *nonce)
{
    for (unsigned i = 0; i < server->count; i++) {
        if (memcmp(server->clients[i]->nonce, nonce, SHM_NONCE_BYTES) == 0)
            return server->clients[i];
    }
    return NULL;
}

static const char *over_a_cap(const struct ipc_server *server, uid_t uid)
{
    unsigned same_uid = 0;
    for (unsigned i = 0; i < server->count; i++)
        same_uid += server->clients[i]->uid == uid;
    if (server->count >= server->config.max_clients)
        return "max_clients is reached";
    if (same_uid >= server->config.max_clients_per_uid)
        return "max_clients_per_uid is reached for this user";
    if ((uint64_t)(same_uid + 1) * (SHM_C_BYTES + SHM_H_BYTES) > server->config.max_bytes_per_uid)
        return "the memory that one user may attach is used up";
    return NULL;
}

/* ---- answering ---- */

static bool reply(struct ipc_server *server, int fd, enum attach_status status, const char *text, const struct ipc_client *client)
{
    struct attach_reply r = {.magic = ATTACH_MAGIC,
                             .bytes = sizeof(r),
                             .status = status,
                             .hub_pid = (uint32_t)getpid(),
                             .client_number = client ? client->number : 0,
                             .epoch = server->config.epoch};
    text_copy(r.text, sizeof(r.text), text, strlen(text));
    const int fds[2] = {client ? client->h_fd : -1, client ? client->doorbell : -1};
    return fd_packet_send(fd, &r, sizeof(r), fds, client ? 2 : 0) == 0;
}

static void refuse(struct ipc_server *server, int fd, enum attach_status status, const struct ucred *cred, const char *text)
{
    char unread[16];
    server->counters.refused++;
    LOG_WARN(WHO, "refused pid %d uid %u: %s", (int)cred->pid, (unsigned)cred->uid, text);
    reply(server, fd, status, text, NULL);
    /* A socket closed with something unread resets its peer, which would then see that before our reason. */
    if (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) < 0 && errno != EAGAIN)
        LOG_DEBUG(WHO, "pid %d: %s", (int)cred->pid, strerror(errno));
    close(fd);
}

/* ---- ATTACH ---- */

struct received {
    struct attach_request request;
    int fds[ATTACH_FDS_MAX];
    size_t fd_count;
};

static void close_received(struct received *in)
{
    fd_packet_close(in->fds, in->fd_count);
    in->fd_count = 0;
}

/* Reads the packet once. NULL, or why it is no ATTACH; *none: nothing has come yet. */
static const char *receive(int fd, struct received *in, bool *none)
{
    bool cut = false;
    ssize_t n = fd_packet_receive(fd, &in->request, sizeof(in->request), in->fds, ATTACH_FDS_MAX, &in->fd_count, &cut);
    *none = n == -EAGAIN;
    if (n != (ssize_t)sizeof(in->request) || in->request.magic != ATTACH_MAGIC || in->request.bytes != sizeof(in->request))
        return "this is not an ATTACH of librmqhub";
    return cut ? "ATTACH with too many descriptors" : NULL;
}

static const char *version_problem(const struct attach_request *r)
{
    if (r->abi_major_min > SHM_ABI_MAJOR || r->abi_major_max < SHM_ABI_MAJOR)
        return "library and hub speak different versions of the shared memory layout: install matching ones";
    if (r->fingerprint != shm_layout_fingerprint())
        return "library and hub were built with different shared memory layouts: install matching ones";
    if (r->features_required != 0)
        return "the library requires a feature that this hub lacks: upgrade rmqhubd";
    return NULL;
}

/* The pidfd of the kernel where it has one; else the client's own, if it is one and of the peer. */
static int true_pid_fd(int socket, int offered, pid_t pid)
{
    int fd = -1;
    socklen_t len = sizeof(fd);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) == 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        close(offered);
        return fd;
    }
    char path[64], line[128];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", offered);
    FILE *info = fopen(path, "re");
    long found = -1;
    while (info && fgets(line, sizeof(line), info)) {
        if (strncmp(line, "Pid:", 4) == 0)
            found = strtol(line + 4, NULL, 10);
    }
    if (info)
        fclose(info);
    if (found == (long)pid && pid > 0)
        return offered;
    close(offered);
    return -1;
}

static void adopt(struct ipc_server *server, struct ipc_client *client, int socket, const struct ucred *cred)
{
    if (client->uid != cred->uid) {
        refuse(server, socket, ATTACH_PERMISSION, cred, "another user's client");
    } else if (client->state == IPC_CLIENT_QUARANTINED) {
        refuse(server, socket, ATTACH_QUARANTINED, cred, client->reason);
    } else if (client->state == IPC_CLIENT_ENDING) {
        refuse(server, socket, ATTACH_UNKNOWN_CLIENT, cred, "this client was given up already: its process died or stayed away too long");
    } else if (!reply(server, socket, ATTACH_OK, "adopted", client) || ipc_client_adopt(client, socket) < 0) {
        close(socket);
    } else {
        server->counters.adopted++;
        LOG_INFO(WHO, "client %llu (pid %d %s) is back on a new socket", (unsigned long long)client->number, (int)client->pid,
                 client->command);
        changed(server);
    }
}

static void admit(struct ipc_server *server, int socket, const struct ucred *cred, struct received *in)
{
    struct ipc_newcomer newcomer = {.request = in->request, .uid = cred->uid, .gid = cred->gid, .pid = cred->pid, .socket = socket};
    newcomer.c_fd = in->fds[ATTACH_FD_C];
    newcomer.pid_fd = true_pid_fd(socket, in->fds[ATTACH_FD_PIDFD], cred->pid);
    newcomer.previous_h_fd = in->request.flags & ATTACH_WITH_PREVIOUS_H ? in->fds[ATTACH_FD_PREVIOUS_H] : -1;
    in->fd_count = 0;
    enum attach_status status = ATTACH_OK;
    char text[160] = "welcome";
    struct ipc_client *client = NULL;
    if (ipc_client_new(&client, server, &newcomer, &status, text, sizeof(text)) < 0) {
        refuse(server, socket, status, cred, text);
        return;
    }
    client->number = ++server->next_number;
    server->clients[server->count++] = client;
    /* The reply first: once it is in the client's socket it survives us, and only then may anything be sent. */
    if (!reply(server, socket, ATTACH_OK, text, client)) {
        ipc_server_forget(server, client);
        return;
    }
    server->counters.attached++;
    ipc_client_begin(client);
    changed(server);
}

static void handle_attach(struct ipc_server *server, int socket, const struct ucred *cred, struct received *in)
{
    const struct attach_request *r = &in->request;
    unsigned wanted_fds = (r->flags & ATTACH_WITH_C ? 2 : 0) + (r->flags & ATTACH_WITH_PREVIOUS_H ? 1 : 0);
    const char *why = version_problem(r);
    enum attach_status status = ATTACH_VERSION;
    struct ipc_client *known = why ? NULL : find_by_nonce(server, r->nonce);
    const uint32_t known_flags = ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H | ATTACH_HEAD_UNSURE;
    if (!why &&
        (in->fd_count != wanted_fds || (r->flags & ~known_flags) || ((r->flags & ATTACH_WITH_PREVIOUS_H) && !(r->flags & ATTACH_WITH_C)))) {
        why = "ATTACH with the wrong descriptors or flags";
        status = ATTACH_INVALID;
    } else if (!why && server->draining) {
        why = "the hub is stopping";
        status = ATTACH_DRAINING;
    } else if (!why && !known && !(r->flags & ATTACH_WITH_C)) {
        why = "no client of this nonce is waiting to be adopted";
        status = ATTACH_UNKNOWN_CLIENT;
    } else if (!why && !known) {
        why = over_a_cap(server, cred->uid);
        status = ATTACH_LIMIT;
    }
    if (why) {
        refuse(server, socket, status, cred, why);
    } else if (known) {
        adopt(server, known, socket, cred);
    } else {
        admit(server, socket, cred, in);
    }
    close_received(in);
}

/* ---- half-open connections ---- */

static void half_open_free(struct half_open *h)
{
    list_unlink(&h->link);
    h->server->half_open_count--;
    loop_io_deinit(&h->io);
    loop_timer_deinit(&h->timer);
    free(h);
}

/* True when the connection was dealt with; false when its ATTACH has not come yet. */
static bool read_attach(struct ipc_server *server, int fd, const struct ucred *cred)
{
    struct received in;
    bool none = false;
    const char *why = receive(fd, &in, &none);
    if (none)
        return false;
    if (why) {
        close_received(&in);
        refuse(server, fd, ATTACH_INVALID, cred, why);
    } else {
        handle_attach(server, fd, cred, &in);
    }
    return true;
}

static void on_half_open(void *ctx, unsigned events)
{
    (void)events;
    struct half_open *h = ctx;
    if (read_attach(h->server, h->fd, &h->cred))
        half_open_free(h);
}

static void on_half_open_timeout(void *ctx)
{
    struct half_open *h = ctx;
    LOG_WARN(WHO, "pid %d uid %u connected and said nothing for 2 s", (int)h->cred.pid, (unsigned)h->cred.uid);
    close(h->fd);
    half_open_free(h);
}

static bool is_allowed(const struct ipc_server *server, int fd, const struct ucred *cred)
{
    gid_t gids[GROUPS_MAX + 1] = {cred->gid};
    socklen_t len = GROUPS_MAX * sizeof(gid_t);
    size_t count = 1;
    if (cred->uid == OVERFLOW_UID)
        return false;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &len) == 0)
        count += len / sizeof(gid_t);
    return server->config.is_allowed(server->config.ctx, cred->uid, gids, count);
}

static unsigned half_open_of(const struct ipc_server *server, uid_t uid)
{
    unsigned count = 0;
    LIST_FOR_EACH_SAFE (it, next, &server->half_open)
        count += LIST_ENTRY(it, struct half_open, link)->cred.uid == uid;
    return count;
}

static void wait_for_attach(struct ipc_server *server, int fd, const struct ucred *cred)
{
    bool room = server->half_open_count < HALF_OPEN_MAX && half_open_of(server, cred->uid) < HALF_OPEN_MAX_PER_UID;
    struct half_open *h = room ? calloc(1, sizeof(*h)) : NULL;
    if (!h) {
        refuse(server, fd, ATTACH_LIMIT, cred, "too many connections are waiting to attach");
        return;
    }
    h->server = server;
    h->fd = fd;
    h->cred = *cred;
    list_append(&server->half_open, &h->link);
    server->half_open_count++;
    if (loop_io_init(&h->io, server->loop, fd, LOOP_READ, on_half_open, h) < 0 || loop_io_start(&h->io) < 0 ||
        loop_timer_init(&h->timer, server->loop, on_half_open_timeout, h) < 0) {
        close(fd);
        half_open_free(h);
        return;
    }
    loop_timer_schedule(&h->timer, event_loop_now_ns(server->loop) + HALF_OPEN_NS);
}

static void welcome(struct ipc_server *server, int fd)
{
    struct ucred cred = {.pid = -1};
    socklen_t len = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        close(fd);
    else if (!is_allowed(server, fd, &cred))
        refuse(server, fd, ATTACH_PERMISSION, &cred, "this user is not in allow_uids or allow_gids of the hub's configuration");
    else if (!read_attach(server, fd, &cred)) /* the library sends it with the connect, so that it is nearly always there */
        wait_for_attach(server, fd, &cred);
}

/* ---- the listener ---- */

static void resume_accepting(void *ctx)
{
    struct ipc_server *server = ctx;
    if (server->reserve_fd < 0)
        server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop_io_start(&server->listener_io);
}

/* The descriptor table is full: spend the reserve on one visitor, so that it hears why, and pause. */
static void turn_one_away(struct ipc_server *server)
{
    close(server->reserve_fd);
    server->reserve_fd = -1;
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        const struct ucred nobody = {.pid = -1, .uid = OVERFLOW_UID};
        refuse(server, fd, ATTACH_LIMIT, &nobody, "the hub has no descriptor left: raise its open files limit (LimitNOFILE)");
    }
    loop_io_stop(&server->listener_io);
    loop_timer_schedule(&server->accept_timer, event_loop_now_ns(server->loop) + ACCEPT_PAUSE_NS);
}

static void on_listener(void *ctx, unsigned events)
{
    (void)events;
    struct ipc_server *server = ctx;
    for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            welcome(server, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            turn_one_away(server);
        return;
    }
}

static int listen_at(struct ipc_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (runtime_path(address.sun_path, sizeof(address.sun_path), server->config.runtime_dir, RUNTIME_FILE_HUB_SOCKET) < 0)
        return -ENAMETOOLONG;
    server->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listener < 0)
        return -errno;
    /* Bound under another name and renamed: a client finds the old socket or the new one, never none. */
    char fresh[sizeof(address.sun_path)], path[sizeof(address.sun_path)];
    memcpy(path, address.sun_path, sizeof(path));
    if (runtime_path(fresh, sizeof(fresh), server->config.runtime_dir, RUNTIME_FILE_HUB_SOCKET "~") < 0)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, fresh, sizeof(fresh));
    unlink(fresh);
    if (bind(server->listener, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    /* The directory's mode keeps strangers out; who of the others may attach is the policy's to say, with a reason. */
    if (chmod(fresh, 0666) < 0 || listen(server->listener, 1024) < 0 || rename(fresh, path) < 0) {
        int r = -errno;
        unlink(fresh);
        return r;
    }
    memcpy(server->socket_path, path, sizeof(path));
    return 0;
}

/* ---- hooks of the round ---- */

static bool take_from_hot_lanes(void *ctx)
{
    struct ipc_server *server = ctx;
    uint64_t before = server->counters.taken;
    bool more = false;
    server->looked_ns = event_loop_now_ns(server->loop); /* after this round's readiness, before the next wait */
    if (server->draining)
        return false;
    LIST_FOR_EACH_SAFE (it, next, &server->hot) {
        struct ipc_client *client = LIST_ENTRY(it, struct ipc_client, hot);
        uint64_t taken = client->taken;
        if (ipc_client_take(client))
            more = true;
        else if (client->state == IPC_CLIENT_ENDING && client->in_flight == 0)
            ipc_server_forget(server, client);
        else if (client->taken != taken)
            client->idle_rounds = 0;
        else if (++client->idle_rounds >= IDLE_ROUNDS_MAX && lane_hub_arm(&client->lane))
            list_unlink(&client->hot);
    }
    return more || server->counters.taken != before;
}

static bool send_wake_bytes(void *ctx)
{
    struct ipc_server *server = ctx;
    LIST_FOR_EACH_SAFE (it, next, &server->notify) {
        list_unlink(it);
        ipc_client_notify(LIST_ENTRY(it, struct ipc_client, notify));
    }
    return false;
}

static bool arm_before_sleep(void *ctx)
{
    struct ipc_server *server = ctx;
    bool hot = false;
    if (server->draining)
        return false;
    LIST_FOR_EACH_SAFE (it, next, &server->hot) {
        struct ipc_client *client = LIST_ENTRY(it, struct ipc_client, hot);
        bool ended = client->state == IPC_CLIENT_ENDING && client->in_flight == 0; /* the next round forgets it */
        if (!ended && lane_hub_arm(&client->lane))
            list_unlink(&client->hot);
        else
            hot = true;
    }
    return hot;
}

/* ---- life ---- */

int ipc_server_new(struct ipc_server **out, const struct ipc_config *config, struct event_loop *loop, struct mq_client_manager *manager)
{
    struct ipc_server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->config = *config;
    server->loop = loop;
    server->manager = manager;
    server->looked_ns = mono_now_ns();
    server->listener = -1;
    list_init(&server->half_open);
    list_init(&server->hot);
    list_init(&server->notify);
    list_init(&server->free_requests);
    list_init(&server->request_chunks);
    server->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int r = listen_at(server);
    if (r == 0)
        r = loop_timer_init(&server->accept_timer, loop, resume_accepting, server);
    if (r == 0)
        r = loop_io_init(&server->listener_io, loop, server->listener, LOOP_READ, on_listener, server);
    if (r == 0)
        r = loop_io_start(&server->listener_io);
    if (r == 0)
        r = event_loop_add_hook(loop, LOOP_PHASE_LANES, take_from_hot_lanes, server);
    if (r == 0)
        r = event_loop_add_hook(loop, LOOP_PHASE_FLUSH, send_wake_bytes, server);
    if (r == 0)
        r = event_loop_add_hook(loop, LOOP_PHASE_BEFORE_SLEEP, arm_before_sleep, server);
    if (r < 0) {
        ipc_server_free(server);
        return r;
    }
    *out = server;
    return 0;
}

void ipc_server_drain(struct ipc_server *server)
{
    server->draining = true;
    for (unsigned i = 0; i < server->count; i++)
        ipc_client_set_hub_state(server->clients[i], SHM_HUB_DRAIN);
}

bool ipc_server_is_drained(const struct ipc_server *server)
{
    return server->counters.in_flight == 0;
}

struct ipc_server *ipc_server_free(struct ipc_server *server)
{
    if (!server)
        return NULL;
    event_loop_remove_hook(server->loop, LOOP_PHASE_LANES, take_from_hot_lanes, server);
    event_loop_remove_hook(server->loop, LOOP_PHASE_FLUSH, send_wake_bytes, server);
    event_loop_remove_hook(server->loop, LOOP_PHASE_BEFORE_SLEEP, arm_before_sleep, server);
    LIST_FOR_EACH_SAFE (it, next, &server->half_open) {
        struct half_open *h = LIST_ENTRY(it, struct half_open, link);
        close(h->fd);
        half_open_free(h);
    }
    while (server->count) {
        struct ipc_client *client = server->clients[--server->count];
        ipc_client_set_hub_state(client, SHM_HUB_CLOSED);
        ipc_client_free(client);
    }
    loop_io_deinit(&server->listener_io);
    loop_timer_deinit(&server->accept_timer);
    if (server->listener >= 0)
        close(server->listener);
    if (server->reserve_fd >= 0)
        close(server->reserve_fd);
    if (server->socket_path[0])
        unlink(server->socket_path);
    LIST_FOR_EACH_SAFE (it, next, &server->request_chunks)
        free(LIST_ENTRY(it, struct request_chunk, link));
    free(server);
    return NULL;
}

const struct ipc_counters *ipc_server_counters(const struct ipc_server *server)
{
    return &server->counters;
}

unsigned ipc_server_count(const struct ipc_server *server)
{
    return server->count;
}

const struct ipc_client *ipc_server_at(const struct ipc_server *server, unsigned index)
{
    return server->clients[index];
}
