/*
 * OpenSSL reads from the socket itself, but writes into memory: a record, once
 * encrypted, cannot be taken back or changed, while the channel's buffer moves
 * and shrinks. So never more than one record lies here unsent, and a byte counts
 * as written from the moment in which it is encrypted.
 */
#include "hub/remoting/tls_session.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "hub/remoting/channel.h"
#include "hub/remoting/resolver.h"
#include "hub/remoting/tls_context.h"
#include "shm/base/text.h"

#define RECORD_MAX 16384

struct tls_session {
    struct tls_context *context;
    SSL *ssl;
    BIO *out; /* the SSL's: encrypted bytes */
    int fd;
    int write_error; /* a record could not be made, errno; 0: none */
    bool handshaken, failed;
    char address[CHANNEL_ADDRESS_MAX + 1];
    char why[TLS_WHY_MAX];
};

/* ---- names ---- */

static bool is_ip(const char *host)
{
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(host);
    ASN1_OCTET_STRING_free(ip);
    if (!ip)
        ERR_clear_error();
    return ip != NULL;
}

static int expect_host(struct tls_session *s)
{
    char host[CHANNEL_ADDRESS_MAX + 1], port[8];
    const struct tls_settings *settings = tls_context_settings(s->context);
    if (address_split(s->address, host, sizeof(host), port, sizeof(port)) < 0)
        return -EINVAL;
    const char *name = settings->server_name[0] ? settings->server_name : host;
    bool ip = is_ip(name);
    if (!ip && SSL_set_tlsext_host_name(s->ssl, name) != 1)
        return -EINVAL;
    if (settings->insecure)
        return 0;
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int ok = ip ? X509_VERIFY_PARAM_set1_ip_asc(param, name) : X509_VERIFY_PARAM_set1_host(param, name, 0);
    return ok == 1 ? 0 : -EINVAL;
}

/* ---- life ---- */

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    /* A copy: OpenSSL marks a connection's own session as spoilt when the connection ends in any way but the polite one. */
    SSL_SESSION *copy = s ? SSL_SESSION_dup(session) : NULL;
    if (copy)
        tls_context_keep_session(s->context, s->address, copy);
    return 0;
}

static int set_up(struct tls_session *s)
{
    s->ssl = SSL_new(tls_context_ssl(s->context));
    s->out = BIO_new(BIO_s_mem());
    BIO *in = BIO_new_socket(s->fd, BIO_NOCLOSE);
    if (!s->ssl || !s->out || !in) {
        BIO_free(in);
        BIO_free(s->out);
        s->out = NULL;
        return -ENOMEM;
    }
    SSL_set_bio(s->ssl, in, s->out);
    SSL_set_app_data(s->ssl, s);
    SSL_CTX_sess_set_new_cb(tls_context_ssl(s->context), on_new_session);
    SSL_set_connect_state(s->ssl);
    int r = expect_host(s);
    SSL_SESSION *session = tls_context_session(s->context, s->address);
    if (session)
        SSL_set_session(s->ssl, session);
    SSL_SESSION_free(session);
    return r;
}

int tls_session_new(struct tls_session **out, struct tls_context *context, int fd, const char *address)
{
    struct tls_session *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    ERR_clear_error();
    s->context = tls_context_ref(context);
    s->fd = fd;
    text_copy(s->address, sizeof(s->address), address, strlen(address));
    int r = set_up(s);
    if (r < 0) {
        tls_session_free(s);
        return r;
    }
    *out = s;
    return 0;
}

/* Sends what lies here. True when nothing is left; false: wait for the socket, or errno is not EAGAIN. */
static bool flush(struct tls_session *s)
{
    char *data;
    errno = EAGAIN;
    long len = BIO_get_mem_data(s->out, &data);
    if (len <= 0)
        return true;
    ssize_t n = send(s->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        if (errno == EINTR || errno == ENOBUFS)
            errno = EAGAIN;
        return false;
    }
    char sent[4096];
    for (ssize_t left = n; left > 0;) /* there is no other way to drop bytes of a memory BIO */
        left -= BIO_read(s->out, sent, left < (ssize_t)sizeof(sent) ? (int)left : (int)sizeof(sent));
    errno = EAGAIN;
    return n == len;
}

