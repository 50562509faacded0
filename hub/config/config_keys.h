/*
 * The one table of configuration keys. Parsing, limits, units, defaults, what a
 * reload may change, the effective listing, docs/configuration.md and the sample
 * file all come from these rows; there is no second list to forget.
 *
 * X(name, type, unit, min, max, default, when, help)
 *
 * type     one of the CONFIG_* types of config_value.h; min and max bound a number, the length of a
 *          text, or the entries of a list
 * default  as it would stand in the file; "" means empty or derived, and help says which
 * when     RELOAD   SIGHUP applies it
 *          CONTENT  a file: SIGHUP reads it again, but another path is RESTART
 *          RESTART  fixed for the life of a hub
 *          NOT_APPLICABLE  a setting of the Java client without meaning here: its value is checked and shown,
 *                   and help says why it does nothing
 *          LATER    a name that is reserved but not honoured by this version: setting it is an error,
 *                   because a setting that silently does nothing is worse than a refusal
 */
#pragma once

#include "shm/message/validators.h"

#define HUB_KEYS(X) \
    X(runtime_dir, DIR, "", 0, 95, "", RESTART, \
      "Sockets, lock and instance table. Default: $RMQHUB_RUNTIME_DIR, else /run/rmqhub as root and " \
      "$XDG_RUNTIME_DIR/rmqhub otherwise. Created with mode 0750.") \
    X(state_dir, DIR, "", 0, 1023, "", RESTART, \
      "What outlives a hub: routes, brokers' addresses, the fetched nameserver list, instance names and the last good " \
      "configuration. Default: /var/lib/rmqhub as root, else $XDG_STATE_HOME/rmqhub or ~/.local/state/rmqhub. " \
      "Created with mode 0700.") \
    X(allow_uids, USERS, "", 0, 64, "", RELOAD, \
      "Users that may attach: numbers or names, comma-separated, or * for every user. The hub's own user and root " \
      "always may. They must be able to enter runtime_dir, too: its mode 0750 admits its group, chmod 0755 admits all. " \
      "Default: nobody else.") \
    X(allow_gids, GROUPS, "", 0, 64, "", RELOAD, "Groups whose members may attach: numbers or names, comma-separated, or *.") \
    X(arena_max_bytes, TEXT, "bytes", 0, 32, "", LATER, "Largest segment that one client may bring.") \
    X(admin_uids, USERS, "", 0, 64, "", LATER, "Users that may act on the hub beside its own user and root.") \
    X(max_clients, NUMBER, "", 1, 1024, "1024", RESTART, "Attached processes at a time.") \
    X(max_clients_per_uid, NUMBER, "", 1, 1024, "512", RESTART, "Attached processes of one user at a time.") \
    X(max_bytes_per_uid, NUMBER, "bytes", 1048576, 17179869184, "1073741824", RESTART, \
      "Shared memory that all attached processes of one user may have together.") \
    X(linger_ms, NUMBER, "ms", 0, 300000, "60000", RELOAD, \
      "How long a producer group stays registered after its last client left, so that a restarted process finds " \
      "it; 0 unregisters at once.") \
    X(idle_expiry_topic_ms, NUMBER, "ms", 60000, 604800000, "3600000", RESTART, \
      "A topic that nobody used for this long is no longer refreshed from the nameserver, and leaves memory and " \
      "state_dir.") \
    X(drain_timeout_ms, NUMBER, "ms", 0, 60000, "5000", RELOAD, "After SIGTERM, how long messages in flight may still finish.") \
    X(log_level, LOG_LEVEL, "", 0, 0, "info", RELOAD, "Least severe line written to stderr.") \
    X(log_format, LOG_FORMAT, "", 0, 0, "text", RELOAD, "Plain text, or one JSON object a line.") \
    X(metrics_listen, TEXT, "", 0, 255, "", LATER, "Where Prometheus metrics are served.")

