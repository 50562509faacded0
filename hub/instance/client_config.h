/*
 * Settings of one cluster's client instances, as the configuration file gives
 * them, and the rules by which an instance gets its name (4.9.3's ClientConfig).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub/remoting/tls_settings.h"
#include "shm/message/validators.h"

#define CLIENT_ID_MAX 255 /* bytes of a clientId */
#define INSTANCE_NAME_MAX 127
#define UNIT_NAME_MAX 63
#define NAMESRV_ADDR_MAX 1023 /* bytes of the whole list */

#define DEFAULT_INSTANCE_NAME "DEFAULT"

struct client_config {
    char client_ip[64];                       /* "": found by client_config_find_ip() */
    uint32_t poll_name_server_interval_ms;    /* 30000 */
    uint32_t heartbeat_broker_interval_ms;    /* 30000 */
    uint32_t connect_timeout_ms;              /* 3000 */
    uint32_t mq_client_api_timeout_ms;        /* 3000: route, heartbeat, unregister */
    uint32_t client_channel_max_idle_time_ms; /* 120000; 0: never */
    uint32_t linger_ms;                       /* 60000; 0: off */
    uint32_t idle_expiry_topic_ms;            /* 3600000 */
    uint32_t socket_snd_buf_bytes;            /* 0: the kernel's */
    uint32_t socket_rcv_buf_bytes;
    uint32_t write_buffer_high_water_mark_bytes; /* 0: 1 MiB; senders are held back above it */
    uint32_t write_buffer_low_water_mark_bytes;  /* 0: half of the high mark */
    uint32_t client_async_semaphore;             /* 65535: requests awaiting a reply, per instance */
    uint32_t client_oneway_semaphore;            /* 65535: oneway requests not yet written, per instance */
    uint32_t tcp_user_timeout_ms;                /* 20000; 0: the kernel's */
    uint32_t max_response_bytes;                 /* 0: 16 MiB; a longer frame closes the connection */
    char create_topic_key[TOPIC_MAX_LENGTH + 1]; /* TBW102 */
    uint32_t default_topic_queue_nums;           /* 4 */
    char unit_name[UNIT_NAME_MAX + 1];           /* of clients that name none */
    char name_space[NAME_SPACE_MAX_LENGTH + 1];  /* of producers that set none; an MQ_INST_ endpoint's label stands here, too */
    char namesrv_domain[256];                    /* jmenv.tbsite.net; counts without a nameserver list only */
    char namesrv_domain_subgroup[64];            /* nsaddr */
    struct tls_settings tls;
    char credentials_file[TLS_PATH_MAX + 1]; /* empty: requests are not signed */
    int32_t protocol_version;                /* 0: 399, as 4.9.3 */
    bool json_header;                        /* requests with a JSON header; default binary */
};

/** 4.9.3's defaults. */
void client_config_init(struct client_config *config);

/** The address 4.9.3 puts into the clientId: first suitable IPv4 of the interfaces in their order. Always writes something. */
void client_config_find_ip(char *out, size_t cap);

/** Where generated instance names outlive the hub. */
struct instance_name_keeper {
    /** The name kept in this boot for @p key_text (one line), drawn as pid#nanotime when there is none. 0 | -errno. NULL: no store. */
    int (*keep)(void *ctx, const char *key_text, char *out, size_t cap);
    void *ctx;
};

/**
 * 4.9.3's changeInstanceNameToPID: the name DEFAULT becomes pid#nanotime, any other stays. Once per instance configuration
 * (@p key_text) and boot: @p keeper remembers; NULL, or one that fails: drawn anew, unlike any drawn before.
 */
void client_config_change_instance_name_to_pid(char *name, size_t cap, const struct instance_name_keeper *keeper, const char *key_text);

/** clientIP@instanceName[@unitName]. 0 | -ENAMETOOLONG. */
int client_config_build_client_id(char *out, size_t cap, const char *client_ip, const char *instance_name, const char *unit_name);
