/** Numbers as people read them. Every function writes at most FORMAT_CAP bytes. */
#pragma once

#include <stdint.h>

#define FORMAT_CAP 32

/** "0.4s", "12s", "3m04s", "2h10m", "4d02h". */
void format_duration_ms(char dst[FORMAT_CAP], int64_t ms);
/** "512", "1.5K", "2.0M". */
void format_bytes(char dst[FORMAT_CAP], uint64_t bytes);
/** RFC 3339 in UTC with milliseconds. */
void format_time(char dst[FORMAT_CAP], int64_t wall_ms);
