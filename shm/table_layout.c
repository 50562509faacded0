/*
 * The layout written down a second time, as numbers: each field's offset and size
 * is asserted at compile time, so that an innocent edit of a struct cannot change
 * the file unnoticed, and the same lists make the fingerprint and tell a reader
 * which fields are text.
 */
#include "shm/table_layout.h"

#include <errno.h>

/* F(row, field, offset, bytes, is text) */

#define FILE_HEADER_FIELDS(F) \
    F(file_header, magic, 0, 8, 0) \
    F(file_header, version_major, 8, 2, 0) \
    F(file_header, version_minor, 10, 2, 0) \
    F(file_header, header_bytes, 12, 4, 0) \
    F(file_header, fingerprint, 16, 8, 0) \
    F(file_header, file_bytes, 24, 8, 0) \
    F(file_header, half_bytes, 32, 8, 0) \
    F(file_header, hub_pid, 40, 4, 0) \
    F(file_header, section_count, 44, 4, 0) \
    F(file_header, boot_id, 48, 16, 0) \
    F(file_header, section, 64, 512, 0) \
    F(file_header, reserved0, 576, 448, 0) \
    F(file_header, generation, 1024, 8, 0) \
    F(file_header, reserved1, 1032, 3064, 0)

#define HALF_HEADER_FIELDS(F) \
    F(half_header, generation, 0, 8, 0) \
    F(half_header, published_mono_ns, 8, 8, 0) \
    F(half_header, published_wall_ms, 16, 8, 0) \
    F(half_header, next_event_seq, 24, 8, 0) \
    F(half_header, count, 32, 128, 0) \
    F(half_header, dropped, 160, 128, 0) \
    F(half_header, hub, 288, 1384, 0) \
    F(half_header, reserved, 1672, 256, 0)

#define HUB_FIELDS(F) \
    F(hub, pid, 0, 4, 0) \
    F(hub, state, 4, 1, 0) \
    F(hub, reserved0, 5, 3, 0) \
    F(hub, epoch, 8, 8, 0) \
    F(hub, start_wall_ms, 16, 8, 0) \
    F(hub, up_ms, 24, 8, 0) \
    F(hub, rss_bytes, 32, 8, 0) \
    F(hub, private_bytes, 40, 8, 0) \
    F(hub, segment_bytes, 48, 8, 0) \
    F(hub, cpu_us, 56, 8, 0) \
    F(hub, loop_rounds, 64, 8, 0) \
    F(hub, loop_wakeups, 72, 8, 0) \
    F(hub, loop_worst_round_ns, 80, 8, 0) \
    F(hub, open_fds, 88, 4, 0) \
    F(hub, fd_limit, 92, 4, 0) \
    F(hub, linger_ms, 96, 4, 0) \
    F(hub, uid, 100, 4, 0) \
    F(hub, version, 104, 32, 1) \
    F(hub, host, 136, 64, 1) \
    F(hub, cluster, 200, 64, 1) \
    F(hub, namesrv_addr, 264, 256, 1) \
    F(hub, runtime_dir, 520, 96, 1) \
    F(hub, state_dir, 616, 256, 1) \
    F(hub, config_file, 872, 256, 1) \
    F(hub, problems_crit, 1128, 4, 0) \
    F(hub, problems_warn, 1132, 4, 0) \
    F(hub, insecure_instances, 1136, 4, 0) \
    F(hub, extra_connections, 1140, 4, 0) \
    F(hub, reserved1, 1144, 240, 0)

#define SECTION_DESC_FIELDS(F) \
    F(section_desc, offset, 0, 8, 0) \
    F(section_desc, row_bytes, 8, 4, 0) \
    F(section_desc, capacity, 12, 4, 0)

#define QUEUE_DATA_FIELDS(F) \
    F(queue_data, broker, 0, 4, 0) \
    F(queue_data, read_queues, 4, 2, 0) \
    F(queue_data, write_queues, 6, 2, 0) \
    F(queue_data, perm, 8, 1, 0) \
    F(queue_data, reserved, 9, 7, 0)

