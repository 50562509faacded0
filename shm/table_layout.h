/*
 * The instance table: one file in the runtime directory that the hub alone writes
 * and that anyone permitted may read, hub alive or not.
 *
 *   0      file_header      written once per hub, except `generation`
 *   4096   half 0           half_header, then one array of rows per section
 *   ...    half 1           the same
 *
 * `generation` counts snapshots; snapshot g lies whole in half g & 1. The next one
 * is written into the other half, which is then named by storing g + 1. A reader
 * copies the half that the generation names and is done if the generation did not
 * move meanwhile. A hub killed at any instruction leaves the last whole snapshot.
 *
 * Times are ages in milliseconds at the moment of the snapshot (TABLE_NEVER: it did
 * not happen), so that neither a wall clock step nor another boot changes them.
 * Text is cut to its field and always terminated by the writer; a reader terminates
 * it again, because nothing in a file is to be trusted. Fields are little-endian.
 * New fields go into `reserved`; anything else changes TABLE_VERSION_MAJOR.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TABLE_MAGIC UINT64_C(0x314c425448514d52) /* "RMQHTBL1" */
#define TABLE_VERSION_MAJOR 2u
#define TABLE_VERSION_MINOR 0u
#define TABLE_HEADER_BYTES 4096u
#define TABLE_SECTION_SLOTS 32u
/** Largest accepted file: every section at its largest capacity stays far below. */
#define TABLE_MAX_FILE_BYTES (UINT64_C(256) << 20)
#define TABLE_NEVER INT64_C(-1)
/** "No row" where a row refers to another section by index. */
#define TABLE_NO_INDEX UINT32_MAX

/** Numbers are part of the layout and never reused. */
enum table_section {
    TABLE_INSTANCES,
    TABLE_GROUPS,
    TABLE_CLIENTS,
    TABLE_ROUTES,
    TABLE_BROKERS,
    TABLE_CONNECTIONS,
    TABLE_HEARTBEATS,
    TABLE_PENDING,
    TABLE_TASKS,
    TABLE_COUNTERS,
    TABLE_CONFIG,
    TABLE_PROBLEMS,
    TABLE_EVENTS, /* a ring: row of sequence number s is at s % capacity */
    TABLE_SERVICES,
    TABLE_REQUESTS,
    TABLE_SECTION_COUNT
};

enum table_hub_state { TABLE_HUB_STARTING, TABLE_HUB_RUNNING, TABLE_HUB_DRAINING, TABLE_HUB_STOPPED };
enum table_service_state { TABLE_CREATE_JUST, TABLE_RUNNING, TABLE_SHUTDOWN_ALREADY, TABLE_START_FAILED };
enum table_group_state { TABLE_GROUP_ACTIVE, TABLE_GROUP_LINGERING, TABLE_GROUP_UNREGISTERING };
enum table_client_state { TABLE_CLIENT_ATTACHED, TABLE_CLIENT_DETACHED, TABLE_CLIENT_ENDING, TABLE_CLIENT_QUARANTINED };
enum table_route_state { TABLE_ROUTE_MISSING, TABLE_ROUTE_OK, TABLE_ROUTE_NO_WRITABLE_QUEUE };
enum table_route_source { TABLE_ROUTE_FROM_NONE, TABLE_ROUTE_FROM_NAMESERVER, TABLE_ROUTE_FROM_DEFAULT_TOPIC, TABLE_ROUTE_FROM_CACHE };
enum table_channel_state {
    TABLE_CHANNEL_IDLE,
    TABLE_CHANNEL_RESOLVING,
    TABLE_CHANNEL_CONNECTING,
    TABLE_CHANNEL_CONNECTED,
    TABLE_CHANNEL_BACKOFF,
    TABLE_CHANNEL_CLOSED
};
enum table_channel_role { TABLE_ROLE_BROKER, TABLE_ROLE_NAMESERVER, TABLE_ROLE_BROKER_DATA };
enum table_request_mode { TABLE_MODE_SYNC, TABLE_MODE_ASYNC, TABLE_MODE_ONEWAY, TABLE_MODE_INTERNAL };
enum table_request_state { TABLE_REQUEST_WAITS_FOR_ROUTE, TABLE_REQUEST_WAITS_FOR_CHANNEL, TABLE_REQUEST_ON_WIRE };
enum table_counter_kind { TABLE_KIND_COUNTER, TABLE_KIND_GAUGE };
enum table_config_source { TABLE_CONFIG_DEFAULT, TABLE_CONFIG_FILE, TABLE_CONFIG_ENVIRONMENT, TABLE_CONFIG_COMMAND_LINE };
enum table_tls { TABLE_TLS_OFF, TABLE_TLS_VERIFIED, TABLE_TLS_INSECURE, TABLE_TLS_NO_CONTEXT, TABLE_TLS_NOT_YET };
enum table_severity { TABLE_SEVERITY_WARN, TABLE_SEVERITY_CRIT };

