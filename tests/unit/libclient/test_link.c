/*
 * The library against a hub that the test plays itself, so that it can die, hang, answer late or
 * half-way at exactly the wrong moment. What a real hub does with the library is in tests/system.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "libclient/internal.h"
#include "shm/base/clock.h"
#include "shm/segment.h"

enum { HUB_ANSWERS, HUB_TAKES, HUB_IDLES };

struct fake_hub {
    pthread_t thread;
    int listener, socket, h_fd, doorbell;
    const struct shm_c *c;
    struct shm_h *h;
    struct lane_hub lane;
    struct lane_found found[SHM_SLOTS];
    int found_count;
    struct attach_request request;
    unsigned slots[SHM_SLOTS], held; /* taken and not answered */
    struct shm_slot_record records[SHM_SLOTS];
    _Atomic int manners; /* what it does with messages; registrations are always answered */
    _Atomic bool stop, attached, answer_held;
};

static char dir[] = "/tmp/rmqhub-link-XXXXXX";
static struct rmqhub *watched;
static unsigned attaches_seen;

/* Every ATTACH passes here: by then nobody may be revoking any more. */
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (watched && message->msg_iov[0].iov_len == sizeof(struct attach_request)) {
        attaches_seen++;
        assert_int_equal(atomic_load(&watched->link.state), LINK_ATTACHING);
    }
    return __real_sendmsg(fd, message, flags);
}

/* ---- the hub ---- */

static void listen_as_hub(struct fake_hub *hub)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(hub, 0, sizeof(*hub));
    hub->socket = hub->h_fd = hub->doorbell = -1;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/hub.sock", dir);
    unlink(address.sun_path);
    hub->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(hub->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(hub->listener, 8), 0);
}

