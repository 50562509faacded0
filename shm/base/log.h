/*
 * One line per event, on stderr, each starting with who it concerns. Daemons and
 * tools only: the client library speaks through its own callback.
 *
 * The whole line passes the escaper, so that foreign names may be printed with a
 * plain %s. Lines are limited per call site (LOG_BURST in a second, the rest
 * counted and told once the second is over), so that a storm cannot fill a disk. A
 * warning that says the same as a recent one of its site is counted, not repeated:
 * a nameserver that is away for a night is a line every LOG_REPEAT_S.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

#define LOG_BURST 50
#define LOG_REPEAT_S 60
#define LOG_RECENT 4

/** Per call site; zero-initialised static storage. */
struct log_site {
    uint64_t second;
    uint32_t lines, dropped;
    struct {
        uint64_t hash, second; /* of the text, and when it was last printed; hash 0: empty */
        uint32_t repeats;      /* since then */
    } recent[LOG_RECENT];
};

/** Sets the threshold and the form (text, or one JSON object a line). */
void log_configure(enum log_level threshold, bool json);

bool log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);

/** Replaces stderr; the line is escaped and has no newline. NULL restores stderr. */
void log_set_sink(void (*sink)(void *ctx, enum log_level level, const char *line), void *ctx);

/**
 * A second listener, told of every line of level info or worse whatever the threshold, before escaping
 * and with repeats limited as on stderr. Called on the thread that logs. NULL removes it.
 */
void log_set_tap(void (*tap)(enum log_level level, const char *who, const char *message));

void log_line(struct log_site *site, enum log_level level, const char *who, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#define LOG_AT(level, who, ...) \
    do { \
        static struct log_site log_site_here; \
        log_line(&log_site_here, (level), (who), __VA_ARGS__); \
    } while (0)

/** @p who names the object: "hub", "client 12 (pid 4410)", "broker-a 10.0.0.1:10911". */
#define LOG_ERROR(who, ...) LOG_AT(LOG_LEVEL_ERROR, who, __VA_ARGS__)
#define LOG_WARN(who, ...) LOG_AT(LOG_LEVEL_WARN, who, __VA_ARGS__)
#define LOG_INFO(who, ...) LOG_AT(LOG_LEVEL_INFO, who, __VA_ARGS__)
#define LOG_DEBUG(who, ...) LOG_AT(LOG_LEVEL_DEBUG, who, __VA_ARGS__)
