#include "tests/unit/hub/tls_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/remoting/remoting_codec.h"

#define DAY_S (24L * 3600)
#define IN_BYTES ((size_t)8 << 20)

/* ---- certificates ---- */

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

void tls_identity_issue(struct tls_identity *out, const struct tls_identity *issuer, const struct tls_wish *wish)
{
    static long serial = 1000;
    X509 *cert = X509_new();
    EVP_PKEY *key = wish->rsa_bits ? EVP_RSA_gen((unsigned)wish->rsa_bits) : EVP_EC_gen("P-256");
    assert_non_null(cert);
    assert_non_null(key);
    bool dated = wish->from_s || wish->until_s;
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), dated ? wish->from_s : -DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(cert), dated ? wish->until_s : DAY_S);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)wish->name, -1, -1, 0);
    X509 *by = issuer ? issuer->cert : cert;
    X509_set_issuer_name(cert, X509_get_subject_name(by));
    add_extension(cert, by, NID_basic_constraints, wish->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    add_extension(cert, by, NID_subject_key_identifier, "hash");
    if (wish->authority)
        add_extension(cert, by, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (wish->san)
        add_extension(cert, by, NID_subject_alt_name, wish->san);
    assert_true(X509_sign(cert, issuer ? issuer->key : key, EVP_sha256()) > 0);
    *out = (struct tls_identity){key, cert};
}

void tls_identity_clear(struct tls_identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->cert);
    *identity = (struct tls_identity){0};
}

static FILE *create(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    return file;
}

void tls_write_certificate(const char *path, const struct tls_identity *identity)
{
    FILE *file = create(path, 0644);
    assert_int_equal(PEM_write_X509(file, identity->cert), 1);
    fclose(file);
}

void tls_write_key(const char *path, const struct tls_identity *identity, const char *password)
{
    FILE *file = create(path, 0600);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, identity->key, password ? EVP_aes_256_cbc() : NULL, password,
                                               password ? (int)strlen(password) : 0, NULL, NULL),
                     1);
    fclose(file);
}

/* ---- the server ---- */

void tls_server_open(struct tls_server *s, const struct tls_identity *identity)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    *s = (struct tls_server){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    for (unsigned i = 0; i < TLS_SERVER_CONNS; i++)
        s->conns[i].fd = -1;
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&addr, &len), 0);
    s->port = ntohs(addr.sin_port);
    snprintf(s->address, sizeof(s->address), "127.0.0.1:%u", s->port);
    snprintf(s->by_name, sizeof(s->by_name), "localhost:%u", s->port);
    s->ssl = SSL_CTX_new(TLS_server_method());
    assert_non_null(s->ssl);
    SSL_CTX_set_security_level(s->ssl, 0); /* what is too weak is for the client to refuse */
    SSL_CTX_set_min_proto_version(s->ssl, 0);
    SSL_CTX_set_mode(s->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_id_context(s->ssl, (const unsigned char *)"test", 4);
    assert_int_equal(SSL_CTX_use_certificate(s->ssl, identity->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s->ssl, identity->key), 1);
}

void tls_server_require(struct tls_server *s, const struct tls_identity *authority)
{
    X509_STORE_add_cert(SSL_CTX_get_cert_store(s->ssl), authority->cert);
    SSL_CTX_set_verify(s->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void end_conn(struct tls_server_conn *c, bool polite, bool reset)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (c->fd < 0)
        return;
    if (polite && c->ssl)
        SSL_shutdown(c->ssl);
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    SSL_free(c->ssl);
    close(c->fd);
    free(c->in);
    *c = (struct tls_server_conn){.fd = -1};
    ERR_clear_error();
}

void tls_server_drop(struct tls_server *s, bool polite, bool reset)
{
    for (unsigned i = 0; i < TLS_SERVER_CONNS; i++)
        end_conn(&s->conns[i], polite, reset);
}

void tls_server_close(struct tls_server *s)
{
    if (!s->ssl)
        return;
    tls_server_drop(s, false, false);
    close(s->fd);
    SSL_CTX_free(s->ssl);
    s->ssl = NULL;
}

static void answer(struct tls_server *s, struct tls_server_conn *c, const uint8_t *frame, size_t len)
{
    struct remoting_command cmd;
    struct remoting_encoder e;
    char scratch[REMOTING_SCRATCH_BYTES], reply[512];
    size_t reply_len;
    assert_int_equal(remoting_command_decode(&cmd, frame, len, scratch, sizeof(scratch)), 0);
    if (s->mute)
        return;
    remoting_encode_begin(&e, reply, sizeof(reply), SERIALIZE_JSON, 0, LANGUAGE_JAVA, 399, cmd.opaque, REMOTING_FLAG_RESPONSE);
    assert_non_null(remoting_encode_body(&e, 0, &reply_len));
    assert_int_equal(SSL_write(c->ssl, reply, (int)reply_len), (int)reply_len);
    s->answered++;
}

static bool take_frames(struct tls_server *s, struct tls_server_conn *c)
{
    int n = SSL_read(c->ssl, c->in + c->in_len, (int)(IN_BYTES - c->in_len));
    if (n <= 0) {
        int error = SSL_get_error(c->ssl, n);
        ERR_clear_error();
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return false;
        end_conn(c, error == SSL_ERROR_ZERO_RETURN, false);
        return true;
    }
    s->bytes_in += (uint64_t)n;
    c->in_len += (size_t)n;
    size_t at = 0, frame_len;
    while (remoting_frame_split(c->in + at, c->in_len - at, &frame_len) == 0) {
        answer(s, c, c->in + at, frame_len);
        at += frame_len;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    return true;
}

static bool shake_hands(struct tls_server *s, struct tls_server_conn *c)
{
    int n = SSL_accept(c->ssl);
    int error = n == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, n);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return false;
    if (n != 1) {
        end_conn(c, false, false);
        return true;
    }
    c->ready = true;
    c->resumed = SSL_session_reused(c->ssl);
    s->handshakes++;
    s->resumed += c->resumed;
    return true;
}

static void take_connection(struct tls_server *s, int fd)
{
    static const char greeting[] = "SSH-2.0-OpenSSH_9.2\r\n";
    for (unsigned i = 0; i < TLS_SERVER_CONNS; i++) {
        struct tls_server_conn *c = &s->conns[i];
        if (c->fd >= 0)
            continue;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        s->accepted++;
        *c = (struct tls_server_conn){.fd = fd};
        if (s->manner == TLS_HANGS_UP)
            end_conn(c, false, false);
        else if (s->manner == TLS_PLAINTEXT)
            assert_int_equal(send(fd, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL), (int)sizeof(greeting) - 1);
        if (s->manner != TLS_SPEAKS)
            return;
        c->in = malloc(IN_BYTES);
        c->ssl = SSL_new(s->ssl);
        assert_non_null(c->in);
        assert_int_equal(SSL_set_fd(c->ssl, fd), 1);
        return;
    }
    fail_msg("more connections than the test has room for");
}

bool tls_server_poll(struct tls_server *s)
{
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    bool moved = fd >= 0;
    ERR_clear_error();
    if (fd >= 0)
        take_connection(s, fd);
    for (unsigned i = 0; i < TLS_SERVER_CONNS; i++) {
        struct tls_server_conn *c = &s->conns[i];
        if (c->fd >= 0 && c->ssl && !c->ready)
            moved |= shake_hands(s, c);
        for (unsigned n = 0; n < 64 && c->fd >= 0 && c->ready && !s->stop_reading && take_frames(s, c); n++)
            moved = true;
    }
    return moved;
}
