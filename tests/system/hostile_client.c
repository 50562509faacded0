/*
 * Processes that do what librmqhub never would, each against a hub that test_hostile.py started:
 *
 *   hostile_client CASE RUNTIME_DIR [UID]    one attack (as that user); exits 0 when the hub answered as it must, else says how not
 *   hostile_client bystander RUNTIME_DIR     an honest client: sends until its stdin ends, then prints what it got and how fast
 *
 * An attack on the handshake ends in a refusal with its reason; one on the shared memory ends with a
 * hang-up, and with QUARANTINED and the same reason at the next attach. What the kernel refuses is
 * asked of the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/include/rmqhub.h"
#include "shm/attach_protocol.h"
#include "shm/base/clock.h"
#include "shm/lane.h"
#include "shm/segment.h"

#define ANSWER_MS 5000

static const char *runtime_dir;
static unsigned other_uid;

static void give_up(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void give_up(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

#define MUST(condition) \
    do { \
        if (!(condition)) \
            give_up("%s:%d: not so: %s (%s)", __FILE__, __LINE__, #condition, strerror(errno)); \
    } while (0)

/* ---- the handshake by hand ---- */

struct peer {
    int socket, c_fd, pid_fd, h_fd, doorbell;
    struct shm_c *c;
    const struct shm_h *h;
    struct lane_client lane;
    struct attach_request request;
    struct attach_reply reply;
    unsigned reply_fds;
};

static int connect_to_hub(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/hub.sock", runtime_dir);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        give_up("connect to %s: %s", address.sun_path, strerror(errno));
    return fd;
}

/* Peers last as long as the process: none of them says goodbye. */
static struct peer *new_peer(void)
{
    static struct peer peers[64];
    static unsigned count;
    struct peer *p = &peers[count++];
    void *map = NULL;
    MUST(count <= sizeof(peers) / sizeof(peers[0]));
    p->h_fd = p->doorbell = -1;
    p->socket = connect_to_hub();
    p->pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    MUST(shm_segment_create("hostile", SHM_C_BYTES, &p->c_fd, &map) == 0);
    p->c = map;
    p->request = (struct attach_request){.magic = ATTACH_MAGIC,
                                         .bytes = sizeof(p->request),
                                         .abi_major_min = SHM_ABI_MAJOR,
                                         .abi_major_max = SHM_ABI_MAJOR,
                                         .flags = ATTACH_WITH_C,
                                         .fingerprint = shm_layout_fingerprint(),
                                         .monotonic_ns = mono_now_ns(),
                                         .command = "hostile\033[2J"};
    MUST(getrandom(p->request.nonce, SHM_NONCE_BYTES, 0) == SHM_NONCE_BYTES);
    struct shm_c_header *header = &p->c->header;
    header->magic = SHM_C_MAGIC;
    header->abi_major = SHM_ABI_MAJOR;
    header->total_bytes = SHM_C_BYTES;
    header->fingerprint = shm_layout_fingerprint();
    memcpy(header->nonce, p->request.nonce, SHM_NONCE_BYTES);
    return p;
}