#define INSTANCE_FIELDS(F) \
    F(instance, client_id, 0, 256, 1) \
    F(instance, cluster, 256, 64, 1) \
    F(instance, namesrv_addr, 320, 256, 1) \
    F(instance, unit_name, 576, 64, 1) \
    F(instance, state, 640, 1, 0) \
    F(instance, tls, 641, 1, 0) \
    F(instance, reserved0, 642, 2, 0) \
    F(instance, factory_index, 644, 4, 0) \
    F(instance, groups, 648, 4, 0) \
    F(instance, clients, 652, 4, 0) \
    F(instance, handles, 656, 4, 0) \
    F(instance, topics, 660, 4, 0) \
    F(instance, brokers, 664, 4, 0) \
    F(instance, connections, 668, 4, 0) \
    F(instance, pending, 672, 4, 0) \
    F(instance, extra_connections, 676, 4, 0) \
    F(instance, async_in_use, 680, 4, 0) \
    F(instance, async_limit, 684, 4, 0) \
    F(instance, oneway_in_use, 688, 4, 0) \
    F(instance, oneway_limit, 692, 4, 0) \
    F(instance, stored, 696, 8, 0) \
    F(instance, not_stored, 704, 8, 0) \
    F(instance, unknown, 712, 8, 0) \
    F(instance, start_age_ms, 720, 8, 0) \
    F(instance, heartbeat_age_ms, 728, 8, 0) \
    F(instance, refused_async, 736, 8, 0) \
    F(instance, refused_oneway, 744, 8, 0) \
    F(instance, late_replies, 752, 8, 0) \
    F(instance, wrong_channel, 760, 8, 0) \
    F(instance, suspicions, 768, 8, 0) \
    F(instance, scans, 776, 8, 0) \
    F(instance, scan_found, 784, 8, 0) \
    F(instance, route_polls, 792, 8, 0) \
    F(instance, topics_expired, 800, 8, 0) \
    F(instance, namesrv_requests, 808, 8, 0) \
    F(instance, namesrv_failures, 816, 8, 0) \
    F(instance, namesrv_failovers, 824, 8, 0) \
    F(instance, namesrv_silences, 832, 8, 0) \
    F(instance, namesrv_changes, 840, 8, 0) \
    F(instance, namesrv_ok_age_ms, 848, 8, 0) \
    F(instance, namesrv_chosen, 856, 64, 1) \
    F(instance, namesrv_list, 920, 256, 1) \
    F(instance, discovery_url, 1176, 256, 1) \
    F(instance, discovery_fetches, 1432, 8, 0) \
    F(instance, discovery_answers, 1440, 8, 0) \
    F(instance, discovery_ok_age_ms, 1448, 8, 0) \
    F(instance, discovery_unconfirmed, 1456, 1, 0) \
    F(instance, reserved3, 1457, 7, 0) \
    F(instance, discovery_error, 1464, 128, 1) \
    F(instance, tls_identity, 1592, 64, 1) \
    F(instance, credentials, 1656, 64, 1) \
    F(instance, marker_group, 1720, 64, 1) \
    F(instance, last_error, 1784, 128, 1) \
    F(instance, reserved1, 1912, 128, 0)

#define GROUP_FIELDS(F) \
    F(group, group, 0, 256, 1) \
    F(group, instance, 256, 4, 0) \
    F(group, uid, 260, 4, 0) \
    F(group, clients, 264, 4, 0) \
    F(group, handles, 268, 4, 0) \
    F(group, outstanding, 272, 4, 0) \
    F(group, state, 276, 1, 0) \
    F(group, reserved0, 277, 3, 0) \
    F(group, linger_left_ms, 280, 8, 0) \
    F(group, start_age_ms, 288, 8, 0) \
    F(group, accepted, 296, 8, 0) \
    F(group, stored, 304, 8, 0) \
    F(group, not_stored, 312, 8, 0) \
    F(group, unknown, 320, 8, 0) \
    F(group, reserved1, 328, 64, 0)

