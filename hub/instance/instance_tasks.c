/*
 * The scheduled tasks of one instance (4.9.3's startScheduledTask): fixed rate, and
 * an error in one run never ends the task. What consumers need (offsets, thread
 * pools) comes with them.
 */
#include "hub/instance/duplicate_client_id.h"
#include "hub/instance/mq_client_instance.h"
#include "shm/base/clock.h"
#include "shm/base/log.h"

#define RESPONSE_SCAN_FIRST_NS (3 * NS_PER_S)
#define RESPONSE_SCAN_PERIOD_NS NS_PER_S

static int fetch_name_server_addr(void *ctx)
{
    struct mq_client_instance *in = ctx;
    top_addressing_fetch(&in->top_addressing);
    return 0;
}

static int update_topic_routes(void *ctx)
{
    struct mq_client_instance *in = ctx;
    topic_route_table_poll(&in->routes);
    return 0;
}

static int clean_and_heartbeat(void *ctx)
{
    struct mq_client_instance *in = ctx;
    if (topic_route_table_clean_brokers(&in->routes) > 0)
        mq_client_instance_update_brokers(in);
    mq_client_instance_send_heartbeat_to_all_broker(in);
    return 0;
}

static int scan_responses(void *ctx)
{
    struct mq_client_instance *in = ctx;
    unsigned found = remoting_client_scan(&in->remoting);
    if (found > 0)
        LOG_ERROR(in->client_id, "the response scan found %u futures that the deadline wheel had missed", found);
    return 0;
}

static int expire_lingering(void *ctx)
{
    struct mq_client_instance *in = ctx;
    mq_client_instance_expire_producers(in);
    if (!in->draining && mq_client_instance_is_unused(in))
        mq_client_instance_shutdown(in);
    return 0;
}

static int expire_topics(void *ctx)
{
    struct mq_client_instance *in = ctx;
    if (topic_route_table_expire(&in->routes) > 0)
        mq_client_instance_changed(in);
    return 0;
}

static int check_client_id(void *ctx)
{
    return duplicate_client_id_check(ctx);
}

int mq_client_instance_start_scheduled_tasks(struct mq_client_instance *in)
{
    const struct {
        const char *name;
        uint64_t first_ns, period_ns;
        int (*run)(void *ctx);
        bool unless_configured; /* only where nameservers are discovered */
    } tasks[] = {
        {"fetch name server address", TOP_ADDRESSING_FIRST_NS, TOP_ADDRESSING_PERIOD_NS, fetch_name_server_addr, true},
        {"update topic routes", 10 * NS_PER_MS, in->config.poll_name_server_interval_ms * NS_PER_MS, update_topic_routes, false},
        {"clean offline brokers, heartbeat", NS_PER_S, in->config.heartbeat_broker_interval_ms * NS_PER_MS, clean_and_heartbeat, false},
        {"scan response table", RESPONSE_SCAN_FIRST_NS, RESPONSE_SCAN_PERIOD_NS, scan_responses, false},
        {"expire lingering groups", NS_PER_S, NS_PER_S, expire_lingering, false},
        {"expire idle topics", 60 * NS_PER_S, 60 * NS_PER_S, expire_topics, false},
        {"check for a duplicate clientId", DUPLICATE_CHECK_FIRST_NS, DUPLICATE_CHECK_PERIOD_NS, check_client_id, false},
    };
    int r = 0;
    scheduled_tasks_init(&in->tasks, in->loop);
    for (unsigned i = 0; i < sizeof(tasks) / sizeof(tasks[0]) && r == 0; i++)
        if (!tasks[i].unless_configured || !in->namesrv_addr[0])
            r = scheduled_tasks_add(&in->tasks, tasks[i].name, tasks[i].first_ns, tasks[i].period_ns, tasks[i].run, in);
    return r;
}
