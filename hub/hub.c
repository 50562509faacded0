/*
 * The parts of a hub are started by one table, from the directories to the attach
 * socket, and stopped in the reverse order; each step is a short function that
 * knows its neighbours below and nothing above. After the start there is one
 * thread that matters, in one loop, and no fork.
 *
 * The end: SIGTERM stops the intake, lets what is in flight finish within
 * drain_timeout_ms, unregisters every group from its brokers, and returns. A
 * second SIGTERM returns at once, which is what a crash would have been: clients
 * keep their messages and the next hub takes them over.
 */
#include "hub/hub.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hub/control/snapshot.h"
#include "hub/instance/mq_client_instance.h"
#include "hub/instance/mq_client_manager.h"
#include "hub/ipc/ipc_server.h"
#include "hub/last_good.h"
#include "hub/loop/event_loop.h"
#include "hub/metrics/events.h"
#include "hub/protocol/name_server_address_utils.h"
#include "hub/store/directory.h"
#include "hub/store/store.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/runtime_dir.h"

#define WHO "hub"
#define STOP_CHECK_INTERVAL_NS (20 * NS_PER_MS)
#define UNUSED_CHECK_INTERVAL_NS (60 * NS_PER_S)
#define UNREGISTER_TIME_NS (3500 * NS_PER_MS) /* the API timeout and a little */

enum hub_phase { HUB_RUNNING, HUB_DRAINING, HUB_UNREGISTERING, HUB_STOPPED };

struct hub {
    struct hub_config *config;
    const struct config_arguments *arguments;
    struct client_config clients[CONFIG_CLUSTERS_MAX]; /* what the layers below get of each cluster */
    int runtime_dirfd, runtime_lock, state_dirfd, state_lock, signal_fd;
    struct store *store;
    struct event_loop *loop;
    struct loop_io signals;
    struct loop_timer stop_timer, unused_timer;
    uint64_t started_ns;
    struct mq_client_manager *instances;
    struct snapshot *table;
    struct ipc_server *attach;
    uint64_t epoch; /* grows with each hub since the machine booted, and no client is older than that */
    enum hub_phase phase;
    uint64_t phase_deadline_ns;
    char problem[CONFIG_TEXT_CAP + 256]; /* why a start step failed, when errno does not say it */
};

/* ---- configuration ---- */

static void log_entry(void *ctx, const struct config_entry *entry)
{
    unsigned *defaults = ctx;
    if (strcmp(entry->source, "default") == 0)
        (*defaults)++;
    else
        LOG_INFO("config", "[%s] %s = %s (%s)", entry->section, entry->key, entry->value, entry->source);
}

static void log_config(const struct hub_config *config)
{
    unsigned defaults = 0;
    hub_config_for_each(config, log_entry, &defaults);
    LOG_INFO("config", "%u other settings have their defaults", defaults);
}

static void apply_log_settings(const struct hub_config *config)
{
    log_configure(config->hub.log_level, config->hub.log_format);
}

static void copy_text(char *dst, size_t cap, const struct config_text *text)
{
    text_copy(dst, cap, text->text, strlen(text->text));
}

void hub_tls_settings(struct tls_settings *out, const struct cluster_section *keys)
{
    *out = (struct tls_settings){0};
    out->enable = keys->use_tls;
    out->insecure = keys->tls_insecure;
    copy_text(out->ca_file, sizeof(out->ca_file), &keys->tls_ca_file);
    copy_text(out->cert_file, sizeof(out->cert_file), &keys->tls_cert_file);
    copy_text(out->key_file, sizeof(out->key_file), &keys->tls_key_file);
    copy_text(out->key_password_file, sizeof(out->key_password_file), &keys->tls_key_password_file);
    copy_text(out->server_name, sizeof(out->server_name), &keys->tls_server_name);
}

