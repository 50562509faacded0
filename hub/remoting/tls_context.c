/*
 * Verification is OpenSSL's, at security level 2: chain, dates, purpose, key sizes
 * of 2048 bits and more; host name or address is asked for per connection. A key
 * is read by us and handed over as bytes, so that the file that was checked is
 * the file that is read.
 */
#include "hub/remoting/tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hub/remoting/channel.h"
#include "hub/remoting/secret_file.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define SECRET_FILE_MAX ((size_t)32 << 10)
#define PASSWORD_MAX 1024
#define SESSIONS_MAX 64u
#define SECURITY_LEVEL 2
#define READ_BUFFER_BYTES ((size_t)64 << 10)

struct kept_session {
    char address[CHANNEL_ADDRESS_MAX + 1];
    SSL_SESSION *session;
};

struct tls_context {
    unsigned refs;
    SSL_CTX *ssl;
    struct tls_settings settings;
    struct kept_session sessions[SESSIONS_MAX];
    unsigned next_session; /* to be replaced when all are in use */
};

/* A secret read into memory; overwritten before it is given back. */
struct secret {
    char *data;
    size_t len;
};

__attribute__((format(printf, 3, 4))) static int refuse(char *why, size_t cap, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, cap, fmt, args);
    va_end(args);
    return -EINVAL;
}

/* The newest reason that OpenSSL gave, as text; clears them all. */
static const char *openssl_reason(void)
{
    unsigned long error = ERR_peek_last_error();
    const char *text = error ? ERR_reason_error_string(error) : NULL;
    ERR_clear_error();
    return text ? text : "unknown error";
}

/* ---- files with secrets ---- */

static void secret_free(struct secret *secret)
{
    if (secret->data)
        OPENSSL_clear_free(secret->data, SECRET_FILE_MAX);
    *secret = (struct secret){0};
}

static int read_secret(struct secret *out, const char *what, const char *path, char *why, size_t cap)
{
    *out = (struct secret){.data = OPENSSL_malloc(SECRET_FILE_MAX)};
    if (!out->data)
        return refuse(why, cap, "%s %s cannot be read: no memory", what, path);
    return secret_file_read(what, path, out->data, SECRET_FILE_MAX, &out->len, why, cap);
}

static int give_password(char *buf, int size, int writing, void *ctx)
{
    const struct secret *password = ctx;
    (void)writing;
    size_t len = password->data ? strnlen(password->data, password->len) : 0;
    for (size_t i = 0; i < len; i++)
        if (password->data[i] == '\n' || password->data[i] == '\r')
            len = i;
    if (len > (size_t)size || len > PASSWORD_MAX)
        return -1;
    if (len)
        memcpy(buf, password->data, len);
    return (int)len;
}

/* ---- the context ---- */

static int take_ca(SSL_CTX *ssl, const struct tls_settings *s, char *why, size_t cap)
{
    if (s->insecure)
        return 0;
    if (!s->ca_file[0]) {
        if (SSL_CTX_set_default_verify_paths(ssl) == 1)
            return 0;
        return refuse(why, cap, "the machine's trusted certificates cannot be read: %s", openssl_reason());
    }
    if (access(s->ca_file, R_OK) < 0)
        return refuse(why, cap, "tls_ca_file %s cannot be read: %s", s->ca_file, strerror(errno));
    if (SSL_CTX_load_verify_file(ssl, s->ca_file) == 1)
        return 0;
    return refuse(why, cap, "tls_ca_file %s holds no certificates that can be read: %s", s->ca_file, openssl_reason());
}

/*
 * OpenSSL copies parts of a private key about its heap, so a core dump would contain it. One byte, not zero: with
 * zero the kernel would still give the core to a program that core_pattern names.
 */
static void leave_no_core(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_cur == 1)
        return;
    limit.rlim_cur = 1;
    if (setrlimit(RLIMIT_CORE, &limit) == 0)
        LOG_INFO("tls", "no core dumps from now on: a private key is in memory");
    else
        LOG_WARN("tls", "core dumps cannot be switched off (%s): they would contain the private key", strerror(errno));
}