struct table_section_desc {
    uint64_t offset; /* from the start of a half */
    uint32_t row_bytes;
    uint32_t capacity; /* rows */
};

struct table_file_header {
    uint64_t magic;
    uint16_t version_major, version_minor;
    uint32_t header_bytes;
    uint64_t fingerprint; /* of every offset and size below */
    uint64_t file_bytes, half_bytes;
    uint32_t hub_pid, section_count;
    uint8_t boot_id[16]; /* ages between two clocks of one boot may use the monotonic one */
    struct table_section_desc section[TABLE_SECTION_SLOTS];
    uint8_t reserved0[448];
    uint64_t generation; /* alone on its line; 0: no snapshot yet */
    uint8_t reserved1[3064];
};

/** What is known of the hub itself. */
struct table_hub {
    uint32_t pid;
    uint8_t state; /* enum table_hub_state */
    uint8_t reserved0[3];
    uint64_t epoch;        /* changes with every hub */
    int64_t start_wall_ms; /* since the Unix epoch */
    int64_t up_ms;
    uint64_t rss_bytes;     /* whole process, shared pages included */
    uint64_t private_bytes; /* without pages shared with clients or the table */
    uint64_t segment_bytes; /* clients' segments, both kinds */
    uint64_t cpu_us;        /* user + system since start */
    uint64_t loop_rounds, loop_wakeups;
    uint64_t loop_worst_round_ns;
    uint32_t open_fds, fd_limit;
    uint32_t linger_ms;
    uint32_t uid;
    char version[32];
    char host[64];
    char cluster[64]; /* the default cluster */
    char namesrv_addr[256];
    char runtime_dir[96];
    char state_dir[256];
    char config_file[256];
    uint32_t problems_crit, problems_warn;
    uint32_t insecure_instances; /* whose TLS verifies nothing */
    uint32_t extra_connections;  /* that exist only because TLS settings or credentials differ */
    uint8_t reserved1[240];
};

struct table_half_header {
    uint64_t generation;        /* of the snapshot in this half */
    uint64_t published_mono_ns; /* CLOCK_MONOTONIC */
    int64_t published_wall_ms;
    uint64_t next_event_seq;
    uint32_t count[TABLE_SECTION_SLOTS];   /* rows in use; TABLE_EVENTS: unused */
    uint32_t dropped[TABLE_SECTION_SLOTS]; /* rows that did not fit */
    struct table_hub hub;
    uint8_t reserved[256];
};

/** One MQClientInstance. */
struct table_instance {
    char client_id[256];
    char cluster[64];
    char namesrv_addr[256];
    char unit_name[64];
    uint8_t state; /* enum table_service_state */
    uint8_t tls;   /* enum table_tls */
    uint8_t reserved0[2];
    uint32_t factory_index; /* 4.9.3's: how many were created before it */
    uint32_t groups, clients, handles, topics, brokers, connections, pending;
    uint32_t extra_connections; /* all of them, if it exists only because TLS settings or credentials differ */
    uint32_t async_in_use, async_limit, oneway_in_use, oneway_limit;
    uint64_t stored, not_stored, unknown;
    int64_t start_age_ms;
    int64_t heartbeat_age_ms;
    uint64_t refused_async, refused_oneway; /* requests that found no credit */
    uint64_t late_replies, wrong_channel;
    uint64_t suspicions;        /* connections that were asked for a sign of life, because requests met silence */
    uint64_t scans, scan_found; /* the backstop: runs, and what the deadlines had missed */
    uint64_t route_polls, topics_expired;
    uint64_t namesrv_requests, namesrv_failures, namesrv_failovers, namesrv_silences, namesrv_changes;
    int64_t namesrv_ok_age_ms;
    char namesrv_chosen[64];
    char namesrv_list[256];  /* in use, in the order of choice */
    char discovery_url[256]; /* empty: the list is configured */
    uint64_t discovery_fetches, discovery_answers;
    int64_t discovery_ok_age_ms;
    uint8_t discovery_unconfirmed; /* the list is that of an earlier run */
    uint8_t reserved3[7];
    char discovery_error[128];
    char tls_identity[64]; /* tells two contexts apart; empty: none */
    char credentials[64];  /* tells two credentials apart, gives none away; empty: none */
    char marker_group[64];
    char last_error[128];
    uint8_t reserved1[128];
};