static void send_packet(int socket, const void *data, size_t bytes, const int *fds, size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(64 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec iov = {(void *)data, bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        give_up("sendmsg: %s", strerror(errno));
}

static void receive_reply(struct peer *p)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec iov = {&p->reply, sizeof(p->reply)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct pollfd ready = {.fd = p->socket, .events = POLLIN};
    if (poll(&ready, 1, ANSWER_MS) != 1)
        give_up("the hub did not answer");
    ssize_t n = recvmsg(p->socket, &message, 0);
    if (n < 0 && errno == ECONNRESET)
        n = recvmsg(p->socket, &message, 0);
    if (n != (ssize_t)sizeof(p->reply))
        give_up("the hub answered with %zd bytes", n);
    int fds[2];
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_len == CMSG_LEN(sizeof(fds))) {
        memcpy(fds, CMSG_DATA(c), sizeof(fds));
        p->h_fd = fds[0];
        p->doorbell = fds[1];
        p->reply_fds = 2;
    }
}

static void send_request(struct peer *p)
{
    const int fds[] = {p->c_fd, p->pid_fd};
    send_packet(p->socket, &p->request, sizeof(p->request), fds, 2);
}

static void expect_refused(struct peer *p, enum attach_status status, const char *text)
{
    receive_reply(p);
    if (p->reply.status != status || !strstr(p->reply.text, text) || p->reply_fds)
        give_up("refused with status %u \"%s\" (%u descriptors), expected %u \"%s\"", p->reply.status, p->reply.text, p->reply_fds, status,
                text);
}

static void expect_attached(struct peer *p)
{
    const char *why = NULL;
    void *map = NULL;
    receive_reply(p);
    if (p->reply.status != ATTACH_OK || p->reply_fds != 2)
        give_up("not attached: status %u \"%s\"", p->reply.status, p->reply.text);
    if (shm_segment_map_foreign(p->h_fd, SHM_H_BYTES, NULL, &map, &why) < 0)
        give_up("H: %s", why);
    p->h = map;
    lane_client_init(&p->lane, p->c, p->h);
}

static struct peer *attached_peer(void)
{
    struct peer *p = new_peer();
    send_request(p);
    expect_attached(p);
    return p;
}

static void ring(struct peer *p)
{
    const uint64_t one = 1;
    MUST(write(p->doorbell, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
}

static bool is_hung_up(struct peer *p, int ms)
{
    struct pollfd gone = {.fd = p->socket, .events = POLLRDHUP};
    return poll(&gone, 1, ms) == 1;
}

/* The hub hangs up, and says why when this client comes again. */
static void expect_quarantine(struct peer *p, const char *text)
{
    if (!is_hung_up(p, ANSWER_MS))
        give_up("not quarantined, expected \"%s\"", text);
    close(p->socket);
    p->socket = connect_to_hub();
    p->reply_fds = 0;
    send_request(p);
    expect_refused(p, ATTACH_QUARANTINED, text);
}

/* ---- talking through the lane ---- */

static unsigned submit(struct peer *p, struct shm_slot_record record)
{
    int slot = lane_client_take_slot(&p->lane);
    MUST(slot >= 0);
    record.submit_ns = mono_now_ns();
    if (!record.deadline_ns)
        record.deadline_ns = record.submit_ns + 3 * NS_PER_S;
    lane_client_submit(&p->lane, (unsigned)slot, &record);
    ring(p);
    return (unsigned)slot;
}

static struct shm_mbox_record wait_for_answer(struct peer *p, unsigned slot, char *reason)
{
    struct shm_mbox_record record;
    for (int i = 0; i < ANSWER_MS; i++) {
        if (lane_client_is_answered(&p->lane, slot)) {
            lane_client_read_answer(&p->lane, slot, &record, reason);
            lane_client_free_slot(&p->lane, slot);
            return record;
        }
        if (is_hung_up(p, 1))
            give_up("the hub hung up instead of answering");
    }
    give_up("the hub did not answer the submission");
}

static void write_registration(struct peer *p, unsigned handle, uint16_t kind, uint16_t parent, const char *name)
{
    struct shm_registration_record record = {.kind = kind, .parent = parent};
    record.string_len[SHM_STRING_NAME] = (uint16_t)strlen(name);
    memcpy(record.text, name, strlen(name));
    SHM_RECORD_STORE(&p->c->registration[handle], &record);
    shm_store_release(&p->c->registration[handle].state, SHM_REGISTRATION_LIVE);
}

static int32_t ask(struct peer *p, uint8_t op, uint8_t flags, uint16_t producer_h, uint16_t topic_h)
{
    char reason[SHM_REASON_BYTES];
    unsigned slot =
        submit(p, (struct shm_slot_record){.op = op, .flags = flags, .producer_h = producer_h, .topic_h = topic_h, .queue_id = -1});
    struct shm_mbox_record record = wait_for_answer(p, slot, reason);
    MUST(record.outcome == SHM_ANSWERED);
    return record.code;
}

/* Group at handle 1, topic at handle 2. */
static void register_both(struct peer *p)
{
    write_registration(p, 1, SHM_KIND_PRODUCER, 0, "hostile");
    write_registration(p, 2, SHM_KIND_TOPIC, 1, "Hostile");
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_OK);
    MUST(ask(p, SHM_OP_REGISTER, SHM_SLOT_TOPIC, 1, 2) == SHM_ANSWER_OK);
}

static struct peer *registered_peer(void)
{
    struct peer *p = attached_peer();
    register_both(p);
    return p;
}

/* A message whose body and properties stand at the start of the arena. */
static struct shm_slot_record message(struct peer *p, const char *properties)
{
    size_t len = strlen(properties);
    memcpy(p->c->arena, properties, len);
    memset(p->c->arena + 4096, 'b', 100);
    return (struct shm_slot_record){.op = SHM_OP_SEND,
                                    .producer_h = 1,
                                    .topic_h = 2,
                                    .queue_id = -1,
                                    .properties_len = (uint32_t)len,
                                    .body_off = 4096,
                                    .body_len = 100};
}

#define GOOD_PROPERTIES \
    "UNIQ_KEY\1" \
    "0A0000010001000000000000000000FF" \
    "\2WAIT\1true"

/* ---- attacks on the handshake ---- */

static void no_attach_at_all(void)
{
    static const size_t lengths[] = {
        1, 50, sizeof(struct attach_request) - 1, sizeof(struct attach_request), sizeof(struct attach_request) + 1, 5000};
    char garbage[5000];
    memset(garbage, 0xa5, sizeof(garbage));
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct peer *p = new_peer();
        send_packet(p->socket, garbage, lengths[i], NULL, 0);
        expect_refused(p, ATTACH_INVALID, "not an ATTACH");
    }
    struct peer *p = new_peer();
    p->request.bytes--;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "not an ATTACH");
}

static void wrong_version(void)
{
    struct peer *p = new_peer();
    p->request.abi_major_min = p->request.abi_major_max = SHM_ABI_MAJOR + 1;
    send_request(p);
    expect_refused(p, ATTACH_VERSION, "different versions");
    p = new_peer();
    p->request.abi_major_max = 0;
    send_request(p);
    expect_refused(p, ATTACH_VERSION, "different versions");
    p = new_peer();
    p->request.fingerprint ^= 1;
    send_request(p);
    expect_refused(p, ATTACH_VERSION, "different shared memory layouts");
    p = new_peer();
    p->request.features_required = 1;
    send_request(p);
    expect_refused(p, ATTACH_VERSION, "feature");
}

