/*
 * Text that people read: strict parsing of numbers, durations and sizes, and the
 * one escaper through which every foreign byte passes before it reaches a log,
 * a terminal or JSON.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Writes @p len bytes of @p src as printable text into @p dst (always terminated).
 * Valid UTF-8 without control characters passes; every other byte becomes \xNN.
 * Cuts at @p cap, never inside an escape. Returns the length written.
 */
size_t text_escape(char *dst, size_t cap, const char *src, size_t len);

/** Parses a whole decimal number; false when empty, signed wrongly, trailed by anything or out of range. */
bool text_parse_i64(const char *s, int64_t min, int64_t max, int64_t *out);

/** Copies at most @p cap - 1 bytes and terminates. Returns false if something was cut. */
bool text_copy(char *dst, size_t cap, const char *src, size_t len);

#define TEXT_HASH64_START UINT64_C(0xcbf29ce484222325)
/** 64-bit FNV-1a. @p start: TEXT_HASH64_START, or the hash of what stands before. */
uint64_t text_hash64(uint64_t start, const char *text);

/** Fills @p dst with the upper-case hex of @p src; @p dst holds 2 * len + 1 bytes. */
void text_hex_upper(char *dst, const void *src, size_t len);
