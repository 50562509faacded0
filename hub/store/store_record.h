/*
 * What one value of the cache file looks like: LMDB has no checksums, so that a
 * flipped bit would be a wrong route without a word. Each value carries its
 * version, its lengths, where and when it was learnt, when it expires, and a
 * checksum over key, header and content.
 *
 *   u32 magic  u16 version  u16 length of from  u32 length of content  u32 0
 *   i64 saved  i64 expires (ms since 1970)  u64 checksum  from  content
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shm/base/bytes.h"

#define STORE_RECORD_MAGIC 0x524d5148u /* "RMQH" */
#define STORE_RECORD_VERSION 2
#define STORE_RECORD_HEADER 40
#define STORE_KEY_MAX 511 /* LMDB's limit */
#define STORE_FROM_MAX 271
#define STORE_CONTENT_MAX (1u << 20)
#define STORE_VALUE_MAX (STORE_RECORD_HEADER + STORE_FROM_MAX + STORE_CONTENT_MAX)

/** Where and when something was learnt, and until when it may be used; wall clock. */
struct store_origin {
    char from[STORE_FROM_MAX + 1];
    int64_t saved_ms, expires_ms;
};

/** Bytes of the sealed value. */
size_t store_record_size(const struct store_origin *origin, struct span content);

/** Writes the value to @p dst, which holds store_record_size() bytes. */
void store_record_seal(void *dst, struct span key, const struct store_origin *origin, struct span content);

/**
 * Checks a value read from anywhere. 0; -EPROTONOSUPPORT when another version of the hub sealed it; -EBADMSG when it is
 * not exactly what was sealed under that key.
 */
int store_record_open(struct span key, struct span value, struct store_origin *origin, struct span *content);

/** 64-bit FNV-1a; two inputs that differ in one byte never share a checksum. */
uint64_t store_checksum(uint64_t seed, const void *data, size_t len);
#define STORE_CHECKSUM_SEED UINT64_C(0xcbf29ce484222325)