static void wrong_descriptors(void)
{
    static const struct {
        uint32_t flags;
        size_t fds;
    } wrong[] = {{ATTACH_WITH_C, 0},          {ATTACH_WITH_C, 1},
                 {ATTACH_WITH_C, 3},          {ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H, 2},
                 {ATTACH_WITH_PREVIOUS_H, 1}, {0, 2},
                 {ATTACH_WITH_C | 0x80, 2}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct peer *p = new_peer();
        const int fds[3] = {p->c_fd, p->pid_fd, p->c_fd};
        p->request.flags = wrong[i].flags;
        send_packet(p->socket, &p->request, sizeof(p->request), fds, wrong[i].fds);
        expect_refused(p, ATTACH_INVALID, "wrong descriptors or flags");
    }
    for (size_t count = 4; count <= 64; count *= 2) {
        struct peer *p = new_peer();
        int fds[64];
        for (size_t i = 0; i < count; i++)
            fds[i] = p->c_fd;
        send_packet(p->socket, &p->request, sizeof(p->request), fds, count);
        expect_refused(p, ATTACH_INVALID, "too many descriptors");
    }
    struct peer *p = new_peer();
    p->request.flags = 0;
    send_packet(p->socket, &p->request, sizeof(p->request), NULL, 0);
    expect_refused(p, ATTACH_UNKNOWN_CLIENT, "no client of this nonce");
}

static int bad_segment(size_t bytes, bool allocated, int seals)
{
    int fd = memfd_create("hostile", MFD_ALLOW_SEALING);
    MUST(fd >= 0 && (allocated ? posix_fallocate(fd, 0, (off_t)bytes) : ftruncate(fd, (off_t)bytes)) == 0);
    MUST(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

#define AGREED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE)

static void refused_segment(int c_fd, const char *text)
{
    struct peer *p = new_peer();
    p->c_fd = c_fd;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, text);
    close(c_fd);
}

static void wrong_segment(void)
{
    refused_segment(bad_segment(SHM_C_BYTES, true, 0), "seals are missing");
    refused_segment(bad_segment(SHM_C_BYTES, true, AGREED_SEALS & ~F_SEAL_SHRINK), "seals are missing");
    refused_segment(bad_segment(SHM_C_BYTES, true, AGREED_SEALS & ~F_SEAL_FUTURE_WRITE), "seals are missing");
    refused_segment(bad_segment(SHM_C_BYTES, false, AGREED_SEALS), "not fully allocated");
    refused_segment(bad_segment(SHM_C_BYTES / 2, true, AGREED_SEALS), "wrong size");
    refused_segment(bad_segment(SHM_C_BYTES + 4096, true, AGREED_SEALS), "wrong size");
    refused_segment(open("/dev/zero", O_RDWR), "not a memfd");
    refused_segment(open("/proc/self/exe", O_RDONLY), "not a memfd");
    refused_segment(socket(AF_UNIX, SOCK_STREAM, 0), "not a memfd");
    refused_segment(bad_segment(SHM_C_BYTES, true, AGREED_SEALS), "wrong magic");
}

static void wrong_header(void)
{
    struct peer *p = new_peer();
    p->c->header.nonce[3] ^= 1;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "nonce");
    p = new_peer();
    p->c->header.total_bytes--;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "wrong magic, version or size");
    p = new_peer();
    p->c->header.fingerprint++;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "another layout");
    p = new_peer();
    p->c->header.features_required = 4;
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "feature");
    p = new_peer();
    shm_store_release(&p->c->tail, 1);
    send_request(p);
    expect_refused(p, ATTACH_INVALID, "not empty");
}

/* The pidfd of a child that then dies must not make the hub believe that we died; nor does a descriptor that is none. */
static void pidfd_of_another(void)
{
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    struct peer *p = new_peer();
    p->pid_fd = (int)syscall(SYS_pidfd_open, child, 0);
    send_request(p);
    receive_reply(p);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (p->reply.status == ATTACH_INVALID) /* a kernel without SO_PEERPIDFD: the hub compared the pids */
        return;
    void *map = NULL;
    const char *why = NULL;
    MUST(p->reply.status == ATTACH_OK && shm_segment_map_foreign(p->h_fd, SHM_H_BYTES, NULL, &map, &why) == 0);
    p->h = map;
    lane_client_init(&p->lane, p->c, p->h);
    usleep(100000);
    write_registration(p, 1, SHM_KIND_PRODUCER, 0, "hostile");
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_OK);
}

static struct shm_h *forge_h(int *fd_out, const struct peer *p)
{
    void *map = NULL;
    MUST(shm_segment_create("forged", SHM_H_BYTES, fd_out, &map) == 0);
    struct shm_h *h = map;
    h->header.magic = SHM_H_MAGIC;
    memcpy(h->header.nonce, p->request.nonce, SHM_NONCE_BYTES);
    return h;
}