static void client_config_fill(struct client_config *out, const struct hub_config *config, const struct cluster_section *keys)
{
    client_config_init(out);
    copy_text(out->client_ip, sizeof(out->client_ip), &keys->client_ip);
    copy_text(out->unit_name, sizeof(out->unit_name), &keys->unit_name);
    copy_text(out->name_space, sizeof(out->name_space), &keys->namespace);
    if (!out->name_space[0])
        name_server_address_namespace(keys->namesrv_addr.text, out->name_space, sizeof(out->name_space));
    copy_text(out->namesrv_domain, sizeof(out->namesrv_domain), &keys->namesrv_domain);
    copy_text(out->namesrv_domain_subgroup, sizeof(out->namesrv_domain_subgroup), &keys->namesrv_domain_subgroup);
    copy_text(out->create_topic_key, sizeof(out->create_topic_key), &keys->create_topic_key);
    copy_text(out->credentials_file, sizeof(out->credentials_file), &keys->credentials_file);
    hub_tls_settings(&out->tls, keys);
    out->default_topic_queue_nums = (uint32_t)keys->default_topic_queue_nums;
    out->mq_client_api_timeout_ms = (uint32_t)keys->mq_client_api_timeout_ms;
    out->client_oneway_semaphore = (uint32_t)keys->client_oneway_semaphore;
    out->tcp_user_timeout_ms = (uint32_t)keys->tcp_user_timeout_ms;
    out->poll_name_server_interval_ms = (uint32_t)keys->poll_name_server_interval_ms;
    out->heartbeat_broker_interval_ms = (uint32_t)keys->heartbeat_broker_interval_ms;
    out->connect_timeout_ms = (uint32_t)keys->connect_timeout_ms;
    out->client_channel_max_idle_time_ms = (uint32_t)keys->client_channel_max_idle_time_ms;
    out->socket_snd_buf_bytes = (uint32_t)keys->socket_snd_buf_bytes;
    out->socket_rcv_buf_bytes = (uint32_t)keys->socket_rcv_buf_bytes;
    out->write_buffer_high_water_mark_bytes = (uint32_t)keys->write_buffer_high_water_mark_bytes;
    out->write_buffer_low_water_mark_bytes = (uint32_t)keys->write_buffer_low_water_mark_bytes;
    out->client_async_semaphore = (uint32_t)keys->client_async_semaphore;
    out->linger_ms = (uint32_t)config->hub.linger_ms;
    out->idle_expiry_topic_ms = (uint32_t)config->hub.idle_expiry_topic_ms;
}

static void fill_client_configs(struct hub *hub)
{
    for (unsigned i = 0; i < hub->config->cluster_count; i++)
        client_config_fill(&hub->clients[i], hub->config, &hub->config->clusters[i].keys);
}

static void log_problem(void *ctx, const char *text)
{
    (void)ctx;
    LOG_ERROR("config", "%s", text);
}

static void log_change(void *ctx, const char *text)
{
    (void)ctx;
    LOG_INFO("config", "%s", text);
}

static void reload(struct hub *hub)
{
    struct hub_config *fresh = NULL;
    if (hub_config_load(&fresh, hub->arguments, log_problem, NULL) < 0) {
        LOG_ERROR("config", "reload refused; the settings stay as they were");
        return;
    }
    unsigned applied = hub_config_apply(hub->config, fresh, log_change, NULL);
    hub_config_free(fresh);
    apply_log_settings(hub->config);
    fill_client_configs(hub);
    for (unsigned i = 0; i < mq_client_manager_count(hub->instances); i++) {
        struct mq_client_instance *instance = mq_client_manager_at(hub->instances, i);
        instance->config.linger_ms = (uint32_t)hub->config->hub.linger_ms;
        mq_client_instance_reload(instance); /* says itself what it could not read */
    }
    last_good_save(hub->store, hub->config);
    LOG_INFO("config", "reloaded, %u setting%s applied", applied, applied == 1 ? "" : "s");
}

/* ---- what the layers below ask of the hub ---- */

static int cluster_of(void *ctx, const char *name, const char **cluster_name, const char **namesrv_addr,
                      const struct client_config **config)
{
    const struct hub *hub = ctx;
    for (unsigned i = 0; i < hub->config->cluster_count; i++) {
        const struct cluster_config *cluster = &hub->config->clusters[i];
        if (name && *name && strcmp(name, cluster->name) != 0)
            continue;
        *cluster_name = cluster->name;
        *namesrv_addr = cluster->keys.namesrv_addr.text;
        *config = &hub->clients[i];
        return 0;
    }
    return -ENOENT;
}

