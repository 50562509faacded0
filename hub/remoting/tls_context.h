/*
 * What all TLS connections of one instance share: an OpenSSL client context made
 * from settings, and the sessions that servers let us resume. A reload makes a
 * new one; connections keep the one they began with.
 */
#pragma once

#include <stddef.h>

#include "hub/remoting/tls_settings.h"

struct ssl_ctx_st;     /* OpenSSL's SSL_CTX */
struct ssl_session_st; /* OpenSSL's SSL_SESSION */
struct tls_context;

/**
 * Reads certificates, key and password, and checks that they belong together; blocks for small files, no network. The key and
 * its password must be regular files (no symbolic link) of the hub's user or root with mode 0600 or less. One reference is the
 * caller's. 0 | -errno, and one line in @p why that names the file and what is wrong, without secrets.
 */
int tls_context_new(struct tls_context **out, const struct tls_settings *settings, char *why, size_t cap);
struct tls_context *tls_context_ref(struct tls_context *context);
/** Returns NULL; frees with the last reference. NULL is fine. */
struct tls_context *tls_context_unref(struct tls_context *context);

const struct tls_settings *tls_context_settings(const struct tls_context *context);

/** For tls_session.c. */
struct ssl_ctx_st *tls_context_ssl(struct tls_context *context);
/** The session to offer to this address, with a reference for the caller, or NULL. */
struct ssl_session_st *tls_context_session(struct tls_context *context, const char *address);
/** Takes over the reference. */
void tls_context_keep_session(struct tls_context *context, const char *address, struct ssl_session_st *session);
