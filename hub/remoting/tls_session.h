/*
 * TLS on one connection. The socket stays the channel's: this module encrypts
 * and decrypts, and moves the bytes only while it is called.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TLS_WHY_MAX 128

struct tls_context;
struct tls_session;

/**
 * Over a connected, non-blocking socket that stays the caller's. @p address is "host:port": the certificate must carry that host
 * (or the context's server name), and the context's session for it is resumed. Keeps a reference to the context. 0 | -ENOMEM |
 * -EINVAL a host that cannot be verified.
 */
int tls_session_new(struct tls_session **out, struct tls_context *context, int fd, const char *address);
/** Tells the peer good-bye if the socket takes it at once. NULL is fine. Returns NULL. */
struct tls_session *tls_session_free(struct tls_session *session);

/** Goes on with the handshake as far as the socket allows. 0 done | -EAGAIN | -EPROTO, and tls_session_why() says what is wrong. */
int tls_session_handshake(struct tls_session *session);

/**
 * As read(2): > 0; 0 the end; -1 with errno EAGAIN, or another one with tls_session_why(). Call again until EAGAIN:
 * what was read from the socket in advance makes it readable no more.
 */
ssize_t tls_session_read(struct tls_session *session, void *buf, size_t len);
/**
 * Encrypts and sends what the socket takes. Bytes that are taken belong to the stream; the last few KiB of them may still lie
 * here (tls_session_unsent()). >= 0, or -1 with errno. An error behind bytes that were taken is told by the next call.
 */
ssize_t tls_session_write(struct tls_session *session, const void *buf, size_t len);
/** The errno that every further write will fail with; 0: none. */
int tls_session_write_error(const struct tls_session *session);
/** Encrypted bytes that the socket has not taken yet. */
size_t tls_session_unsent(const struct tls_session *session);

/** Gives back OpenSSL's buffers, if no record is half read or half written; the next bytes get new ones. True if it did. */
bool tls_session_trim(struct tls_session *session);

/** Why the last call failed; never NULL. */
const char *tls_session_why(const struct tls_session *session);
const char *tls_session_protocol(const struct tls_session *session); /* "TLSv1.3" */
const char *tls_session_cipher(const struct tls_session *session);
bool tls_session_is_verified(const struct tls_session *session);
bool tls_session_is_resumed(const struct tls_session *session);
/** Writes the subject's common name of the peer's certificate, or "". */
void tls_session_peer(const struct tls_session *session, char *out, size_t cap);