#define CLIENT_FIELDS(F) \
    F(client, number, 0, 8, 0) \
    F(client, pid, 8, 4, 0) \
    F(client, uid, 12, 4, 0) \
    F(client, gid, 16, 4, 0) \
    F(client, state, 20, 1, 0) \
    F(client, lanes, 21, 1, 0) \
    F(client, abi_major, 22, 2, 0) \
    F(client, abi_minor, 24, 2, 0) \
    F(client, reserved0, 26, 2, 0) \
    F(client, registrations, 28, 4, 0) \
    F(client, in_flight, 32, 4, 0) \
    F(client, body_bytes, 40, 8, 0) \
    F(client, segment_bytes, 48, 8, 0) \
    F(client, accepted, 56, 8, 0) \
    F(client, stored, 64, 8, 0) \
    F(client, not_stored, 72, 8, 0) \
    F(client, unknown, 80, 8, 0) \
    F(client, attach_age_ms, 88, 8, 0) \
    F(client, last_send_age_ms, 96, 8, 0) \
    F(client, command, 104, 32, 1) \
    F(client, group, 136, 256, 1) \
    F(client, reason, 392, 160, 1) \
    F(client, reserved1, 552, 40, 0)

#define ROUTE_FIELDS(F) \
    F(route, topic, 0, 192, 1) \
    F(route, instance, 192, 4, 0) \
    F(route, state, 196, 1, 0) \
    F(route, source, 197, 1, 0) \
    F(route, perm, 198, 1, 0) \
    F(route, ordered, 199, 1, 0) \
    F(route, brokers, 200, 4, 0) \
    F(route, read_queues, 204, 4, 0) \
    F(route, write_queues, 208, 4, 0) \
    F(route, references, 212, 4, 0) \
    F(route, fetches, 216, 4, 0) \
    F(route, failures, 220, 4, 0) \
    F(route, failures_in_a_row, 224, 4, 0) \
    F(route, queue_datas, 228, 4, 0) \
    F(route, fetched_age_ms, 232, 8, 0) \
    F(route, changed_age_ms, 240, 8, 0) \
    F(route, used_age_ms, 248, 8, 0) \
    F(route, expires_in_ms, 256, 8, 0) \
    F(route, unconfirmed, 264, 1, 0) \
    F(route, reserved0, 265, 3, 0) \
    F(route, changes, 268, 4, 0) \
    F(route, from, 272, 64, 1) \
    F(route, last_error, 336, 64, 1) \
    F(route, queue_data, 400, 128, 0) \
    F(route, reserved, 528, 32, 0)

#define BROKER_FIELDS(F) \
    F(broker, name, 0, 128, 1) \
    F(broker, cluster, 128, 64, 1) \
    F(broker, address, 192, 64, 1) \
    F(broker, instance, 256, 4, 0) \
    F(broker, state, 260, 1, 0) \
    F(broker, reserved0, 261, 3, 0) \
    F(broker, id, 264, 8, 0) \
    F(broker, connections, 272, 4, 0) \
    F(broker, pending, 276, 4, 0) \
    F(broker, oldest_pending_age_ms, 280, 8, 0) \
    F(broker, sends, 288, 8, 0) \
    F(broker, stored, 296, 8, 0) \
    F(broker, not_stored, 304, 8, 0) \
    F(broker, unknown, 312, 8, 0) \
    F(broker, heartbeat_age_ms, 320, 8, 0) \
    F(broker, last_error, 328, 96, 1) \
    F(broker, reserved1, 424, 64, 0)

#define CONNECTION_FIELDS(F) \
    F(connection, instance, 0, 4, 0) \
    F(connection, state, 4, 1, 0) \
    F(connection, role, 5, 1, 0) \
    F(connection, tls, 6, 1, 0) \
    F(connection, tls_resumed, 7, 1, 0) \
    F(connection, fd, 8, 4, 0) \
    F(connection, pending, 12, 4, 0) \
    F(connection, peer_name, 16, 128, 1) \
    F(connection, peer_address, 144, 64, 1) \
    F(connection, local_address, 208, 64, 1) \
    F(connection, state_age_ms, 272, 8, 0) \
    F(connection, bytes_in, 280, 8, 0) \
    F(connection, bytes_out, 288, 8, 0) \
    F(connection, frames_in, 296, 8, 0) \
    F(connection, frames_out, 304, 8, 0) \
    F(connection, send_queue_bytes, 312, 8, 0) \
    F(connection, connects, 320, 8, 0) \
    F(connection, reconnects, 328, 8, 0) \
    F(connection, connect_failures, 336, 8, 0) \
    F(connection, closes, 344, 8, 0) \
    F(connection, exceptions, 352, 8, 0) \
    F(connection, idle_closes, 360, 8, 0) \
    F(connection, held_back, 368, 8, 0) \
    F(connection, next_try_ms, 376, 8, 0) \
    F(connection, last_in_age_ms, 384, 8, 0) \
    F(connection, tls_resumptions, 392, 8, 0) \
    F(connection, is_held_back, 400, 1, 0) \
    F(connection, is_suspect, 401, 1, 0) \
    F(connection, reserved0, 402, 6, 0) \
    F(connection, tls_protocol, 408, 16, 1) \
    F(connection, tls_cipher, 424, 64, 1) \
    F(connection, tls_peer, 488, 128, 1) \
    F(connection, last_error, 616, 128, 1) \
    F(connection, reserved1, 744, 64, 0)