/** One producer group in one instance. */
struct table_group {
    char group[256];
    uint32_t instance; /* index into TABLE_INSTANCES */
    uint32_t uid;
    uint32_t clients;     /* processes */
    uint32_t handles;     /* of these processes */
    uint32_t outstanding; /* requests without an outcome */
    uint8_t state;        /* enum table_group_state */
    uint8_t reserved0[3];
    int64_t linger_left_ms; /* TABLE_NEVER: not lingering */
    int64_t start_age_ms;
    uint64_t accepted, stored, not_stored, unknown;
    uint8_t reserved1[64];
};

/** One attached (or recently attached) process. */
struct table_client {
    uint64_t number; /* given by the hub */
    uint32_t pid, uid, gid;
    uint8_t state; /* enum table_client_state */
    uint8_t lanes;
    uint16_t abi_major, abi_minor;
    uint16_t reserved0;
    uint32_t registrations, in_flight;
    uint64_t body_bytes; /* of all messages so far */
    uint64_t segment_bytes;
    uint64_t accepted, stored, not_stored, unknown;
    int64_t attach_age_ms;
    int64_t last_send_age_ms;
    char command[32];
    char group[256];  /* its first producer group */
    char reason[160]; /* why it is quarantined */
    uint8_t reserved1[40];
};

struct table_queue_data {
    uint32_t broker; /* index into TABLE_BROKERS */
    uint16_t read_queues, write_queues;
    uint8_t perm;
    uint8_t reserved[7];
};

#define TABLE_ROUTE_QUEUE_DATAS 8u

/** One topic as one instance knows it. */
struct table_route {
    char topic[192];
    uint32_t instance;
    uint8_t state;  /* enum table_route_state */
    uint8_t source; /* enum table_route_source */
    uint8_t perm;   /* 4 read, 2 write, 1 inherit; all brokers together */
    uint8_t ordered;
    uint32_t brokers, read_queues, write_queues;
    uint32_t references; /* clients' handles */
    uint32_t fetches, failures, failures_in_a_row;
    uint32_t queue_datas; /* in the route; the first TABLE_ROUTE_QUEUE_DATAS follow */
    int64_t fetched_age_ms;
    int64_t changed_age_ms;
    int64_t used_age_ms;
    int64_t expires_in_ms; /* when nobody uses it; TABLE_NEVER: it stays */
    uint8_t unconfirmed;   /* from the cache; no nameserver has answered for it in this run */
    uint8_t reserved0[3];
    uint32_t changes;
    char from[64]; /* nameserver address */
    char last_error[64];
    struct table_queue_data queue_data[TABLE_ROUTE_QUEUE_DATAS];
    uint8_t reserved[32];
};

/** One broker address in one instance. */
struct table_broker {
    char name[128];
    char cluster[64];
    char address[64];
    uint32_t instance;
    uint8_t state; /* enum table_channel_state of its channel */
    uint8_t reserved0[3];
    int64_t id; /* 0: master */
    uint32_t connections, pending;
    int64_t oldest_pending_age_ms;
    uint64_t sends, stored, not_stored, unknown;
    int64_t heartbeat_age_ms;
    char last_error[96];
    uint8_t reserved1[64];
};

struct table_connection {
    uint32_t instance;
    uint8_t state, role; /* enum table_channel_state, table_channel_role */
    uint8_t tls;         /* enum table_tls */
    uint8_t tls_resumed;
    int32_t fd;
    uint32_t pending;
    char peer_name[128]; /* broker name, empty for a nameserver */
    char peer_address[64];
    char local_address[64];
    int64_t state_age_ms;
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    uint64_t send_queue_bytes;
    uint64_t connects, reconnects, connect_failures;
    uint64_t closes, exceptions, idle_closes; /* with connects: the events of 4.9.3's ChannelEventListener */
    uint64_t held_back;                       /* senders above the high water mark */
    int64_t next_try_ms;                      /* until the next attempt; TABLE_NEVER: none planned */
    int64_t last_in_age_ms;
    uint64_t tls_resumptions; /* of earlier sessions, over all connections to this address */
    uint8_t is_held_back, is_suspect;
    uint8_t reserved0[6];
    char tls_protocol[16];
    char tls_cipher[64];
    char tls_peer[128]; /* whom the certificate names */
    char last_error[128];
    uint8_t reserved1[64];
};

