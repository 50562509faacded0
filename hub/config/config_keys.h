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
 *          RESTART  fixed for the life of a hub
 *          LATER    a name that is reserved but not honoured by this version: setting it is an error,
 *                   because a setting that silently does nothing is worse than a refusal
 */
#pragma once

#define HUB_KEYS(X) \
    X(runtime_dir, DIR, "", 0, 95, "", RESTART, \
      "Sockets, lock and instance table. Default: $RMQHUB_RUNTIME_DIR, else /run/rmqhub as root and " \
      "$XDG_RUNTIME_DIR/rmqhub otherwise. Created with mode 0750.") \
    X(state_dir, DIR, "", 0, 1023, "", RESTART, \
      "Cached routes and kept instance names. Default: /var/lib/rmqhub as root, else $XDG_STATE_HOME/rmqhub or " \
      "~/.local/state/rmqhub. Created with mode 0700.") \
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
      "A topic that nobody used for this long is no longer refreshed from the nameserver.") \
    X(drain_timeout_ms, NUMBER, "ms", 0, 60000, "5000", RELOAD, "After SIGTERM, how long messages in flight may still finish.") \
    X(log_level, LOG_LEVEL, "", 0, 0, "info", RELOAD, "Least severe line written to stderr.") \
    X(log_format, LOG_FORMAT, "", 0, 0, "text", RELOAD, "Plain text, or one JSON object a line.") \
    X(metrics_listen, TEXT, "", 0, 255, "", LATER, "Where Prometheus metrics are served.")

#define CLUSTER_KEYS(X) \
    X(namesrv_addr, ADDRESSES, "", 1, 16, "", RESTART, \
      "Nameservers, as host:port;host:port. Required. All are of one cluster; the hub uses one and fails over.") \
    X(unit_name, NAME, "", 0, 63, "", LATER, "Unit of clients that name none.") \
    X(client_ip, IPV4, "", 0, 15, "", RESTART, \
      "First part of the client id. Default: chosen as the Java client does, the first address that is neither " \
      "127.0.* nor 192.168.*.") \
    X(poll_name_server_interval_ms, NUMBER, "ms", 1000, 3600000, "30000", RESTART, "Period of the route refresh.") \
    X(heartbeat_broker_interval_ms, NUMBER, "ms", 1000, 90000, "30000", RESTART, \
      "Period of heartbeats; a broker forgets a client after 120 s without one.") \
    X(connect_timeout_ms, NUMBER, "ms", 100, 60000, "3000", RESTART, "Time a TCP connect may take.") \
    X(client_channel_max_idle_time_ms, NUMBER, "ms", 0, 3600000, "120000", RESTART, \
      "A connection without traffic for this long is closed; 0 never closes one.") \
    X(socket_snd_buf_bytes, NUMBER, "bytes", 0, 16777216, "0", RESTART, "SO_SNDBUF of broker sockets; 0 leaves it to the kernel.") \
    X(socket_rcv_buf_bytes, NUMBER, "bytes", 0, 16777216, "0", RESTART, "SO_RCVBUF of broker sockets; 0 leaves it to the kernel.") \
    X(write_buffer_high_water_mark_bytes, NUMBER, "bytes", 65536, 67108864, "1048576", RESTART, \
      "Unsent bytes above which a connection takes no more messages; they wait in the hub until their deadline.") \
    X(write_buffer_low_water_mark_bytes, NUMBER, "bytes", 0, 67108864, "0", RESTART, \
      "Unsent bytes below which it takes messages again; 0: half of the high mark. Not above the high mark.") \
    X(client_async_semaphore, NUMBER, "", 1, 65535, "65535", RESTART, "Requests of one instance that may await a reply at a time.") \
    X(namespace, TEXT, "", 0, 64, "", LATER, "Default namespace of the cluster's producers.") \
    X(client_oneway_semaphore, TEXT, "", 0, 32, "", LATER, "Oneway requests outstanding in one instance.") \
    X(use_tls, TEXT, "", 0, 16, "", LATER, "TLS towards nameservers and brokers.") \
    X(tls_ca_file, TEXT, "", 0, 1023, "", LATER, "Certificates that are trusted.") \
    X(tls_cert_file, TEXT, "", 0, 1023, "", LATER, "The hub's certificate.") \
    X(tls_key_file, TEXT, "", 0, 1023, "", LATER, "The key of the hub's certificate.") \
    X(credentials_file, TEXT, "", 0, 1023, "", LATER, "Access key and secret key.")
