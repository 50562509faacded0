#include "tui/format.h"

#include <stdio.h>
#include <time.h>

void format_duration_ms(char dst[FORMAT_CAP], int64_t ms)
{
    const char *sign = ms < 0 ? "-" : "";
    uint64_t t = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    uint64_t s = t / 1000;
    if (t < 10000)
        snprintf(dst, FORMAT_CAP, "%s%u.%us", sign, (unsigned)(t / 1000), (unsigned)(t % 1000 / 100));
    else if (s < 120)
        snprintf(dst, FORMAT_CAP, "%s%us", sign, (unsigned)s);
    else if (s < 7200)
        snprintf(dst, FORMAT_CAP, "%s%um%02us", sign, (unsigned)(s / 60), (unsigned)(s % 60));
    else if (s < 172800)
        snprintf(dst, FORMAT_CAP, "%s%uh%02um", sign, (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
    else
        snprintf(dst, FORMAT_CAP, "%s%llud%02uh", sign, (unsigned long long)(s / 86400), (unsigned)(s / 3600 % 24));
}

void format_bytes(char dst[FORMAT_CAP], uint64_t bytes)
{
    static const char units[] = "KMGTPE";
    if (bytes < 1024) {
        snprintf(dst, FORMAT_CAP, "%u", (unsigned)bytes);
        return;
    }
    unsigned unit = 0;
    uint64_t tenths = bytes * 10 / 1024; /* bytes stay below 2^60 in any table */
    while (tenths >= 10240 && units[unit + 1]) {
        tenths /= 1024;
        unit++;
    }
    snprintf(dst, FORMAT_CAP, "%llu.%u%c", (unsigned long long)(tenths / 10), (unsigned)(tenths % 10), units[unit]);
}

void format_time(char dst[FORMAT_CAP], int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[24];
    if (wall_ms < 0 || !gmtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        snprintf(dst, FORMAT_CAP, "?");
        return;
    }
    snprintf(dst, FORMAT_CAP, "%s.%03uZ", text, (unsigned)(wall_ms % 1000));
}
