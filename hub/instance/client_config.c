#include "hub/instance/client_config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hub/protocol/codes.h"
#include "hub/route/top_addressing.h"
#include "shm/base/clock.h"
#include "shm/base/text.h"

void client_config_init(struct client_config *config)
{
    *config = (struct client_config){
        .poll_name_server_interval_ms = 30000,
        .heartbeat_broker_interval_ms = 30000,
        .connect_timeout_ms = 3000,
        .mq_client_api_timeout_ms = 3000,
        .client_channel_max_idle_time_ms = 120000,
        .linger_ms = 60000,
        .idle_expiry_topic_ms = 3600000,
        .client_async_semaphore = 65535,
        .client_oneway_semaphore = 65535,
        .tcp_user_timeout_ms = 20000,
        .namesrv_domain = TOP_ADDRESSING_DEFAULT_DOMAIN,
        .namesrv_domain_subgroup = TOP_ADDRESSING_DEFAULT_SUBGROUP,
        .create_topic_key = TOPIC_AUTO_CREATE,
        .default_topic_queue_nums = 4,
        .protocol_version = PROTOCOL_VERSION_4_9_3,
    };
}

static bool is_bridge(const char *interface)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/class/net/%.32s/bridge", interface);
    return access(path, F_OK) == 0;
}

void client_config_find_ip(char *out, size_t cap)
{
    struct ifaddrs *all = NULL;
    char text[INET6_ADDRSTRLEN], last_private[INET6_ADDRSTRLEN] = "", first_v6[INET6_ADDRSTRLEN] = "";
    out[0] = '\0';
    if (getifaddrs(&all) != 0)
        all = NULL;
    for (struct ifaddrs *i = all; i && !out[0]; i = i->ifa_next) {
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) || is_bridge(i->ifa_name))
            continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, text, sizeof(text));
            if (strncmp(text, "127.0", 5) == 0 || strncmp(text, "192.168", 7) == 0)
                memcpy(last_private, text, sizeof(last_private));
            else
                text_copy(out, cap, text, strlen(text));
        } else if (i->ifa_addr->sa_family == AF_INET6 && !first_v6[0]) {
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr, first_v6, sizeof(first_v6));
        }
    }
    if (all)
        freeifaddrs(all);
    if (out[0])
        return;
    if (last_private[0])
        snprintf(out, cap, "%s", last_private);
    else if (first_v6[0])
        snprintf(out, cap, "[%s]", first_v6);
    else
        snprintf(out, cap, "127.0.0.1");
}

void client_config_change_instance_name_to_pid(char *name, size_t cap, const struct instance_name_keeper *keeper, const char *key_text)
{
    static uint64_t last_ns; /* two draws within one tick of the clock differ, too */
    char kept[INSTANCE_NAME_MAX + 1];
    if (strcmp(name, DEFAULT_INSTANCE_NAME) != 0)
        return;
    if (keeper && keeper->keep && keeper->keep(keeper->ctx, key_text, kept, sizeof(kept)) == 0) {
        snprintf(name, cap, "%s", kept);
        return;
    }
    uint64_t now = mono_now_ns();
    last_ns = now > last_ns ? now : last_ns + 1;
    snprintf(name, cap, "%ld#%" PRIu64, (long)getpid(), last_ns);
}

int client_config_build_client_id(char *out, size_t cap, const char *client_ip, const char *instance_name, const char *unit_name)
{
    bool has_unit = unit_name && unit_name[0];
    int n = snprintf(out, cap, "%s@%s%s%s", client_ip, instance_name, has_unit ? "@" : "", has_unit ? unit_name : "");
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}