static void receive_attach(struct fake_hub *hub)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control;
    int fds[3] = {-1, -1, -1};
    void *map = NULL;
    const char *why = NULL;
    struct iovec iov = {&hub->request, sizeof(hub->request)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    hub->socket = accept(hub->listener, NULL, NULL);
    assert_int_equal(recvmsg(hub->socket, &message, MSG_CMSG_CLOEXEC), sizeof(hub->request));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    assert_non_null(c);
    memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    assert_int_equal(shm_segment_map_foreign(fds[ATTACH_FD_C], SHM_C_BYTES, NULL, &map, &why), 0);
    hub->c = map;
    assert_int_equal(shm_segment_create("h", SHM_H_BYTES, &hub->h_fd, &map), 0);
    hub->h = map;
    hub->h->header.magic = SHM_H_MAGIC;
    hub->h->header.fingerprint = shm_layout_fingerprint();
    memcpy(hub->h->header.nonce, hub->request.nonce, SHM_NONCE_BYTES);
    hub->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (hub->request.flags & ATTACH_WITH_PREVIOUS_H) {
        assert_int_equal(shm_segment_map_foreign(fds[ATTACH_FD_PREVIOUS_H], SHM_H_BYTES, NULL, &map, &why), 0);
        bool is_final = !(hub->request.flags & ATTACH_HEAD_UNSURE);
        hub->found_count = lane_hub_take_over(&hub->lane, hub->c, hub->h, map, is_final, hub->found, &why);
        assert_true(hub->found_count >= 0);
        munmap(map, SHM_H_BYTES);
    } else {
        assert_int_equal(lane_hub_init(&hub->lane, hub->c, hub->h, &why), 0);
    }
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

static void reply_ok(struct fake_hub *hub)
{
    struct attach_reply reply = {.magic = ATTACH_MAGIC, .bytes = sizeof(reply), .status = ATTACH_OK};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    memset(&control, 0, sizeof(control));
    struct iovec iov = {&reply, sizeof(reply)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    const int fds[2] = {hub->h_fd, hub->doorbell};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    assert_int_equal(__real_sendmsg(hub->socket, &message, MSG_NOSIGNAL), sizeof(reply));
    atomic_store(&hub->attached, true);
}

static void answer(struct fake_hub *hub, unsigned slot, const struct shm_slot_record *r)
{
    bool is_message = r->op == SHM_OP_SEND || r->op == SHM_OP_ONEWAY;
    const struct shm_mbox_record record = {.outcome = is_message ? SHM_STORED : SHM_ANSWERED};
    lane_hub_complete(&hub->lane, slot, r->flags, &record, NULL);
    syscall(SYS_futex, (void *)&hub->h->mbox[slot].seq, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void serve_once(struct fake_hub *hub)
{
    int manners = atomic_load(&hub->manners);
    struct shm_slot_record r;
    unsigned slot;
    const char *why = NULL;
    if (atomic_load(&hub->answer_held)) {
        for (; hub->held > 0; hub->held--)
            answer(hub, hub->slots[hub->held - 1], &hub->records[hub->held - 1]);
        atomic_store(&hub->answer_held, false);
    }
    if (manners == HUB_IDLES || lane_hub_take(&hub->lane, &r, &slot, &why) != LANE_TAKE_RECORD)
        return;
    if (manners == HUB_ANSWERS || r.op == SHM_OP_REGISTER || r.op == SHM_OP_UNREGISTER) {
        answer(hub, slot, &r);
        return;
    }
    hub->slots[hub->held] = slot;
    hub->records[hub->held++] = r;
}

static void *run_hub(void *arg)
{
    struct fake_hub *hub = arg;
    receive_attach(hub);
    reply_ok(hub);
    while (!atomic_load(&hub->stop)) {
        serve_once(hub);
        usleep(50);
    }
    return NULL;
}

static void start_hub(struct fake_hub *hub, int manners)
{
    listen_as_hub(hub);
    atomic_store(&hub->manners, manners);
    assert_int_equal(pthread_create(&hub->thread, NULL, run_hub, hub), 0);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* As SIGKILL leaves it: sockets hang up, nothing else is said. */
static void kill_hub(struct fake_hub *hub)
{
    atomic_store(&hub->stop, true);
    pthread_join(hub->thread, NULL);
    close_fd(hub->listener);
    close_fd(hub->socket);
    close_fd(hub->h_fd);
    close_fd(hub->doorbell);
    munmap((void *)hub->c, SHM_C_BYTES);
    munmap(hub->h, SHM_H_BYTES);
}

/* ---- the application ---- */

struct application {
    rmqhub_t *hub;
    rmqhub_producer_t *producer;
    rmqhub_message_t *message;
    unsigned told, stored, not_stored, unknown;
};

static void on_result(void *ctx, const rmqhub_result_t *result)
{
    struct application *a = ctx;
    a->told++;
    a->stored += rmqhub_result_outcome(result) == RMQHUB_STORED;
    a->not_stored += rmqhub_result_outcome(result) == RMQHUB_NOT_STORED;
    a->unknown += rmqhub_result_outcome(result) == RMQHUB_UNKNOWN;
}

static void start_application(struct application *a)
{
    rmqhub_options_t *options = rmqhub_options_new();
    memset(a, 0, sizeof(*a));
    rmqhub_options_set_runtime_dir(options, dir);
    assert_int_equal(rmqhub_attach(options, rmqhub_deadline_after_ms(3000), &a->hub), RMQHUB_OK);
    rmqhub_options_free(options);
    assert_int_equal(rmqhub_producer_new(a->hub, "g", &a->producer), RMQHUB_OK);
    assert_int_equal(rmqhub_producer_start(a->producer, rmqhub_deadline_after_ms(3000)), RMQHUB_OK);
    assert_int_equal(rmqhub_message_new("T", "body", 4, &a->message), RMQHUB_OK);
    assert_int_equal(rmqhub_send(a->producer, a->message, rmqhub_deadline_after_ms(3000), NULL), RMQHUB_OK);
    watched = a->hub;
}

static void end_application(struct application *a)
{
    watched = NULL;
    rmqhub_message_free(a->message);
    rmqhub_detach(a->hub);
}

static int send_async(struct application *a, uint32_t ms)
{
    return rmqhub_send_async(a->producer, a->message, rmqhub_deadline_after_ms(ms), on_result, a);
}

static void dispatch_until_told(struct application *a, unsigned told)
{
    for (uint64_t until_ns = mono_now_ns() + 5 * NS_PER_S; a->told < told && mono_now_ns() < until_ns; usleep(200))
        assert_true(rmqhub_dispatch(a->hub, 0) >= 0);
    assert_int_equal(a->told, told);
}

static void wait_attached(struct application *a, struct fake_hub *hub)
{
    for (uint64_t until_ns = mono_now_ns() + 5 * NS_PER_S; atomic_load(&a->hub->link.state) != LINK_UP && mono_now_ns() < until_ns;
         usleep(500))
        rmqhub_dispatch(a->hub, 0);
    assert_true(atomic_load(&hub->attached));
    assert_int_equal(atomic_load(&a->hub->link.state), LINK_UP);
}

static void wait_down(struct application *a)
{
    for (uint64_t until_ns = mono_now_ns() + 5 * NS_PER_S; atomic_load(&a->hub->link.state) == LINK_UP && mono_now_ns() < until_ns;)
        link_look(a->hub, mono_now_ns());
    assert_int_equal(atomic_load(&a->hub->link.state), LINK_DOWN);
}

/* Without a dispatch: nothing is told meanwhile. */
static void wait_attaching(struct application *a)
{
    for (uint64_t until_ns = mono_now_ns() + 5 * NS_PER_S;
         atomic_load(&a->hub->link.state) != LINK_ATTACHING && mono_now_ns() < until_ns;) {
        link_look(a->hub, mono_now_ns());
        link_step(a->hub, mono_now_ns());
    }
    assert_int_equal(atomic_load(&a->hub->link.state), LINK_ATTACHING);
}

/* ---- tests ---- */

static void the_next_hub_gets_what_the_last_one_left(void **state)
{
    (void)state;
    static struct fake_hub first, second;
    struct application a;
    start_hub(&first, HUB_ANSWERS);
    start_application(&a);
    atomic_store(&first.manners, HUB_TAKES);
    assert_int_equal(send_async(&a, 5000), RMQHUB_OK);
    usleep(20000);
    atomic_store(&first.manners, HUB_IDLES);
    usleep(1000);
    assert_int_equal(send_async(&a, 5000), RMQHUB_OK);
    kill_hub(&first);
    wait_down(&a);
    attaches_seen = 0;
    start_hub(&second, HUB_ANSWERS);
    wait_attached(&a, &second);
    assert_true(attaches_seen > 0);
    assert_int_equal(second.request.flags, ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H);
    assert_int_equal(second.found_count, 2);
    assert_true(second.found[0].tainted);
    assert_false(second.found[1].tainted);
    for (int i = 0; i < 2; i++)
        answer(&second, second.found[i].slot, &second.found[i].record);
    dispatch_until_told(&a, 2);
    assert_int_equal(a.stored, 2);
    end_application(&a);
    kill_hub(&second);
}

/* Without a hub each message ends at its deadline, proved not stored; a thousand of them are no reason to refuse us later. */
static void a_long_absence(void **state)
{
    (void)state;
    static struct fake_hub first, second;
    struct application a;
    start_hub(&first, HUB_ANSWERS);
    start_application(&a);
    kill_hub(&first);
    wait_down(&a);
    unsigned sent = 0;
    for (unsigned round = 0; round < 5; round++) {
        while (send_async(&a, 1) == RMQHUB_OK)
            sent++;
        dispatch_until_told(&a, sent);
    }
    assert_int_equal(sent, 5 * SHM_SLOTS);
    assert_int_equal(a.not_stored, sent);
    start_hub(&second, HUB_ANSWERS);
    wait_attached(&a, &second);
    assert_int_equal(second.found_count, 0);
    assert_int_equal(send_async(&a, 3000), RMQHUB_OK);
    dispatch_until_told(&a, sent + 1);
    assert_int_equal(a.stored, 1);
    end_application(&a);
    kill_hub(&second);
}

/* A hub that answers late and all at once: entries of the told and of the living exceed the ring. */
static void late_answers_and_a_full_ring(void **state)
{
    (void)state;
    static struct fake_hub hub;
    struct application a;
    start_hub(&hub, HUB_ANSWERS);
    start_application(&a);
    atomic_store(&hub.manners, HUB_TAKES);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send_async(&a, 1), RMQHUB_OK);
    dispatch_until_told(&a, 20);
    assert_int_equal(a.unknown, 20);
    atomic_store(&hub.answer_held, true);
    while (atomic_load(&hub.answer_held))
        usleep(100);
    atomic_store(&hub.manners, HUB_ANSWERS);
    unsigned sent = 0; /* reaps the told ones, without a dispatch */
    while (send_async(&a, 20000) == RMQHUB_OK)
        sent++;
    assert_int_equal(sent, SHM_SLOTS);
    usleep(100000);
    dispatch_until_told(&a, 20 + SHM_SLOTS);
    assert_int_equal(a.stored, SHM_SLOTS);
    end_application(&a);
    kill_hub(&hub);
}

/* The next hub takes over, but this process has no descriptor left for its H: nothing may be called NOT_STORED now. */
static void descriptors_that_do_not_arrive(void **state)
{
    (void)state;
    static struct fake_hub first, second, third;
    struct application a;
    struct rlimit saved, limit;
    start_hub(&first, HUB_ANSWERS);
    start_application(&a);
    atomic_store(&first.manners, HUB_IDLES);
    usleep(1000);
    assert_int_equal(send_async(&a, 1500), RMQHUB_OK);
    kill_hub(&first);
    listen_as_hub(&second);
    wait_attaching(&a);
    receive_attach(&second);
    assert_int_equal(second.found_count, 1);
    reply_ok(&second);
    int next_fd = dup(0);
    close(next_fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
    limit = (struct rlimit){(rlim_t)next_fd, saved.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    dispatch_until_told(&a, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
    assert_int_equal(a.unknown, 1);
    assert_int_not_equal(atomic_load(&a.hub->link.state), LINK_REFUSED);

    assert_int_equal(send_async(&a, 5000), RMQHUB_OK); /* and that hub dies too */
    close(second.socket);
    close(second.listener);
    start_hub(&third, HUB_ANSWERS);
    wait_attached(&a, &third);
    assert_int_equal(third.request.flags, ATTACH_WITH_C | ATTACH_WITH_PREVIOUS_H | ATTACH_HEAD_UNSURE);
    assert_int_equal(third.found_count, 2);
    assert_true(third.found[0].tainted && third.found[1].tainted);
    end_application(&a);
    kill_hub(&third);
    close(second.h_fd);
    close(second.doorbell);
    munmap((void *)second.c, SHM_C_BYTES);
    munmap(second.h, SHM_H_BYTES);
}

/* The application closed our socket: the hub may not know yet, so what it has not taken may still be taken. */
static void a_socket_closed_by_the_application(void **state)
{
    (void)state;
    static struct fake_hub hub;
    struct application a;
    start_hub(&hub, HUB_ANSWERS);
    start_application(&a);
    atomic_store(&hub.manners, HUB_IDLES);
    usleep(1000);
    assert_int_equal(send_async(&a, 20), RMQHUB_OK);
    close(a.hub->link.fd);
    close(hub.listener); /* and it cannot be found again in time */
    hub.listener = -1;
    dispatch_until_told(&a, 1);
    assert_int_equal(a.unknown, 1);
    end_application(&a);
    kill_hub(&hub);
}

/* The next hub accepts, and hangs: what was answered before is told all the same, and deadlines are kept. */
static void a_hub_that_hangs_in_the_handshake(void **state)
{
    (void)state;
    static struct fake_hub first, second;
    struct application a;
    start_hub(&first, HUB_ANSWERS);
    start_application(&a);
    assert_int_equal(send_async(&a, 100), RMQHUB_OK);
    usleep(20000);
    atomic_store(&first.manners, HUB_IDLES);
    usleep(1000);
    assert_int_equal(send_async(&a, 100), RMQHUB_OK);
    kill_hub(&first);
    listen_as_hub(&second);
    wait_attaching(&a);
    dispatch_until_told(&a, 2); /* the hub never answers */
    assert_int_equal(a.stored, 1);
    assert_int_equal(a.unknown, 1);
    end_application(&a);
    close(second.listener);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char path[64];
    (void)state;
    snprintf(path, sizeof(path), "%s/hub.sock", dir);
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_hub_gets_what_the_last_one_left),
        cmocka_unit_test(a_long_absence),
        cmocka_unit_test(late_answers_and_a_full_ring),
        cmocka_unit_test(descriptors_that_do_not_arrive),
        cmocka_unit_test(a_socket_closed_by_the_application),
        cmocka_unit_test(a_hub_that_hangs_in_the_handshake),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