static void send_with_h(struct peer *p, int h_fd)
{
    const int fds[] = {p->c_fd, p->pid_fd, h_fd};
    p->request.flags = ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H;
    send_packet(p->socket, &p->request, sizeof(p->request), fds, 3);
}

/* A client can seal a memfd of its own and call it the last hub's H. It can only harm itself. */
static void forged_h(void)
{
    int fd = -1;
    struct peer *p = new_peer();
    send_with_h(p, bad_segment(SHM_H_BYTES, true, 0));
    expect_refused(p, ATTACH_INVALID, "seals are missing");
    p = new_peer();
    send_with_h(p, bad_segment(SHM_H_BYTES, true, AGREED_SEALS));
    expect_refused(p, ATTACH_INVALID, "made for another client");
    p = new_peer();
    shm_store_release(&forge_h(&fd, p)->sq_head, 1);
    send_with_h(p, fd);
    expect_refused(p, ATTACH_INVALID, "tail is behind");

    p = new_peer(); /* every slot "answered" with lies, a tail far ahead */
    struct shm_h *h = forge_h(&fd, p);
    memset(h->broker, 'x', sizeof(h->broker));
    memset(h->reason, 'y', sizeof(h->reason));
    for (unsigned i = 0; i < SHM_SLOTS; i++) {
        struct shm_mbox_record lie;
        memset(&lie, 0xff, sizeof(lie));
        SHM_RECORD_STORE(&h->mbox[i], &lie);
        shm_store_release(&h->mbox[i].seq, 1);
        shm_store_release(&p->c->slot[i].state, shm_slot_word(1, SHM_SLOT_LIVE));
    }
    shm_store_release(&p->c->tail, UINT64_MAX - 3);
    send_with_h(p, fd);
    expect_attached(p);
    MUST(lane_client_is_answered(&p->lane, 0) == false); /* seq 1 there, 0 here: our side was never asked */
}

/* What the last hub left ends while it is handed over: expired, unregistered, asynchronous. */
static void left_over_that_ends_at_once(void)
{
    struct shm_mbox_record record;
    char reason[SHM_REASON_BYTES];
    int fd = -1;
    struct peer *p = new_peer();
    lane_client_init(&p->lane, p->c, forge_h(&fd, p));
    for (int i = 0; i < 3; i++) {
        struct shm_slot_record r = {.op = SHM_OP_SEND, .flags = SHM_SLOT_ASYNC, .topic_h = 2, .deadline_ns = 1, .body_len = 1};
        lane_client_submit(&p->lane, (unsigned)lane_client_take_slot(&p->lane), &r);
    }
    struct lane_client lane = p->lane;
    send_with_h(p, fd);
    expect_attached(p);
    lane.h = p->h;
    p->lane = lane;
    for (unsigned slot = 0; slot < 3; slot++) {
        record = wait_for_answer(p, slot, reason);
        MUST(record.outcome == SHM_NOT_STORED);
    }
    usleep(300000);
    MUST(!is_hung_up(p, 0));
}

/* A clock that is an hour ahead, as in another time namespace: deadlines are read on that clock. */
static void another_clock(void)
{
    const uint64_t ahead_ns = 3600 * NS_PER_S;
    char reason[SHM_REASON_BYTES];
    struct peer *p = new_peer();
    p->request.monotonic_ns += ahead_ns;
    send_request(p);
    expect_attached(p);
    register_both(p);
    struct shm_slot_record r = message(p, GOOD_PROPERTIES);
    r.deadline_ns = mono_now_ns() + ahead_ns + 2 * NS_PER_S;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_STORED);
    r.deadline_ns = mono_now_ns() + ahead_ns - NS_PER_S;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED && strstr(reason, "deadline"));
}

static void half_open(void)
{
    int fds[40];
    for (int i = 0; i < 40; i++)
        fds[i] = connect_to_hub();
    unsigned refused = 0, closed = 0;
    usleep(200000);
    for (int i = 0; i < 40; i++) {
        struct attach_reply reply;
        if (recv(fds[i], &reply, sizeof(reply), MSG_DONTWAIT) == (ssize_t)sizeof(reply)) {
            MUST(reply.status == ATTACH_LIMIT && strstr(reply.text, "too many connections"));
            refused++;
        }
    }
    MUST(refused >= 20);
    uint64_t until_ns = mono_now_ns() + 4 * NS_PER_S;
    while (closed < 40 && mono_now_ns() < until_ns) {
        usleep(50000);
        closed = 0;
        for (int i = 0; i < 40; i++) {
            struct pollfd gone = {.fd = fds[i], .events = POLLRDHUP};
            closed += poll(&gone, 1, 0) == 1 && (gone.revents & POLLHUP);
        }
    }
    MUST(closed == 40);
}

static void flooded(void)
{
    char junk[64] = "junk";
    for (int i = 0; i < 3000; i++) {
        int fd = connect_to_hub();
        if (i % 3)
            send_packet(fd, junk, sizeof(junk), NULL, 0);
        if (i % 5 == 0 && i % 3)
            shutdown(fd, SHUT_WR);
        close(fd);
    }
}

/* ---- attacks through the socket ---- */