/** Heartbeats of one instance to one broker address. */
struct table_heartbeat {
    uint32_t instance;
    uint32_t rt_us;
    char broker_name[128];
    char address[64];
    int64_t broker_id;
    int64_t last_ok_age_ms;
    int64_t next_in_ms;
    uint64_t ok, failed;
    uint32_t history;                     /* bit 0: the newest; 1: answered */
    uint32_t history_bits;                /* how many are known, at most 20 */
    uint32_t last_late_ms, worst_late_ms; /* sent so long after it was due */
    uint32_t coalesced;                   /* due while one was on its way */
    int32_t broker_version;               /* as the reply's header gives it; 0: no reply yet */
    char last_error[96];
    uint8_t reserved[32];
};

/** One request that waits to be written or answered. */
struct table_pending {
    int32_t opaque, code;
    uint8_t mode, state; /* enum table_request_mode, table_request_state */
    uint8_t reserved0[2];
    uint32_t instance;
    int64_t age_ms;
    int64_t deadline_in_ms; /* may be negative: late */
    uint64_t client;        /* table_client.number; 0: the hub's own request */
    uint32_t pid;           /* of that client */
    uint32_t reserved1;
    char broker_name[64];
    char address[64];
    char topic[64];
    char group[64];
    uint8_t reserved2[24];
};

struct table_task {
    char name[64];
    uint32_t instance; /* TABLE_NO_INDEX: the hub's own */
    uint32_t last_us, worst_us;
    uint32_t last_late_us, worst_late_us; /* start behind the plan */
    int32_t last_error;                   /* errno of the last run that failed, 0: none did */
    int64_t period_ms;
    int64_t last_run_age_ms;
    int64_t next_in_ms;
    uint64_t runs, skipped, errors;
    uint8_t reserved1[32];
};

struct table_counter {
    char name[64]; /* unit at its end: _bytes, _ns; none: a number */
    uint64_t value;
    uint8_t kind; /* enum table_counter_kind */
    uint8_t reserved[7];
};

struct table_config {
    char key[64]; /* section.key */
    char value[256];
    char origin[128]; /* file:line, or empty */
    char unit[16];
    uint8_t source; /* enum table_config_source */
    uint8_t reloadable;
    uint8_t reserved[46];
    char note[192]; /* why it has no effect here; empty: it has */
};

struct table_problem {
    char rule[32];
    char object[256];
    char text[256];
    uint8_t severity; /* enum table_severity */
    uint8_t reserved0[7];
    int64_t since_age_ms;
    uint8_t reserved1[80];
};

/** A service of one instance that has a queue: the pull message service. */
struct table_service {
    char name[64];
    char state[24];
    uint32_t instance;
    uint32_t queued, delayed, tasks, queued_most;
    uint32_t reserved0;
    uint64_t executed, ran_tasks, dropped, cancelled, refused, errors;
    uint8_t reserved1[64];
};

/** Requests of one code that brokers sent to one instance. */
struct table_request {
    uint32_t instance;
    int32_t code;
    char name[64];
    uint64_t received;
    uint64_t answered;
    uint64_t ignored; /* oneway: there is nothing to answer */
    uint64_t refused; /* malformed, or not supported */
    uint64_t limited; /* more than its rate allows */
    uint64_t too_big;
    uint8_t reserved[64];
};

/** Repeats of one line are one event with a count. */
struct table_event {
    uint64_t seq; /* from 0, never reused by one hub */
    int64_t first_wall_ms, last_wall_ms;
    uint32_t count;
    uint8_t level; /* enum log_level */
    uint8_t reserved[3];
    char who[64];
    char text[160];
};

/** A field of a row: what the fingerprint covers, and where text has to be terminated. */
struct table_field {
    uint32_t offset, bytes;
    uint8_t is_text;
};

struct table_section_info {
    const char *name;
    uint32_t row_bytes;
    uint32_t default_capacity;
    const struct table_field *fields; /* ended by bytes == 0 */
};

/** Row size, default capacity and fields of each section. */
extern const struct table_section_info table_section_info[TABLE_SECTION_COUNT];
extern const struct table_field table_hub_fields[];

/** Hash over all offsets and sizes of this build. */
uint64_t table_fingerprint(void);

/**
 * Lays out a file for the given capacities (NULL: defaults): fills section[], half_bytes and
 * file_bytes, and the constant fields of the header. 0, or -EOVERFLOW when it would be too large.
 */
int table_layout_init(struct table_file_header *header, const uint32_t capacity[TABLE_SECTION_COUNT]);