#define HEARTBEAT_FIELDS(F) \
    F(heartbeat, instance, 0, 4, 0) \
    F(heartbeat, rt_us, 4, 4, 0) \
    F(heartbeat, broker_name, 8, 128, 1) \
    F(heartbeat, address, 136, 64, 1) \
    F(heartbeat, broker_id, 200, 8, 0) \
    F(heartbeat, last_ok_age_ms, 208, 8, 0) \
    F(heartbeat, next_in_ms, 216, 8, 0) \
    F(heartbeat, ok, 224, 8, 0) \
    F(heartbeat, failed, 232, 8, 0) \
    F(heartbeat, history, 240, 4, 0) \
    F(heartbeat, history_bits, 244, 4, 0) \
    F(heartbeat, last_late_ms, 248, 4, 0) \
    F(heartbeat, worst_late_ms, 252, 4, 0) \
    F(heartbeat, coalesced, 256, 4, 0) \
    F(heartbeat, broker_version, 260, 4, 0) \
    F(heartbeat, last_error, 264, 96, 1) \
    F(heartbeat, reserved, 360, 32, 0)

#define PENDING_FIELDS(F) \
    F(pending, opaque, 0, 4, 0) \
    F(pending, code, 4, 4, 0) \
    F(pending, mode, 8, 1, 0) \
    F(pending, state, 9, 1, 0) \
    F(pending, reserved0, 10, 2, 0) \
    F(pending, instance, 12, 4, 0) \
    F(pending, age_ms, 16, 8, 0) \
    F(pending, deadline_in_ms, 24, 8, 0) \
    F(pending, client, 32, 8, 0) \
    F(pending, pid, 40, 4, 0) \
    F(pending, reserved1, 44, 4, 0) \
    F(pending, broker_name, 48, 64, 1) \
    F(pending, address, 112, 64, 1) \
    F(pending, topic, 176, 64, 1) \
    F(pending, group, 240, 64, 1) \
    F(pending, reserved2, 304, 24, 0)

#define TASK_FIELDS(F) \
    F(task, name, 0, 64, 1) \
    F(task, instance, 64, 4, 0) \
    F(task, last_us, 68, 4, 0) \
    F(task, worst_us, 72, 4, 0) \
    F(task, last_late_us, 76, 4, 0) \
    F(task, worst_late_us, 80, 4, 0) \
    F(task, last_error, 84, 4, 0) \
    F(task, period_ms, 88, 8, 0) \
    F(task, last_run_age_ms, 96, 8, 0) \
    F(task, next_in_ms, 104, 8, 0) \
    F(task, runs, 112, 8, 0) \
    F(task, skipped, 120, 8, 0) \
    F(task, errors, 128, 8, 0) \
    F(task, reserved1, 136, 32, 0)

#define COUNTER_FIELDS(F) \
    F(counter, name, 0, 64, 1) \
    F(counter, value, 64, 8, 0) \
    F(counter, kind, 72, 1, 0) \
    F(counter, reserved, 73, 7, 0)

#define CONFIG_FIELDS(F) \
    F(config, key, 0, 64, 1) \
    F(config, value, 64, 256, 1) \
    F(config, origin, 320, 128, 1) \
    F(config, unit, 448, 16, 1) \
    F(config, source, 464, 1, 0) \
    F(config, reloadable, 465, 1, 0) \
    F(config, reserved, 466, 46, 0) \
    F(config, note, 512, 192, 1)