static void sends_after_attach(void)
{
    struct peer *p = attached_peer();
    send_packet(p->socket, "hello", 5, NULL, 0);
    expect_quarantine(p, "sent something after ATTACH");
    p = attached_peer();
    const int fds[2] = {p->c_fd, p->c_fd};
    send_packet(p->socket, "fds", 3, fds, 2);
    expect_quarantine(p, "sent something after ATTACH");
}

/* Hang-up of a living process: detached, then adopted again with everything it had. */
static void hangs_up_and_returns(void)
{
    struct peer *p = registered_peer();
    char reason[SHM_REASON_BYTES];
    shutdown(p->socket, SHUT_WR);
    if (!is_hung_up(p, ANSWER_MS))
        give_up("the hub did not hang up");
    close(p->socket);
    p->socket = connect_to_hub();
    p->request.flags = 0; /* without C, as a daemon that closed all its descriptors */
    send_packet(p->socket, &p->request, sizeof(p->request), NULL, 0);
    receive_reply(p);
    MUST(p->reply.status == ATTACH_OK);
    struct shm_mbox_record record = wait_for_answer(p, submit(p, message(p, GOOD_PROPERTIES)), reason);
    MUST(record.outcome == SHM_STORED);
}

static void takes_anothers_place(void)
{
    struct peer *p = registered_peer();
    pid_t child = fork();
    if (child == 0) {
        MUST(setgroups(0, NULL) == 0 && setgid(other_uid) == 0 && setuid(other_uid) == 0);
        struct peer *thief = new_peer();
        memcpy(thief->request.nonce, p->request.nonce, SHM_NONCE_BYTES);
        memcpy(thief->c->header.nonce, p->request.nonce, SHM_NONCE_BYTES);
        send_request(thief);
        expect_refused(thief, ATTACH_PERMISSION, "another user's client");
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    MUST(!is_hung_up(p, 100));
    char reason[SHM_REASON_BYTES];
    MUST(wait_for_answer(p, submit(p, message(p, GOOD_PROPERTIES)), reason).outcome == SHM_STORED);
}

static void not_allowed(void)
{
    struct peer *p = new_peer();
    send_request(p);
    expect_refused(p, ATTACH_PERMISSION, "allow_uids");
}

static void allowed(void)
{
    attached_peer();
}

static void too_many(void)
{
    for (int i = 0; i < 4; i++)
        attached_peer();
    struct peer *p = new_peer();
    send_request(p);
    expect_refused(p, ATTACH_LIMIT, "max_clients_per_uid");
}

/* ---- what the kernel refuses ---- */

static void changes_sealed_segments(void)
{
    struct peer *p = attached_peer();
    char path[64];
    const int fds[] = {p->c_fd, p->h_fd};
    for (size_t i = 0; i < 2; i++) {
        MUST(ftruncate(fds[i], 0) < 0 && errno == EPERM);
        MUST(ftruncate(fds[i], 1 << 24) < 0 && errno == EPERM);
        MUST(fallocate(fds[i], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536) < 0 && errno == EPERM);
        MUST(pwrite(fds[i], "x", 1, 0) < 0 && errno == EPERM);
        MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0) == MAP_FAILED && errno == EPERM);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
        int again = open(path, O_RDWR);
        if (again >= 0)
            MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED && pwrite(again, "x", 1, 0) < 0);
    }
    MUST(madvise(p->c, SHM_C_BYTES, MADV_REMOVE) < 0);
    MUST(mprotect((void *)p->h, SHM_H_BYTES, PROT_READ | PROT_WRITE) < 0);
    /* Remapping and unmapping its own view concerns nobody else. */
    MUST(mmap(p->c->arena, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    munmap(p->c->arena, SHM_ARENA_BYTES);
    MUST(!is_hung_up(p, 100));
}

/* ---- lies in the lane ---- */

static void lying_tail(void)
{
    static const uint64_t tails[] = {SHM_SLOTS + 1, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        struct peer *p = attached_peer();
        shm_store_release(&p->c->tail, tails[i]);
        ring(p);
        expect_quarantine(p, "tail is not within one lap");
    }
    struct peer *p = registered_peer();
    shm_store_release(&p->c->tail, 1);
    ring(p);
    expect_quarantine(p, "tail is not within one lap");
}

static void lying_numbers(void)
{
    struct peer *p = attached_peer();
    atomic_store(&p->c->idx[0], SHM_SLOTS);
    shm_store_release(&p->c->tail, 1);
    ring(p);
    expect_quarantine(p, "slot number out of range");
    p = attached_peer();
    shm_store_release(&p->c->slot[0].state, 2);
    shm_store_release(&p->c->tail, 1);
    ring(p);
    expect_quarantine(p, "impossible state");
}

struct record_lie {
    struct shm_slot_record record;
    const char *text;
};

static void lying_records(void)
{
    static const struct record_lie lies[] = {
        {{.op = SHM_OP_SEND, .body_off = SHM_ARENA_BYTES - 10, .body_len = 11}, "outside the arena"},
        {{.op = SHM_OP_SEND, .body_off = UINT32_MAX, .body_len = UINT32_MAX}, "outside the arena"},
        {{.op = SHM_OP_SEND, .properties_off = UINT32_MAX - 1, .properties_len = 2}, "outside the arena"},
        {{.op = SHM_OP_SEND, .body_segment = 1}, "no body segment"},
        {{.op = SHM_OP_SEND, .uniq_len = 29}, "impossible uniq length or flag"},
        {{.op = SHM_OP_SEND, .flags = 0x80}, "impossible uniq length or flag"},
        {{.op = SHM_OP_SEND, .producer_h = 256}, "handle out of range"},
        {{.op = SHM_OP_SEND, .topic_h = UINT16_MAX}, "handle out of range"},
        {{.op = SHM_OP_SEND, .reserved = {[35] = 1}}, "reserved bytes"},
        {{.op = 0}, "no such operation"},
        {{.op = 99}, "no such operation"},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct peer *p = attached_peer();
        submit(p, lies[i].record);
        expect_quarantine(p, lies[i].text);
    }
}

/* A record that an unlucky sequence of restarts could produce is answered, not punished. */
static void strange_but_answered(void)
{
    struct peer *p = registered_peer();
    char reason[SHM_REASON_BYTES];
    struct shm_slot_record r = message(p, GOOD_PROPERTIES);
    r.topic_h = 200;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED);
    r = message(p, GOOD_PROPERTIES);
    r.body_len = 0;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED);
    static const char *const malformed[] = {"x", "\1", "a\1b\2", "UNIQ_KEY\1\2\1\2\1"};
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        MUST(wait_for_answer(p, submit(p, message(p, malformed[i])), reason).outcome == SHM_NOT_STORED);
    r = message(p, GOOD_PROPERTIES);
    r.properties_len = SHM_ARENA_BYTES;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED);
    r = message(p, GOOD_PROPERTIES);
    r.deadline_ns = 1;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED);
    r = message(p, GOOD_PROPERTIES);
    r.queue_id = INT32_MAX;
    MUST(wait_for_answer(p, submit(p, r), reason).outcome == SHM_NOT_STORED);
    MUST(wait_for_answer(p, submit(p, message(p, GOOD_PROPERTIES)), reason).outcome == SHM_STORED);
}