static int default_instance_name(void *ctx, const char *key_text, char *out, size_t cap)
{
    struct hub *hub = ctx;
    return store_instance_name(hub->store, key_text, out, cap);
}

static const char *const store_kinds[] = {
    [KEPT_ROUTE] = STORE_KIND_ROUTE, [KEPT_BROKER] = STORE_KIND_BROKER, [KEPT_NAME_SERVERS] = STORE_KIND_NAME_SERVERS};

static int load_kept(void *ctx, enum kept_kind kind, const char *scope, const char *name, void **content, size_t *len,
                     struct kept_origin *origin)
{
    struct hub *hub = ctx;
    struct store_origin stored;
    int r = store_load(hub->store, store_kinds[kind], scope, name, content, len, &stored);
    if (r < 0)
        return r;
    origin->saved_ms = stored.saved_ms;
    origin->expires_ms = stored.expires_ms;
    text_copy(origin->from, sizeof(origin->from), stored.from, strlen(stored.from));
    return 0;
}

static void save_kept(void *ctx, enum kept_kind kind, const char *scope, const char *name, const void *content, size_t len,
                      const char *from)
{
    struct hub *hub = ctx;
    store_save(hub->store, store_kinds[kind], scope, name, content, len, from);
}

static void forget_kept(void *ctx, enum kept_kind kind, const char *scope, const char *name)
{
    struct hub *hub = ctx;
    store_forget(hub->store, store_kinds[kind], scope, name);
}

static bool route_is_in_use(void *ctx, const char *scope, const char *name)
{
    const struct hub *hub = ctx;
    for (unsigned i = 0; i < mq_client_manager_count(hub->instances); i++) {
        if (topic_route_table_uses(&mq_client_manager_at(hub->instances, i)->routes, scope, name))
            return true;
    }
    return false;
}

/* Topics of instances that ended; those of living ones say themselves when they are idle. */
static void on_unused_timer(void *ctx)
{
    struct hub *hub = ctx;
    int64_t idle_ms = hub->config->hub.idle_expiry_topic_ms;
    uint64_t now_ns = event_loop_now_ns(hub->loop);
    if (now_ns - hub->started_ns >= (uint64_t)idle_ms * NS_PER_MS) /* before, a process that comes back may not be here yet */
        store_forget_unused(hub->store, STORE_KIND_ROUTE, event_loop_now_ms(hub->loop) - idle_ms, route_is_in_use, hub);
    loop_timer_schedule(&hub->unused_timer, now_ns + UNUSED_CHECK_INTERVAL_NS);
}

static void on_changed(void *ctx)
{
    const struct hub *hub = ctx;
    if (hub->table)
        snapshot_mark_dirty(hub->table);
}

static bool may_attach(void *ctx, uid_t uid, const gid_t *gids, size_t count)
{
    const struct hub *hub = ctx;
    return hub_config_may_attach(hub->config, uid, gids, count);
}

/* ---- telling systemd ---- */

/* A datagram to $NOTIFY_SOCKET, when systemd (or a test) asked for one. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, address_len) < 0)
        LOG_WARN(WHO, "NOTIFY_SOCKET %s: %s", path, strerror(errno));
    close(fd);
}

/* ---- stopping ---- */

static void phase_enter(struct hub *hub, enum hub_phase phase, uint64_t time_ns)
{
    static const char *const texts[] = {"running", "stopping: no new messages, finishing what is in flight",
                                        "stopping: unregistering from the brokers", "stopped"};
    LOG_INFO(WHO, "%s", texts[phase]);
    hub->phase = phase;
    snapshot_set_state(hub->table, TABLE_HUB_DRAINING);
    hub->phase_deadline_ns = event_loop_now_ns(hub->loop) + time_ns;
    if (phase != HUB_STOPPED)
        loop_timer_schedule(&hub->stop_timer, event_loop_now_ns(hub->loop));
}