struct tls_session *tls_session_free(struct tls_session *s)
{
    if (!s)
        return NULL;
    ERR_clear_error();
    if (s->handshaken && !s->failed && tls_session_unsent(s) == 0 && SSL_shutdown(s->ssl) >= 0)
        flush(s);
    SSL_free(s->ssl);
    ERR_clear_error();
    tls_context_unref(s->context);
    free(s);
    return NULL;
}

/* ---- why ---- */

static void say(struct tls_session *s, const char *text)
{
    text_copy(s->why, sizeof(s->why), text, strlen(text));
}

static void say_verification(struct tls_session *s, long result)
{
    static const struct {
        long result;
        const char *text;
    } rows[] = {
        {X509_V_ERR_CERT_HAS_EXPIRED, "the server's certificate has expired"},
        {X509_V_ERR_CERT_NOT_YET_VALID, "the server's certificate is not valid yet"},
        {X509_V_ERR_HOSTNAME_MISMATCH, "the server's certificate is for another host name"},
        {X509_V_ERR_IP_ADDRESS_MISMATCH, "the server's certificate is for another IP address"},
        {X509_V_ERR_EE_KEY_TOO_SMALL, "the server's key is too small"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "the server's certificate is of an authority that is not trusted"},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "the server's certificate is of an authority that is not trusted"},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "the server's certificate is signed by itself and not trusted"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].result == result) {
            say(s, rows[i].text);
            return;
        }
    }
    snprintf(s->why, sizeof(s->why), "the server's certificate is refused: %s", X509_verify_cert_error_string(result));
}

static bool is_about_our_certificate(int reason)
{
    static const int alerts[] = {SSL_R_TLSV1_ALERT_UNKNOWN_CA,          SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
                                 SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
                                 SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE};
    for (size_t i = 0; i < sizeof(alerts) / sizeof(alerts[0]); i++)
        if (alerts[i] == reason)
            return true;
    return false;
}

/* Java's servers call a certificate bad that was not sent at all. */
static bool is_for_want_of_a_certificate(const struct tls_session *s, int reason)
{
    return reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED || (is_about_our_certificate(reason) && !SSL_get_certificate(s->ssl));
}

