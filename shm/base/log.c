#include "shm/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/clock.h"
#include "shm/base/text.h"

static struct {
    enum log_level threshold;
    bool json;
    void (*sink)(void *ctx, enum log_level level, const char *line);
    void *ctx;
    void (*tap)(enum log_level level, const char *who, const char *message);
} config = {LOG_LEVEL_INFO, false, NULL, NULL, NULL};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_configure(enum log_level threshold, bool json)
{
    config.threshold = threshold;
    config.json = json;
}

void log_set_sink(void (*sink)(void *ctx, enum log_level level, const char *line), void *ctx)
{
    config.sink = sink;
    config.ctx = ctx;
}

void log_set_tap(void (*tap)(enum log_level level, const char *who, const char *message))
{
    config.tap = tap;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Escapes for a JSON string what text_escape leaves: quotes and backslashes. */
static void json_string(char *dst, size_t cap, const char *src)
{
    size_t o = 0;
    for (; *src && o + 3 < cap; src++) {
        if (*src == '"' || *src == '\\')
            dst[o++] = '\\';
        dst[o++] = *src;
    }
    dst[o] = '\0';
}

static void tell_tap(enum log_level level, const char *who, const char *message)
{
    if (config.tap && level <= LOG_LEVEL_INFO)
        config.tap(level, who, message);
}

static void print(enum log_level level, const char *who, const char *message)
{
    if (level > config.threshold)
        return;
    char safe_who[160], safe[1536], line[2048];
    text_escape(safe_who, sizeof(safe_who), who, strlen(who));
    text_escape(safe, sizeof(safe), message, strlen(message));
    if (config.sink) {
        snprintf(line, sizeof(line), "%s: %s", safe_who, safe);
        config.sink(config.ctx, level, line);
        return;
    }
    int64_t now = wall_now_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    char stamp[32];
    gmtime_r(&seconds, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    int n;
    if (config.json) {
        char jwho[320], jmsg[1400];
        json_string(jwho, sizeof(jwho), safe_who);
        json_string(jmsg, sizeof(jmsg), safe);
        n = snprintf(line, sizeof(line), "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"who\":\"%s\",\"message\":\"%s\"}\n", stamp,
                     (int)(now % 1000), level_names[level], jwho, jmsg);
    } else {
        n = snprintf(line, sizeof(line), "%s.%03dZ %-5s %s: %s\n", stamp, (int)(now % 1000), level_names[level], safe_who, safe);
    }
    if (n >= (int)sizeof(line)) {
        n = sizeof(line) - 1;
        line[n - 1] = '\n';
    }
    /* One write, so that lines of several processes on one terminal do not mix; a full pipe loses the line. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}

/* Whether a warning need not be printed because its site said the same a short while ago. *repeats: what to tell now. */
static bool is_repeated(struct log_site *site, uint64_t second, uint64_t hash, uint32_t *repeats)
{
    unsigned oldest = 0;
    for (unsigned i = 0; i < LOG_RECENT; i++) {
        if (site->recent[i].second < site->recent[oldest].second)
            oldest = i;
        if (site->recent[i].hash != hash)
            continue;
        if (second - site->recent[i].second < LOG_REPEAT_S) {
            site->recent[i].repeats++;
            return true;
        }
        *repeats = site->recent[i].repeats;
        oldest = i;
        break;
    }
    site->recent[oldest].hash = hash;
    site->recent[oldest].second = second;
    site->recent[oldest].repeats = 0;
    return false;
}

/* A new second: what the last one held back is told. */
static void enter_second(struct log_site *site, uint64_t second, enum log_level level, const char *who)
{
    char text[96];
    if (site->dropped) {
        snprintf(text, sizeof(text), "(%u further lines of the next kind were not printed)", site->dropped);
        tell_tap(level, who, text);
        print(level, who, text);
    }
    site->second = second;
    site->lines = site->dropped = 0;
}

void log_line(struct log_site *site, enum log_level level, const char *who, const char *fmt, ...)
{
    if (level > config.threshold && !(config.tap && level <= LOG_LEVEL_INFO))
        return;
    uint64_t second = mono_now_ns() / NS_PER_S;
    char message[1536];
    uint32_t repeats = 0;
    if (site->second != second)
        enter_second(site, second, level, who);
    if (site->lines++ >= LOG_BURST) {
        site->dropped++;
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    tell_tap(level, who, message);
    if (level == LOG_LEVEL_WARN && is_repeated(site, second, text_hash64(text_hash64(1, who), message), &repeats))
        return;
    if (repeats && n >= 0 && (size_t)n < sizeof(message))
        snprintf(message + n, sizeof(message) - (size_t)n, " (%u more times before)", repeats);
    print(level, who, message);
}