static void on_stop_timer(void *ctx)
{
    struct hub *hub = ctx;
    bool late = event_loop_now_ns(hub->loop) >= hub->phase_deadline_ns;
    if (hub->phase == HUB_DRAINING && (late || ipc_server_is_drained(hub->attach))) {
        mq_client_manager_drain(hub->instances);
        phase_enter(hub, HUB_UNREGISTERING, UNREGISTER_TIME_NS);
    } else if (hub->phase == HUB_UNREGISTERING && (late || mq_client_manager_is_drained(hub->instances))) {
        phase_enter(hub, HUB_STOPPED, 0);
    } else {
        loop_timer_schedule(&hub->stop_timer, event_loop_now_ns(hub->loop) + STOP_CHECK_INTERVAL_NS);
    }
}

static void stop_asked(struct hub *hub, unsigned signal_number)
{
    LOG_INFO(WHO, "signal %u (%s)", signal_number, strsignal((int)signal_number));
    if (hub->phase != HUB_RUNNING) {
        phase_enter(hub, HUB_STOPPED, 0);
        return;
    }
    notify("STOPPING=1");
    ipc_server_drain(hub->attach);
    phase_enter(hub, HUB_DRAINING, (uint64_t)hub->config->hub.drain_timeout_ms * NS_PER_MS);
}

static void on_signal(void *ctx, unsigned events)
{
    struct hub *hub = ctx;
    struct signalfd_siginfo info;
    (void)events;
    while (read(hub->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(hub);
        else
            stop_asked(hub, info.ssi_signo);
    }
}

/* ---- starting, in order ---- */

static int start_process(struct hub *hub)
{
    struct rlimit files;
    (void)hub;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    return 0;
}

static int start_directories(struct hub *hub)
{
    const char *runtime_dir = hub->config->hub.runtime_dir.text, *state_dir = hub->config->hub.state_dir.text;
    char *problem = hub->problem;
    int r = directory_open(&hub->runtime_dirfd, runtime_dir, RUNTIME_DIR_MODE, 0755, problem, sizeof(hub->problem));
    if (r == 0)
        r = directory_lock(&hub->runtime_lock, hub->runtime_dirfd, runtime_dir, problem, sizeof(hub->problem));
    if (r == 0)
        r = directory_open(&hub->state_dirfd, state_dir, STATE_DIR_MODE, STATE_DIR_MODE, problem, sizeof(hub->problem));
    if (r == 0)
        r = directory_lock(&hub->state_lock, hub->state_dirfd, state_dir, problem, sizeof(hub->problem));
    return r;
}

static int start_store(struct hub *hub)
{
    return store_open(&hub->store, hub->state_dirfd);
}

static int start_loop(struct hub *hub)
{
    return event_loop_new(&hub->loop);
}

static int start_signals(struct hub *hub)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    hub->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (hub->signal_fd < 0)
        return -errno;
    int r = loop_io_init(&hub->signals, hub->loop, hub->signal_fd, LOOP_READ, on_signal, hub);
    if (r == 0)
        r = loop_io_start(&hub->signals);
    return r == 0 ? loop_timer_init(&hub->stop_timer, hub->loop, on_stop_timer, hub) : r;
}

static int start_instances(struct hub *hub)
{
    const struct mq_client_manager_ops ops = {
        .cluster_of = cluster_of,
        .default_instance_name = default_instance_name,
        .changed = on_changed,
        .route_store = {.load = load_kept, .save = save_kept, .forget = forget_kept, .in_use = route_is_in_use, .ctx = hub},
        .ctx = hub,
    };
    fill_client_configs(hub);
    int r = mq_client_manager_new(&hub->instances, hub->loop, &ops);
    if (r == 0)
        r = loop_timer_init(&hub->unused_timer, hub->loop, on_unused_timer, hub);
    if (r == 0) {
        hub->started_ns = event_loop_now_ns(hub->loop);
        loop_timer_schedule(&hub->unused_timer, hub->started_ns + UNUSED_CHECK_INTERVAL_NS);
    }
    return r;
}