/* Turns what OpenSSL left behind into a sentence. */
static void say_failure(struct tls_session *s, int ssl_error, int error)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    long verified = SSL_get_verify_result(s->ssl);
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    s->failed = true;
    if (ssl_error == SSL_ERROR_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        say_verification(s, verified);
    else if (ssl_error == SSL_ERROR_SSL && reason == SSL_R_WRONG_VERSION_NUMBER)
        say(s, "the answer is not TLS: a server without TLS?");
    else if (ssl_error == SSL_ERROR_SSL && (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION))
        say(s, "the server speaks no TLS 1.2 or 1.3");
    else if (ssl_error == SSL_ERROR_SSL && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        say(s, s->handshaken ? "closed by the peer without the end of TLS" : "closed by the peer during the TLS handshake");
    else if (ssl_error == SSL_ERROR_SSL && is_for_want_of_a_certificate(s, reason))
        say(s, "the server asks for a certificate of ours (tls_cert_file)");
    else if (ssl_error == SSL_ERROR_SSL && is_about_our_certificate(reason))
        snprintf(s->why, sizeof(s->why), "the server does not accept our certificate: %s", text);
    else if (ssl_error == SSL_ERROR_SYSCALL && error && !s->handshaken)
        snprintf(s->why, sizeof(s->why), "closed by the peer during the TLS handshake (%s)", strerror(error));
    else if (ssl_error == SSL_ERROR_SYSCALL && error)
        snprintf(s->why, sizeof(s->why), "TLS: %s", strerror(error));
    else if (ssl_error == SSL_ERROR_SYSCALL || ssl_error == SSL_ERROR_ZERO_RETURN)
        say(s, s->handshaken ? "closed by the peer" : "closed by the peer during the TLS handshake");
    else
        snprintf(s->why, sizeof(s->why), "TLS: %s", text ? text : "unknown error");
    ERR_clear_error();
}

/* ---- bytes ---- */

size_t tls_session_unsent(const struct tls_session *s)
{
    return BIO_ctrl_pending(s->out);
}

int tls_session_handshake(struct tls_session *s)
{
    ERR_clear_error();
    errno = 0;
    int n = SSL_do_handshake(s->ssl);
    int error = errno, ssl_error = n == 1 ? 0 : SSL_get_error(s->ssl, n);
    bool flushed = flush(s); /* an alert, too, should reach the peer */
    int send_error = errno;
    if (n != 1 && ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_WANT_WRITE) {
        say_failure(s, ssl_error, error);
        return -EPROTO;
    }
    if (!flushed && send_error != EAGAIN) {
        s->failed = true;
        snprintf(s->why, sizeof(s->why), "TLS handshake: %s", strerror(send_error));
        return -EPROTO;
    }
    s->handshaken = n == 1;
    return n == 1 ? 0 : -EAGAIN;
}

ssize_t tls_session_read(struct tls_session *s, void *buf, size_t len)
{
    ERR_clear_error();
    errno = 0;
    int n = SSL_read(s->ssl, buf, len < INT32_MAX ? (int)len : INT32_MAX);
    if (n > 0)
        return n;
    int error = errno, ssl_error = SSL_get_error(s->ssl, n);
    if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    say_failure(s, ssl_error, error);
    errno = error ? error : EPROTO;
    return ssl_error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

int tls_session_write_error(const struct tls_session *s)
{
    return s->write_error;
}

ssize_t tls_session_write(struct tls_session *s, const void *buf, size_t len)
{
    size_t taken = 0;
    if (s->write_error) {
        errno = s->write_error;
        return -1;
    }
    while (taken < len) {
        if (!flush(s))
            return taken || errno == EAGAIN ? (ssize_t)taken : -1;
        size_t part = len - taken < RECORD_MAX ? len - taken : RECORD_MAX;
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(s->ssl, (const char *)buf + taken, (int)part);
        if (n <= 0) {
            int error = errno, ssl_error = SSL_get_error(s->ssl, n);
            if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE)
                break;
            say_failure(s, ssl_error, error);
            errno = s->write_error = error ? error : EPROTO;
            return taken > 0 ? (ssize_t)taken : -1; /* the records before it may be with the peer */
        }
        taken += (size_t)n;
    }
    if (!flush(s) && errno != EAGAIN && taken == 0)
        return -1;
    return (ssize_t)taken;
}

bool tls_session_trim(struct tls_session *s)
{
    /* Between two records only: OpenSSL before 3.0.14 frees under a record that is half read. */
    bool between = s->handshaken && tls_session_unsent(s) == 0 && !SSL_has_pending(s->ssl) && strcmp(SSL_rstate_string(s->ssl), "RH") == 0;
    return between && SSL_free_buffers(s->ssl) == 1;
}

/* ---- what was agreed on ---- */

const char *tls_session_why(const struct tls_session *s)
{
    return s->why;
}

const char *tls_session_protocol(const struct tls_session *s)
{
    return SSL_get_version(s->ssl);
}

const char *tls_session_cipher(const struct tls_session *s)
{
    return SSL_get_cipher_name(s->ssl);
}

bool tls_session_is_verified(const struct tls_session *s)
{
    return !tls_context_settings(s->context)->insecure && SSL_get_verify_result(s->ssl) == X509_V_OK;
}

bool tls_session_is_resumed(const struct tls_session *s)
{
    return SSL_session_reused(s->ssl) == 1;
}

void tls_session_peer(const struct tls_session *s, char *out, size_t cap)
{
    X509 *certificate = SSL_get0_peer_certificate(s->ssl);
    out[0] = '\0';
    if (certificate && X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out, (int)cap) < 0)
        out[0] = '\0';
}
