/*
 * What one value of the cache file looks like: LMDB has no checksums, so that a
 * flipped bit would be a wrong route without a word. Each value carries its own
 * length, time and a checksum over key and content.
 *
 *   u32 magic  u32 content length  i64 saved, ms since 1970  u64 checksum  content
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shm/base/bytes.h"

#define STORE_RECORD_HEADER 24
#define STORE_RECORD_MAGIC 0x524d5131u /* "RMQ1": also the version of the content */
#define STORE_KEY_MAX 511              /* LMDB's limit */
#define STORE_CONTENT_MAX (1u << 20)

/** Writes header and content to @p dst, which holds STORE_RECORD_HEADER + content.len bytes. */
void store_record_seal(void *dst, struct span key, int64_t saved_ms, struct span content);

/** Checks a value read from anywhere. 0, or -EBADMSG when it is not exactly what was sealed under that key. */
int store_record_open(struct span key, struct span value, int64_t *saved_ms, struct span *content);

/** 64-bit FNV-1a; two inputs that differ in one byte never share a checksum. */
uint64_t store_checksum(uint64_t seed, const void *data, size_t len);
#define STORE_CHECKSUM_SEED UINT64_C(0xcbf29ce484222325)