static int start_table(struct hub *hub)
{
    const struct snapshot_sources sources = {
        .loop = hub->loop, .instances = hub->instances, .config = hub->config, .store = hub->store, .epoch = hub->epoch};
    int r = snapshot_new(&hub->table, &sources);
    if (r < 0)
        snprintf(hub->problem, sizeof(hub->problem), "cannot write the instance table in %s, which takes about 15 MB: %s",
                 hub->config->hub.runtime_dir.text, strerror(-r));
    return r;
}

static int start_attach(struct hub *hub)
{
    const struct ipc_config config = {
        .runtime_dir = hub->config->hub.runtime_dir.text,
        .epoch = hub->epoch,
        .max_clients = (uint32_t)hub->config->hub.max_clients,
        .max_clients_per_uid = (uint32_t)hub->config->hub.max_clients_per_uid,
        .max_bytes_per_uid = (uint64_t)hub->config->hub.max_bytes_per_uid,
        .is_allowed = may_attach,
        .changed = on_changed,
        .ctx = hub,
    };
    int r = ipc_server_new(&hub->attach, &config, hub->loop, hub->instances);
    if (r == 0)
        snapshot_set_clients(hub->table, hub->attach);
    return r;
}

static int start_all(struct hub *hub)
{
    static const struct {
        const char *name;
        int (*start)(struct hub *hub);
    } steps[] = {
        {"process", start_process},            /* limits and signals that kill */
        {"directories", start_directories},    /* held, and locked against a second hub */
        {"store", start_store},                /* the only fork; from here on there are threads */
        {"loop", start_loop},                  /* time, readiness, timers */
        {"signals", start_signals},            /* as events of the loop */
        {"client instances", start_instances}, /* nothing is contacted yet */
        {"instance table", start_table},       /* readers see a hub that starts */
        {"attach socket", start_attach},       /* last: who comes in finds everything there */
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int r = steps[i].start(hub);
        if (r < 0) {
            if (hub->problem[0])
                LOG_ERROR(WHO, "not started: %s", hub->problem);
            else
                LOG_ERROR(WHO, "not started: %s: %s", steps[i].name, strerror(-r));
            return r;
        }
    }
    return 0;
}

static void close_descriptor(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void stop_all(struct hub *hub)
{
    hub->table = snapshot_free(hub->table);
    ipc_server_free(hub->attach);
    mq_client_manager_free(hub->instances);
    loop_timer_deinit(&hub->unused_timer);
    loop_timer_deinit(&hub->stop_timer);
    loop_io_deinit(&hub->signals);
    close_descriptor(hub->signal_fd);
    event_loop_free(hub->loop);
    store_close(hub->store);
    close_descriptor(hub->state_lock);
    close_descriptor(hub->state_dirfd);
    close_descriptor(hub->runtime_lock);
    close_descriptor(hub->runtime_dirfd);
    hub_config_free(hub->config);
}

static int run_rounds(struct hub *hub)
{
    int r = 0;
    while (r == 0 && hub->phase != HUB_STOPPED)
        r = event_loop_round(hub->loop, true);
    if (r < 0)
        LOG_ERROR(WHO, "ends: %s", strerror(-r));
    return r;
}

int hub_run(struct hub_config *config, const struct config_arguments *arguments)
{
    struct hub hub = {.config = config,
                      .arguments = arguments,
                      .epoch = mono_now_ns(),
                      .runtime_dirfd = -1,
                      .runtime_lock = -1,
                      .state_dirfd = -1,
                      .state_lock = -1,
                      .signal_fd = -1};
    apply_log_settings(config);
    int r = events_init(table_section_info[TABLE_EVENTS].default_capacity);
    LOG_INFO(WHO, "rmqhubd " RMQHUB_VERSION ", pid %ld, on %s", (long)getpid(), config->hub.runtime_dir.text);
    log_config(config);
    if (r == 0)
        r = start_all(&hub);
    if (r == 0) {
        snapshot_set_state(hub.table, TABLE_HUB_RUNNING);
        last_good_compare(hub.store, config);
        last_good_save(hub.store, config);
        LOG_INFO(WHO, "ready");
        notify("READY=1");
        r = run_rounds(&hub);
    }
    stop_all(&hub);
    events_deinit();
    return r < 0 ? HUB_EXIT_FAILED : HUB_EXIT_OK;
}