#define CLUSTER_KEYS(X) \
    X(namesrv_addr, ADDRESSES, "", 1, 16, "", RESTART, \
      "Nameservers, as host:port;host:port, or one http://host:port endpoint. All are of one cluster; the hub uses one and " \
      "fails over. Without it $NAMESRV_ADDR counts, and without that the list is fetched by HTTP (namesrv_domain).") \
    X(namesrv_domain, DOMAIN, "", 1, 255, "jmenv.tbsite.net", RESTART, \
      "Host that gives the nameserver list over HTTP when namesrv_addr is missing; port 8080 unless named. The list is " \
      "fetched at start, after 10 s, then every 2 minutes.") \
    X(namesrv_domain_subgroup, NAME, "", 1, 63, "nsaddr", RESTART, \
      "Last part of that URL: http://namesrv_domain:8080/rocketmq/namesrv_domain_subgroup.") \
    X(unit_name, NAME, "", 0, 63, "", RESTART, "Unit of clients that name none; part of the client id.") \
    X(namespace, TOPIC, "", 0, NAME_SPACE_MAX_LENGTH, "", RESTART, \
      "Namespace of producers that set none: put before groups and topics as NAMESPACE%. Default: none, or that of an " \
      "MQ_INST_ endpoint in namesrv_addr.") \
    X(client_ip, IPV4, "", 0, 15, "", RESTART, \
      "First part of the client id. Default: chosen as the Java client does, the first address that is neither " \
      "127.0.* nor 192.168.*.") \
    X(poll_name_server_interval_ms, NUMBER, "ms", 100, 3600000, "30000", RESTART, "Period of the route refresh.") \
    X(heartbeat_broker_interval_ms, NUMBER, "ms", 1000, 90000, "30000", RESTART, \
      "Period of heartbeats; a broker forgets a client after 120 s without one.") \
    X(mq_client_api_timeout_ms, NUMBER, "ms", 100, 60000, "3000", RESTART, \
      "Time that an answer to a route request, a heartbeat or an unregister may take.") \
    X(create_topic_key, TOPIC, "", 1, TOPIC_MAX_LENGTH, "TBW102", RESTART, \
      "Topic whose queues a topic that does not exist yet takes, for producers that set none.") \
    X(default_topic_queue_nums, NUMBER, "", 1, DEFAULT_TOPIC_QUEUE_NUMS_MAX, "4", RESTART, \
      "Queues that such a topic gets at most, for producers that set no number.") \
    X(connect_timeout_ms, NUMBER, "ms", 100, 60000, "3000", RESTART, "Time a TCP connect may take.") \
    X(client_channel_max_idle_time_ms, NUMBER, "ms", 0, 3600000, "120000", RESTART, \
      "A connection without traffic for this long is closed; 0 never closes one.") \
    X(tcp_user_timeout_ms, NUMBER, "ms", 0, 3600000, "20000", RESTART, \
      "A connection whose sent bytes stay unacknowledged for this long is closed (TCP_USER_TIMEOUT); 0 leaves it to the " \
      "kernel, which takes about 15 minutes.") \
    X(socket_snd_buf_bytes, NUMBER, "bytes", 0, 16777216, "0", RESTART, "SO_SNDBUF of broker sockets; 0 leaves it to the kernel.") \
    X(socket_rcv_buf_bytes, NUMBER, "bytes", 0, 16777216, "0", RESTART, "SO_RCVBUF of broker sockets; 0 leaves it to the kernel.") \
    X(write_buffer_high_water_mark_bytes, NUMBER, "bytes", 65536, 67108864, "1048576", RESTART, \
      "Unsent bytes above which a connection takes no more messages; they wait in the hub until their deadline.") \
    X(write_buffer_low_water_mark_bytes, NUMBER, "bytes", 0, 67108864, "0", RESTART, \
      "Unsent bytes below which it takes messages again; 0: half of the high mark. Not above the high mark.") \
    X(client_async_semaphore, NUMBER, "", 1, 65535, "65535", RESTART, "Requests of one instance that may await a reply at a time.") \
    X(client_oneway_semaphore, NUMBER, "", 1, 65535, "65535", RESTART, "Oneway requests of one instance that may be unwritten at a time.") \
    X(use_tls, BOOL, "", 0, 0, "false", RESTART, \
      "TLS 1.2 or 1.3 towards nameservers and brokers; never falls back to plain text. Server certificates are verified: " \
      "chain, dates, and host name or address.") \
    X(tls_ca_file, FILE, "", 0, 1023, "", CONTENT, \
      "Certificates that are trusted, PEM. Default: those that this machine's OpenSSL trusts.") \
    X(tls_cert_file, FILE, "", 0, 1023, "", CONTENT, "The hub's own certificate and its chain, PEM, for servers that ask for one.") \
    X(tls_key_file, FILE, "", 0, 1023, "", CONTENT, "The key of tls_cert_file, PEM. Mode 0600, owned by the hub's user or root.") \
    X(tls_key_password_file, FILE, "", 0, 1023, "", CONTENT, \
      "The password of tls_key_file, in one line. Mode 0600, owned by the hub's user or root.") \
    X(tls_server_name, HOST, "", 0, 255, "", RESTART, \
      "Name that every server's certificate must carry. Default: the host or address that was dialled.") \
    X(tls_insecure, BOOL, "", 0, 0, "false", RESTART, \
      "Accepts every certificate, as the Java client does by default: whoever is on the way can then read and change " \
      "messages. For tests only; shown as a problem wherever the hub's state is shown.") \
    X(credentials_file, FILE, "", 0, 1023, "", CONTENT, \
      "Access key and secret key with which requests are signed (ACL). Mode 0600, owned by the hub's user or root, no symbolic link. " \
      "Lines access_key = ..., secret_key = ... and, if there is one, security_token = ...; 4.9.3's names AccessKey, SecretKey and " \
      "SecurityToken do as well.") \
    X(client_worker_threads, NUMBER, "", 1, 1024, "4", NOT_APPLICABLE, "One thread does the work of all connections.") \
    X(client_callback_executor_threads, NUMBER, "", 0, 1024, "0", NOT_APPLICABLE, \
      "Callbacks run in the application's process, by its library.") \
    X(client_close_socket_if_timeout, BOOL, "", 0, 0, "true", NOT_APPLICABLE, \
      "A connection is shared: one late answer does not close it, silence does.") \
    X(client_pooled_byte_buf_allocator_enable, BOOL, "", 0, 0, "false", NOT_APPLICABLE, "There is no Netty and no garbage collector.") \
    X(channel_not_active_interval_ms, NUMBER, "ms", 0, 3600000, "60000", NOT_APPLICABLE, "The Java client never reads it either.") \
    X(persist_consumer_offset_interval_ms, NUMBER, "ms", 1000, 3600000, "5000", NOT_APPLICABLE, "The hub has no consumers yet.") \
    X(pull_time_delay_mills_when_exception, NUMBER, "ms", 0, 3600000, "1000", NOT_APPLICABLE, "The hub has no consumers yet.") \
    X(unit_mode, BOOL, "", 0, 0, "false", LATER, "Marks messages as those of a unit.") \
    X(vip_channel_enabled, BOOL, "", 0, 0, "false", LATER, "Sends to the broker's port less 2.") \
    X(access_channel, NAME, "", 0, 15, "", LATER, "LOCAL or CLOUD: where message traces go.")