static void strange_registrations(void)
{
    struct peer *p = attached_peer();
    struct shm_registration *r = &p->c->registration[1];
    struct shm_registration_record record;
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_INVALID); /* not filled in */
    MUST(ask(p, SHM_OP_REGISTER, SHM_SLOT_TOPIC, 1, 2) == SHM_ANSWER_INVALID);
    write_registration(p, 0, SHM_KIND_PRODUCER, 0, "zero");
    MUST(ask(p, SHM_OP_REGISTER, 0, 0, 0) == SHM_ANSWER_INVALID);
    write_registration(p, 1, 7, 0, "g");
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_INVALID);
    write_registration(p, 1, SHM_KIND_TOPIC, UINT16_MAX, "T");
    MUST(ask(p, SHM_OP_REGISTER, SHM_SLOT_TOPIC, 0, 1) == SHM_ANSWER_INVALID);
    write_registration(p, 1, SHM_KIND_TOPIC, 1, "T"); /* its own parent */
    MUST(ask(p, SHM_OP_REGISTER, SHM_SLOT_TOPIC, 0, 1) == SHM_ANSWER_INVALID);
    static const char *const names[] = {"", " ", "a b", "DEFAULT_PRODUCER", "\033[31m"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        write_registration(p, 1, SHM_KIND_PRODUCER, 0, names[i]);
        MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_INVALID);
    }
    for (int string = 0; string < SHM_STRINGS; string++) {
        memset(&record, 'g', sizeof(record));
        record.kind = SHM_KIND_PRODUCER;
        record.parent = 0;
        for (int i = 0; i < SHM_STRINGS; i++)
            record.string_len[i] = i == string ? UINT16_MAX : 5;
        SHM_RECORD_STORE(r, &record);
        MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_INVALID);
        record.string_len[string] = SHM_REGISTRATION_TEXT_BYTES - 25;
        SHM_RECORD_STORE(r, &record);
        MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) != SHM_ANSWER_OK);
    }
    /* Settings that the library's setters would not take. */
    const struct shm_registration_record strange[] = {
        {.kind = SHM_KIND_PRODUCER, .string_len = {1}, .text = "g", .default_topic_queue_nums = 65536},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1}, .text = "g", .default_topic_queue_nums = UINT32_MAX},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1}, .text = "g", .max_message_size = 4194305},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1}, .text = "g", .max_message_size = UINT32_MAX},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1, [SHM_STRING_CREATE_TOPIC_KEY] = 3}, .text = "ga b"},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1, [SHM_STRING_CREATE_TOPIC_KEY] = 200}, .text = "g"},
        {.kind = SHM_KIND_PRODUCER, .string_len = {1, [SHM_STRING_NAMESPACE] = 3}, .text = "ga/b"},
        {.kind = SHM_KIND_PRODUCER, .string_len = {300}, .text = "g"},
    };
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        SHM_RECORD_STORE(r, &strange[i]);
        shm_store_release(&r->state, SHM_REGISTRATION_LIVE);
        MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_INVALID);
    }
    write_registration(p, 1, SHM_KIND_PRODUCER, 0, "hostile");
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_OK);
    MUST(ask(p, SHM_OP_REGISTER, 0, 1, 0) == SHM_ANSWER_OK);
    MUST(ask(p, SHM_OP_UNREGISTER, 0, 77, 0) == SHM_ANSWER_OK);
    MUST(ask(p, SHM_OP_UNREGISTER, 0, 0, 0) == SHM_ANSWER_OK);
}

