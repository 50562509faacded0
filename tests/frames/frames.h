/*
 * Recorded frames for tests. RMQHUB_FRAMES_DIR is set by CMake.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define FRAME_MAX_BYTES 4096

/** Reads one recorded frame, whole; fails the test when it is not there. Returns its length. */
static inline size_t frame_load(const char *name, char buf[FRAME_MAX_BYTES])
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", RMQHUB_FRAMES_DIR, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    size_t len = fread(buf, 1, FRAME_MAX_BYTES, f);
    fclose(f);
    assert_in_range(len, 8, FRAME_MAX_BYTES - 1);
    return len;
}