#define PROBLEM_FIELDS(F) \
    F(problem, rule, 0, 32, 1) \
    F(problem, object, 32, 256, 1) \
    F(problem, text, 288, 256, 1) \
    F(problem, severity, 544, 1, 0) \
    F(problem, reserved0, 545, 7, 0) \
    F(problem, since_age_ms, 552, 8, 0) \
    F(problem, reserved1, 560, 80, 0)

#define SERVICE_FIELDS(F) \
    F(service, name, 0, 64, 1) \
    F(service, state, 64, 24, 1) \
    F(service, instance, 88, 4, 0) \
    F(service, queued, 92, 4, 0) \
    F(service, delayed, 96, 4, 0) \
    F(service, tasks, 100, 4, 0) \
    F(service, queued_most, 104, 4, 0) \
    F(service, reserved0, 108, 4, 0) \
    F(service, executed, 112, 8, 0) \
    F(service, ran_tasks, 120, 8, 0) \
    F(service, dropped, 128, 8, 0) \
    F(service, cancelled, 136, 8, 0) \
    F(service, refused, 144, 8, 0) \
    F(service, errors, 152, 8, 0) \
    F(service, reserved1, 160, 64, 0)

#define REQUEST_FIELDS(F) \
    F(request, instance, 0, 4, 0) \
    F(request, code, 4, 4, 0) \
    F(request, name, 8, 64, 1) \
    F(request, received, 72, 8, 0) \
    F(request, answered, 80, 8, 0) \
    F(request, ignored, 88, 8, 0) \
    F(request, refused, 96, 8, 0) \
    F(request, limited, 104, 8, 0) \
    F(request, too_big, 112, 8, 0) \
    F(request, reserved, 120, 64, 0)

#define EVENT_FIELDS(F) \
    F(event, seq, 0, 8, 0) \
    F(event, first_wall_ms, 8, 8, 0) \
    F(event, last_wall_ms, 16, 8, 0) \
    F(event, count, 24, 4, 0) \
    F(event, level, 28, 1, 0) \
    F(event, reserved, 29, 3, 0) \
    F(event, who, 32, 64, 1) \
    F(event, text, 96, 160, 1)