/* ---- time: flipping bytes, ringing, standing still, dying ---- */

struct flipper {
    struct peer *peer;
    _Atomic bool stop;
    uint64_t seed;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

/* Changes anything at any time, except the words without which nothing would ever be taken. Racing is its purpose. */
__attribute__((no_sanitize("thread"))) static void *flip_bytes(void *ctx)
{
    struct flipper *f = ctx;
    volatile unsigned char *slots = (volatile unsigned char *)f->peer->c->slot, *arena = (volatile unsigned char *)f->peer->c->arena;
    while (!atomic_load(&f->stop)) {
        uint64_t r = next_random(&f->seed);
        if (r % 64 == 0)
            slots[(r >> 8) % (4 * sizeof(struct shm_slot))] ^= (unsigned char)(1u << (r >> 60) % 8);
        arena[(r >> 16) % 8192] = (unsigned char)(r >> 32);
    }
    return NULL;
}

/* One process: submits while its own slots and bodies change. True when that ended in quarantine. */
static bool flips_until_quarantined(uint64_t seed)
{
    struct peer *p = registered_peer();
    struct flipper f = {.peer = p, .seed = seed};
    bool in_use[4] = {false};
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, flip_bytes, &f) == 0);
    for (int i = 0; i < 2000 && !is_hung_up(p, 0); i++) {
        if (p->lane.free_count > SHM_SLOTS - 4)
            in_use[submit(p, message(p, GOOD_PROPERTIES))] = true;
        for (unsigned slot = 0; slot < 4; slot++) {
            if (in_use[slot] && lane_client_is_answered(&p->lane, slot)) {
                in_use[slot] = false;
                lane_client_free_slot(&p->lane, slot);
            }
        }
    }
    atomic_store(&f.stop, true);
    pthread_join(thread, NULL);
    return is_hung_up(p, 0);
}

static void flips_during_the_drain(void)
{
    unsigned quarantined = 0, rounds = 0;
    for (uint64_t until_ns = mono_now_ns() + 3 * NS_PER_S; mono_now_ns() < until_ns; rounds++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0)
            _exit(flips_until_quarantined((rounds + 1) * UINT64_C(0x9e3779b97f4a7c15)) ? 42 : 0);
        MUST(child > 0 && waitpid(child, &status, 0) == child);
        MUST(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 42));
        quarantined += WEXITSTATUS(status) == 42;
    }
    MUST(quarantined > 0);
    printf("%u processes, %u quarantined\n", rounds, quarantined);
}

static void saturated_doorbell(void)
{
    struct peer *p = registered_peer();
    const uint64_t most = UINT64_MAX - 1;
    uint64_t count;
    char reason[SHM_REASON_BYTES];
    int flags = fcntl(p->doorbell, F_GETFL);
    MUST(fcntl(p->doorbell, F_SETFL, flags & ~O_NONBLOCK) == 0 && fcntl(p->doorbell, F_SETFL, flags) == 0);
    MUST(read(p->doorbell, &count, sizeof(count)) > 0 || errno == EAGAIN);
    MUST(write(p->doorbell, &most, sizeof(most)) == sizeof(most));
    for (uint64_t until_ns = mono_now_ns() + NS_PER_S; mono_now_ns() < until_ns;) {
        ring(p); /* refused: the counter is full */
        if (read(p->doorbell, &count, sizeof(count)) > 0)
            MUST(write(p->doorbell, &most, sizeof(most)) == sizeof(most));
    }
    MUST(read(p->doorbell, &count, sizeof(count)) == sizeof(count));
    MUST(wait_for_answer(p, submit(p, message(p, GOOD_PROPERTIES)), reason).outcome == SHM_STORED);
}

/* Keeps its lane full of the largest messages that fit, as fast as it can. */
static void never_stops_sending(void)
{
    struct peer *p = registered_peer();
    unsigned sent = 0;
    bool in_use[SHM_SLOTS] = {false};
    for (uint64_t until_ns = mono_now_ns() + 3 * NS_PER_S; mono_now_ns() < until_ns;) {
        for (unsigned slot = 0; slot < SHM_SLOTS; slot++) {
            if (in_use[slot] && lane_client_is_answered(&p->lane, slot)) {
                lane_client_free_slot(&p->lane, slot);
                in_use[slot] = false;
            }
        }
        while (p->lane.free_count > 0) {
            struct shm_slot_record r = message(p, GOOD_PROPERTIES);
            r.body_len = 20000;
            in_use[submit(p, r)] = true;
            sent++;
        }
    }
    printf("%u messages", sent);
}