static int take_key(SSL_CTX *ssl, const struct tls_settings *s, char *why, size_t cap)
{
    struct secret key = {0}, password = {0};
    EVP_PKEY *pkey = NULL;
    leave_no_core();
    int r = read_secret(&key, "tls_key_file", s->key_file, why, cap);
    if (r == 0 && s->key_password_file[0])
        r = read_secret(&password, "tls_key_password_file", s->key_password_file, why, cap);
    if (r == 0) {
        BIO *bio = BIO_new_mem_buf(key.data, (int)key.len);
        pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_password, &password) : NULL;
        BIO_free(bio);
        if (!pkey)
            r = refuse(why, cap, "tls_key_file %s cannot be used: %s (%s password file)", s->key_file, openssl_reason(),
                       s->key_password_file[0] ? "with the" : "without a");
    }
    if (r == 0 && (SSL_CTX_use_PrivateKey(ssl, pkey) != 1 || SSL_CTX_check_private_key(ssl) != 1))
        r = refuse(why, cap, "tls_key_file %s does not belong to tls_cert_file %s: %s", s->key_file, s->cert_file, openssl_reason());
    EVP_PKEY_free(pkey);
    secret_free(&key);
    secret_free(&password);
    return r;
}

static int take_certificate(SSL_CTX *ssl, const struct tls_settings *s, char *why, size_t cap)
{
    if (!s->cert_file[0])
        return 0;
    if (access(s->cert_file, R_OK) < 0)
        return refuse(why, cap, "tls_cert_file %s cannot be read: %s", s->cert_file, strerror(errno));
    if (SSL_CTX_use_certificate_chain_file(ssl, s->cert_file) != 1)
        return refuse(why, cap, "tls_cert_file %s cannot be used: %s", s->cert_file, openssl_reason());
    return take_key(ssl, s, why, cap);
}

static int fill(SSL_CTX *ssl, const struct tls_settings *s, char *why, size_t cap)
{
    SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_verify(ssl, s->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Servers put each reply into a record of its own: without this, two system calls a message. */
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ssl, READ_BUFFER_BYTES);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    int r = take_ca(ssl, s, why, cap);
    return r == 0 ? take_certificate(ssl, s, why, cap) : r;
}

int tls_context_new(struct tls_context **out, const struct tls_settings *settings, char *why, size_t cap)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    if (cap)
        why[0] = '\0';
    ERR_clear_error();
    SSL_CTX *ssl = context ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (!ssl) {
        free(context);
        refuse(why, cap, "no memory for a TLS context");
        return -ENOMEM;
    }
    *context = (struct tls_context){.refs = 1, .ssl = ssl, .settings = *settings};
    int r = fill(ssl, settings, why, cap);
    if (r < 0) {
        tls_context_unref(context);
        return r;
    }
    *out = context;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    if (context)
        context->refs++;
    return context;
}

struct tls_context *tls_context_unref(struct tls_context *context)
{
    if (!context || --context->refs > 0)
        return NULL;
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        SSL_SESSION_free(context->sessions[i].session);
    SSL_CTX_free(context->ssl);
    free(context);
    return NULL;
}

const struct tls_settings *tls_context_settings(const struct tls_context *context)
{
    return &context->settings;
}

SSL_CTX *tls_context_ssl(struct tls_context *context)
{
    return context->ssl;
}

/* ---- sessions to resume ---- */

static struct kept_session *find_session(struct tls_context *context, const char *address)
{
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        if (context->sessions[i].session && strcmp(context->sessions[i].address, address) == 0)
            return &context->sessions[i];
    return NULL;
}

SSL_SESSION *tls_context_session(struct tls_context *context, const char *address)
{
    struct kept_session *kept = find_session(context, address);
    if (!kept || SSL_SESSION_up_ref(kept->session) != 1)
        return NULL;
    return kept->session;
}

void tls_context_keep_session(struct tls_context *context, const char *address, SSL_SESSION *session)
{
    struct kept_session *kept = find_session(context, address);
    if (!kept)
        kept = &context->sessions[context->next_session++ % SESSIONS_MAX];
    SSL_SESSION_free(kept->session);
    kept->session = session;
    text_copy(kept->address, sizeof(kept->address), address, strlen(address));
}