#define CHECK_FIELD(row, field, at, n, text) \
    _Static_assert(offsetof(struct table_##row, field) == (at) && sizeof(((struct table_##row *)0)->field) == (n), #row "." #field);
#define LIST_FIELD(row, field, at, n, text) {at, n, text},
#define FIELDS_OF(row, LIST, bytes) \
    LIST(CHECK_FIELD) \
    _Static_assert(sizeof(struct table_##row) == (bytes), #row); \
    static const struct table_field row##_fields[] = {LIST(LIST_FIELD){0, 0, 0}};

FIELDS_OF(file_header, FILE_HEADER_FIELDS, 4096)
FIELDS_OF(half_header, HALF_HEADER_FIELDS, 1928)
HUB_FIELDS(CHECK_FIELD)
_Static_assert(sizeof(struct table_hub) == 1384, "hub");
const struct table_field table_hub_fields[] = {HUB_FIELDS(LIST_FIELD){0, 0, 0}};
FIELDS_OF(section_desc, SECTION_DESC_FIELDS, 16)
FIELDS_OF(queue_data, QUEUE_DATA_FIELDS, 16)
FIELDS_OF(instance, INSTANCE_FIELDS, 2040)
FIELDS_OF(group, GROUP_FIELDS, 392)
FIELDS_OF(client, CLIENT_FIELDS, 592)
FIELDS_OF(route, ROUTE_FIELDS, 560)
FIELDS_OF(broker, BROKER_FIELDS, 488)
FIELDS_OF(connection, CONNECTION_FIELDS, 808)
FIELDS_OF(heartbeat, HEARTBEAT_FIELDS, 392)
FIELDS_OF(pending, PENDING_FIELDS, 328)
FIELDS_OF(task, TASK_FIELDS, 168)
FIELDS_OF(counter, COUNTER_FIELDS, 80)
FIELDS_OF(config, CONFIG_FIELDS, 704)
FIELDS_OF(problem, PROBLEM_FIELDS, 640)
FIELDS_OF(service, SERVICE_FIELDS, 224)
FIELDS_OF(request, REQUEST_FIELDS, 184)
FIELDS_OF(event, EVENT_FIELDS, 256)

const struct table_section_info table_section_info[TABLE_SECTION_COUNT] = {
    [TABLE_INSTANCES] = {"instances", sizeof(struct table_instance), 64, instance_fields},
    [TABLE_GROUPS] = {"groups", sizeof(struct table_group), 1024, group_fields},
    [TABLE_CLIENTS] = {"clients", sizeof(struct table_client), 1024, client_fields},
    [TABLE_ROUTES] = {"routes", sizeof(struct table_route), 5000, route_fields},
    [TABLE_BROKERS] = {"brokers", sizeof(struct table_broker), 256, broker_fields},
    [TABLE_CONNECTIONS] = {"connections", sizeof(struct table_connection), 512, connection_fields},
    [TABLE_HEARTBEATS] = {"heartbeats", sizeof(struct table_heartbeat), 1024, heartbeat_fields},
    [TABLE_PENDING] = {"pending", sizeof(struct table_pending), 4096, pending_fields},
    [TABLE_TASKS] = {"tasks", sizeof(struct table_task), 512, task_fields},
    [TABLE_COUNTERS] = {"counters", sizeof(struct table_counter), 256, counter_fields},
    [TABLE_CONFIG] = {"config", sizeof(struct table_config), 512, config_fields},
    [TABLE_PROBLEMS] = {"problems", sizeof(struct table_problem), 256, problem_fields},
    [TABLE_SERVICES] = {"services", sizeof(struct table_service), 64, service_fields},
    [TABLE_REQUESTS] = {"requests", sizeof(struct table_request), 512, request_fields},
    [TABLE_EVENTS] = {"events", sizeof(struct table_event), 4096, event_fields},
};

static uint64_t hash_u32(uint64_t hash, uint32_t value)
{
    for (int i = 0; i < 4; i++, value >>= 8)
        hash = (hash ^ (value & 0xff)) * UINT64_C(0x100000001b3); /* FNV-1a */
    return hash;
}

static uint64_t hash_fields(uint64_t hash, const struct table_field *field)
{
    for (; field->bytes; field++)
        hash = hash_u32(hash_u32(hash_u32(hash, field->offset), field->bytes), field->is_text);
    return hash;
}

uint64_t table_fingerprint(void)
{
    static const struct table_field *const shared[] = {file_header_fields, section_desc_fields, half_header_fields, table_hub_fields,
                                                       queue_data_fields};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
        hash = hash_fields(hash, shared[i]);
    for (int s = 0; s < TABLE_SECTION_COUNT; s++)
        hash = hash_u32(hash_fields(hash, table_section_info[s].fields), table_section_info[s].row_bytes);
    return hash;
}

int table_layout_init(struct table_file_header *header, const uint32_t capacity[TABLE_SECTION_COUNT])
{
    *header = (struct table_file_header){.magic = TABLE_MAGIC,
                                         .version_major = TABLE_VERSION_MAJOR,
                                         .version_minor = TABLE_VERSION_MINOR,
                                         .header_bytes = TABLE_HEADER_BYTES,
                                         .fingerprint = table_fingerprint(),
                                         .section_count = TABLE_SECTION_COUNT};
    uint64_t offset = TABLE_HEADER_BYTES; /* the half's header, rounded up to a page */
    for (int s = 0; s < TABLE_SECTION_COUNT; s++) {
        const struct table_section_info *info = &table_section_info[s];
        uint32_t rows = capacity ? capacity[s] : info->default_capacity;
        header->section[s] = (struct table_section_desc){offset, info->row_bytes, rows};
        offset += (uint64_t)rows * info->row_bytes;
        offset = (offset + 63) & ~UINT64_C(63);
    }
    header->half_bytes = (offset + TABLE_HEADER_BYTES - 1) & ~(uint64_t)(TABLE_HEADER_BYTES - 1);
    header->file_bytes = TABLE_HEADER_BYTES + 2 * header->half_bytes;
    return header->file_bytes > TABLE_MAX_FILE_BYTES ? -EOVERFLOW : 0;
}