/* Wishes for wake bytes without end and never reads one: its socket fills, and nothing else happens. */
static void never_reads_wake_bytes(void)
{
    struct peer *p = registered_peer();
    for (int i = 0; i < 1500; i++) {
        struct shm_slot_record r = message(p, GOOD_PROPERTIES);
        r.flags = SHM_SLOT_ASYNC;
        shm_store_release(&p->c->header.want_byte, (uint64_t)i + 1);
        unsigned slot = submit(p, r);
        while (!lane_client_is_answered(&p->lane, slot))
            usleep(20);
        lane_client_free_slot(&p->lane, slot);
    }
    MUST(!is_hung_up(p, 50));
}

/* Submits, then stands still, and is killed by test_hostile.py. */
static void stands_still(void)
{
    struct peer *p = registered_peer();
    for (int i = 0; i < 200; i++)
        submit(p, message(p, GOOD_PROPERTIES));
    puts("still");
    fflush(stdout);
    raise(SIGSTOP);
}

static void dies_with_a_lie(void)
{
    struct peer *p = registered_peer();
    p->c->header.magic = 0;
    shm_store_release(&p->c->tail, UINT64_MAX);
    raise(SIGKILL);
}

/* Stays quarantined, for test_hostile.py to see its row, until its stdin ends. */
static void quarantined_and_waiting(void)
{
    char byte;
    struct peer *p = registered_peer();
    submit(p, (struct shm_slot_record){.op = 99});
    MUST(is_hung_up(p, ANSWER_MS));
    puts("quarantined");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
}

/* ---- the honest one ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

#define SENDS_MAX 100000u

static void bystander(void)
{
    static uint64_t took_us[SENDS_MAX];
    rmqhub_options_t *options = rmqhub_options_new();
    rmqhub_t *hub = NULL;
    rmqhub_producer_t *producer = NULL;
    rmqhub_message_t *m = NULL;
    rmqhub_result_t *result = rmqhub_result_new();
    unsigned sent = 0, not_stored = 0;
    MUST(rmqhub_options_set_runtime_dir(options, runtime_dir) == RMQHUB_OK);
    MUST(rmqhub_attach(options, rmqhub_deadline_after_ms(5000), &hub) == RMQHUB_OK);
    MUST(rmqhub_producer_new(hub, "bystander", &producer) == RMQHUB_OK);
    MUST(rmqhub_producer_start(producer, rmqhub_deadline_after_ms(5000)) == RMQHUB_OK);
    MUST(rmqhub_message_new("Bystander", "body", 4, &m) == RMQHUB_OK);
    MUST(rmqhub_send(producer, m, rmqhub_deadline_after_ms(5000), result) == RMQHUB_OK);
    puts("sending");
    fflush(stdout);
    for (struct pollfd end = {.fd = 0, .events = POLLIN}; poll(&end, 1, 1) == 0 && sent < SENDS_MAX; sent++) {
        uint64_t began_ns = mono_now_ns();
        if (rmqhub_send(producer, m, rmqhub_deadline_after_ms(3000), result) != RMQHUB_OK) {
            not_stored++;
            fprintf(stderr, "bystander: %s\n", rmqhub_result_reason(result));
        }
        took_us[sent] = (mono_now_ns() - began_ns) / NS_PER_US;
    }
    struct rmqhub_stats stats;
    MUST(rmqhub_get_stats(hub, &stats) == RMQHUB_OK);
    qsort(took_us, sent, sizeof(took_us[0]), by_value);
    printf("sent=%u not_stored=%u reattached=%llu p50_us=%llu p99_us=%llu max_us=%llu\n", sent, not_stored,
           (unsigned long long)stats.reattached, (unsigned long long)took_us[sent / 2], (unsigned long long)took_us[sent - 1 - sent / 100],
           (unsigned long long)took_us[sent ? sent - 1 : 0]);
    rmqhub_detach(hub);
    rmqhub_message_free(m);
    rmqhub_result_free(result);
    rmqhub_options_free(options);
    exit(not_stored || stats.reattached);
}

#define CASE(name) \
    { \
#name, name \
    }

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    CASE(no_attach_at_all),
    CASE(wrong_version),
    CASE(wrong_descriptors),
    CASE(wrong_segment),
    CASE(wrong_header),
    CASE(pidfd_of_another),
    CASE(forged_h),
    CASE(left_over_that_ends_at_once),
    CASE(another_clock),
    CASE(half_open),
    CASE(flooded),
    CASE(sends_after_attach),
    CASE(hangs_up_and_returns),
    CASE(takes_anothers_place),
    CASE(not_allowed),
    CASE(allowed),
    CASE(too_many),
    CASE(changes_sealed_segments),
    CASE(lying_tail),
    CASE(lying_numbers),
    CASE(lying_records),
    CASE(strange_but_answered),
    CASE(strange_registrations),
    CASE(flips_during_the_drain),
    CASE(saturated_doorbell),
    CASE(never_stops_sending),
    CASE(never_reads_wake_bytes),
    CASE(stands_still),
    CASE(dies_with_a_lie),
    CASE(quarantined_and_waiting),
    CASE(bystander),
};

int main(int argc, char **argv)
{
    if (argc < 3)
        give_up("usage: hostile_client CASE RUNTIME_DIR [UID]");
    runtime_dir = argv[2];
    other_uid = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run();
            return 0;
        }
    }
    give_up("no case %s", argv[1]);
}
