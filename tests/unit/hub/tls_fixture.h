/*
 * Certificates made in memory, valid or wrong in one thing, and a TLS server in
 * the test's own thread that answers every request with success, or misbehaves.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_SERVER_CONNS 8

struct tls_identity {
    EVP_PKEY *key;
    X509 *cert;
};

/** What a certificate is to say. Seconds count from now. */
struct tls_wish {
    const char *name;
    const char *san;      /* "IP:127.0.0.1,DNS:localhost"; NULL: none */
    int rsa_bits;         /* 0: an elliptic curve */
    long from_s, until_s; /* both 0: valid for a day */
    bool authority;
};

/** @p issuer NULL: signs itself. */
void tls_identity_issue(struct tls_identity *out, const struct tls_identity *issuer, const struct tls_wish *wish);
void tls_identity_clear(struct tls_identity *identity);
void tls_write_certificate(const char *path, const struct tls_identity *identity);
/** Mode 0600; @p password NULL: not encrypted. */
void tls_write_key(const char *path, const struct tls_identity *identity, const char *password);

enum tls_manner {
    TLS_SPEAKS,
    TLS_PLAINTEXT, /* greets whoever connects, in plain text */
    TLS_STALLS,    /* takes the connection and says nothing */
    TLS_HANGS_UP,  /* closes it */
};

struct tls_server_conn {
    int fd; /* -1: none */
    SSL *ssl;
    bool ready, resumed;
    uint8_t *in;
    size_t in_len;
};

struct tls_server {
    int fd;
    uint16_t port;
    char address[32], by_name[32]; /* 127.0.0.1:port, localhost:port */
    enum tls_manner manner;
    bool stop_reading, mute;
    SSL_CTX *ssl;
    struct tls_server_conn conns[TLS_SERVER_CONNS];
    unsigned accepted, handshakes, resumed, answered;
    uint64_t bytes_in; /* decrypted */
};

void tls_server_open(struct tls_server *server, const struct tls_identity *identity);
void tls_server_close(struct tls_server *server);
/** Asks clients for a certificate of @p authority. */
void tls_server_require(struct tls_server *server, const struct tls_identity *authority);
/** True when something moved. */
bool tls_server_poll(struct tls_server *server);
/** Ends every connection: politely (close_notify), with a bare FIN, or with a reset. */
void tls_server_drop(struct tls_server *server, bool polite, bool reset);
