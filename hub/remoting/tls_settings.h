/*
 * What an instance's connections need to know about TLS; plain data, so that the
 * configuration can be passed down without OpenSSL.
 */
#pragma once

#include <stdbool.h>

#define TLS_PATH_MAX 1023

/** Empty strings: not set. The paths are absolute. */
struct tls_settings {
    bool enable;   /* use_tls; everything below counts with it only */
    bool insecure; /* accepts every certificate */
    char ca_file[TLS_PATH_MAX + 1];
    char cert_file[TLS_PATH_MAX + 1];
    char key_file[TLS_PATH_MAX + 1];
    char key_password_file[TLS_PATH_MAX + 1];
    char server_name[256]; /* that every certificate must carry; empty: the host that is dialled */
};
