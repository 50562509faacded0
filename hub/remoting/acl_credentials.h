/*
 * Access key and secret key of one credentials file, and what is signed with them
 * (4.9.3's AclSigner: HMAC-SHA1, base64).
 *
 * The file is INI-like; names as in 4.9.3's key file work too:
 *
 *     access_key = ...            AccessKey = ...
 *     secret_key = ...            SecretKey = ...
 *     security_token = ...        SecurityToken = ...      (may be absent)
 *
 * Where the secret is: in the file, and during acl_credentials_load() in one mapping of its own that no
 * core dump contains (MADV_DONTDUMP), that is not swapped if the memory lock limit allows it, and that a
 * child of fork finds zeroed. Before the function returns, the text is overwritten; what stays is the hash
 * state keyed with it. Neither is ever part of a message, a log line or the table.
 */
#pragma once

#include <stddef.h>

#include "shm/base/bytes.h"

#define ACL_FILE_MAX_BYTES 8192u
#define ACL_KEY_MAX 255u
#define ACL_TOKEN_MAX 4096u
#define ACL_SIGNATURE_LEN 28u /* base64 of 20 bytes */

struct acl_credentials;

/**
 * Reads @p path. It must be a regular file itself (no symbolic link), belong to the hub's user or root, and be readable and
 * writable by its owner at most (0600). Blocks for a small file. 0 | -errno, and one line in @p why, without secrets.
 */
int acl_credentials_load(struct acl_credentials **out, const char *path, char *why, size_t cap);
/** Overwrites, then unmaps. NULL is fine. */
struct acl_credentials *acl_credentials_free(struct acl_credentials *credentials);

struct span acl_credentials_access_key(const struct acl_credentials *credentials);
/** data == NULL: none. */
struct span acl_credentials_security_token(const struct acl_credentials *credentials);

/**
 * Signs the concatenation of @p parts and writes ACL_SIGNATURE_LEN characters, unterminated. Neither allocates nor hashes the key again.
 */
void acl_sign(const struct acl_credentials *credentials, const struct span *parts, unsigned count, char signature[ACL_SIGNATURE_LEN]);
