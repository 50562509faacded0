#include "shm/message/uniq_key.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/bytes.h"
#include "shm/base/clock.h"

/* An IPv6-only host folds its address into the four bytes: the field only has to tell hosts apart. */
static void host_address(uint8_t out[4])
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    memcpy(out, loopback, 4);
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return;
    bool found_v6 = false;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
            continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            const struct sockaddr_in *in = (const void *)i->ifa_addr;
            memcpy(out, &in->sin_addr, 4);
            break;
        }
        if (i->ifa_addr->sa_family == AF_INET6 && !found_v6) {
            const uint8_t *a = ((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr.s6_addr;
            for (int b = 0; b < 4; b++)
                out[b] = (uint8_t)(a[b] ^ a[b + 4] ^ a[b + 8] ^ a[b + 12]);
            found_v6 = true;
        }
    }
    freeifaddrs(all);
}

/* Java's field counts from 00:00 on the 1st in local time; queryMessageByUniqKey reads it so. */
static void enter_month(struct uniq_key_source *source, uint64_t now_mono_ns)
{
    int64_t wall_ms = wall_now_ms();
    time_t now = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!localtime_r(&now, &tm))
        memset(&tm, 0, sizeof(tm));
    tm.tm_mday = 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    int64_t began_ms = (int64_t)mktime(&tm) * 1000;
    tm.tm_mon++;
    tm.tm_isdst = -1;
    int64_t ends_ms = (int64_t)mktime(&tm) * 1000;
    if (ends_ms <= wall_ms)
        ends_ms = wall_ms + 86400000;
    source->month_began_ns = now_mono_ns - (uint64_t)(wall_ms - began_ms) * NS_PER_MS;
    source->month_ends_ns = now_mono_ns + (uint64_t)(ends_ms - wall_ms) * NS_PER_MS;
    /* The time field starts again from zero, so the random part must not repeat with it. */
    if (getrandom(source->prefix + 6, 4, GRND_NONBLOCK) != 4)
        be32_store(source->prefix + 6, (uint32_t)(now_mono_ns ^ now_mono_ns >> 32));
}

void uniq_key_source_init(struct uniq_key_source *source)
{
    host_address(source->prefix);
    be16_store(source->prefix + 4, (uint16_t)getpid());
    source->counter = 0;
    enter_month(source, mono_now_ns());
}

void uniq_key_draw(struct uniq_key_source *source, uint64_t now_mono_ns, uint8_t out[UNIQ_KEY_BYTES])
{
    if (now_mono_ns >= source->month_ends_ns)
        enter_month(source, now_mono_ns);
    memcpy(out, source->prefix, sizeof(source->prefix));
    be32_store(out + 10, (uint32_t)((now_mono_ns - source->month_began_ns) / NS_PER_MS));
    be16_store(out + 14, ++source->counter);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t uniq_key_parse(const char *hex, size_t len, uint8_t out[UNIQ_KEY_MAX_BYTES])
{
    if (len != 2 * UNIQ_KEY_BYTES && len != UNIQ_KEY_MAX_HEX)
        return 0;
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return 0;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return len / 2;
}
