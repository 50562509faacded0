/*
 * HMAC by hand, over OpenSSL's SHA-1: the states after the inner and the outer key block are computed once and
 * copied for each message, a struct assignment. EVP's HMAC keeps a key as well, but OpenSSL 3.0 allocates at
 * each re-initialisation, and it would hold the key itself; here nothing is left from which the key can be read.
 * The functions below are deprecated in favour of EVP, and remain in every OpenSSL 3.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "hub/remoting/acl_credentials.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "hub/remoting/secret_file.h"

struct acl_credentials {
    SHA_CTX inner, outer; /* keyed */
    size_t access_key_len, security_token_len;
    char access_key[ACL_KEY_MAX];
    char security_token[ACL_TOKEN_MAX];
    /* During the load only. */
    struct span secret;
    unsigned char key_block[SHA_CBLOCK];
    char text[ACL_FILE_MAX_BYTES + 1];
};

__attribute__((format(printf, 4, 5))) static int refuse(char *why, size_t cap, const char *path, const char *fmt, ...)
{
    va_list args;
    int used = snprintf(why, cap, "credentials file %s ", path);
    va_start(args, fmt);
    if (used >= 0 && (size_t)used < cap)
        vsnprintf(why + used, cap - (size_t)used, fmt, args);
    va_end(args);
    return -EACCES;
}

/* ---- its lines; a message names the line and never what stands in it ---- */

static struct span trim(struct span s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = (struct span){s.data + 1, s.len - 1};
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t' || s.data[s.len - 1] == '\r'))
        s.len--;
    return s;
}

/* Visible characters, and bytes of UTF-8 beyond ASCII. */
static bool is_visible(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] <= ' ' || s.data[i] == 0x7f)
            return false;
    return true;
}

struct found {
    struct span access_key, secret_key, security_token;
};

static struct span *field_of(struct found *found, struct span name, size_t *max)
{
    *max = ACL_KEY_MAX;
    if (span_equals(name, SPAN_LITERAL("access_key")) || span_equals(name, SPAN_LITERAL("AccessKey")))
        return &found->access_key;
    if (span_equals(name, SPAN_LITERAL("secret_key")) || span_equals(name, SPAN_LITERAL("SecretKey")))
        return &found->secret_key;
    *max = ACL_TOKEN_MAX;
    if (span_equals(name, SPAN_LITERAL("security_token")) || span_equals(name, SPAN_LITERAL("SecurityToken")))
        return &found->security_token;
    return NULL;
}

static const char *take_line(struct found *found, struct span line)
{
    line = trim(line);
    if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
        return NULL;
    const char *equals = memchr(line.data, '=', line.len);
    if (!equals)
        return "is not of the form name = value";
    size_t max, before = (size_t)(equals - line.data);
    struct span value = trim((struct span){equals + 1, line.len - before - 1});
    struct span *field = field_of(found, trim((struct span){line.data, before}), &max);
    if (!field)
        return "sets something else than access_key, secret_key and security_token";
    if (field->data)
        return "sets again what was set before";
    if (value.len == 0)
        return "has no value";
    if (value.len > max)
        return max == ACL_KEY_MAX ? "has a key of more than 255 bytes" : "has a token of more than 4096 bytes";
    if (!is_visible(value))
        return "has a blank or a control character in its value";
    *field = value;
    return NULL;
}

static int parse(struct acl_credentials *c, size_t len, const char *path, char *why, size_t cap)
{
    struct found found = {0};
    struct span rest = {c->text, len};
    for (unsigned number = 1; rest.len > 0; number++) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t line_len = end ? (size_t)(end - rest.data) : rest.len;
        const char *wrong = take_line(&found, (struct span){rest.data, line_len});
        if (wrong)
            return refuse(why, cap, path, "line %u %s", number, wrong);
        size_t step = end ? line_len + 1 : line_len;
        rest = (struct span){rest.data + step, rest.len - step};
    }
    if (!found.access_key.data || !found.secret_key.data)
        return refuse(why, cap, path, "has no %s", found.access_key.data ? "secret_key" : "access_key");
    memcpy(c->access_key, found.access_key.data, found.access_key.len);
    c->access_key_len = found.access_key.len;
    if (found.security_token.data)
        memcpy(c->security_token, found.security_token.data, found.security_token.len);
    c->security_token_len = found.security_token.len;
    c->secret = found.secret_key;
    return 0;
}

/* ---- the key ---- */

static void key_state(struct acl_credentials *c, SHA_CTX *state, unsigned char pad)
{
    memset(c->key_block, 0, sizeof(c->key_block));
    if (c->secret.len > sizeof(c->key_block))
        SHA1((const unsigned char *)c->secret.data, c->secret.len, c->key_block);
    else
        memcpy(c->key_block, c->secret.data, c->secret.len);
    for (size_t i = 0; i < sizeof(c->key_block); i++)
        c->key_block[i] ^= pad;
    SHA1_Init(state);
    SHA1_Update(state, c->key_block, sizeof(c->key_block)); /* a whole block: the state keeps none of its bytes */
}

static void forget_text(struct acl_credentials *c)
{
    OPENSSL_cleanse(c->text, sizeof(c->text));
    OPENSSL_cleanse(c->key_block, sizeof(c->key_block));
    c->secret = (struct span){NULL, 0};
}

/* ---- public ---- */

int acl_credentials_load(struct acl_credentials **out, const char *path, char *why, size_t cap)
{
    struct acl_credentials *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED) {
        refuse(why, cap, path, "cannot be loaded: no memory");
        return -ENOMEM;
    }
    /* All three may be unsupported or over a limit: each alone narrows where the text could end up. */
    madvise(c, sizeof(*c), MADV_DONTDUMP);
    madvise(c, sizeof(*c), MADV_WIPEONFORK);
    mlock(c, sizeof(*c));
    size_t len;
    int r = secret_file_read("credentials file", path, c->text, sizeof(c->text), &len, why, cap);
    if (r == 0)
        r = parse(c, len, path, why, cap);
    if (r < 0) {
        acl_credentials_free(c);
        return r;
    }
    key_state(c, &c->inner, 0x36);
    key_state(c, &c->outer, 0x5c);
    forget_text(c);
    *out = c;
    return 0;
}

struct acl_credentials *acl_credentials_free(struct acl_credentials *c)
{
    if (!c)
        return NULL;
    OPENSSL_cleanse(c, sizeof(*c));
    munmap(c, sizeof(*c));
    return NULL;
}

struct span acl_credentials_access_key(const struct acl_credentials *c)
{
    return (struct span){c->access_key, c->access_key_len};
}

struct span acl_credentials_security_token(const struct acl_credentials *c)
{
    return (struct span){c->security_token_len ? c->security_token : NULL, c->security_token_len};
}

void acl_sign(const struct acl_credentials *c, const struct span *parts, unsigned count, char signature[ACL_SIGNATURE_LEN])
{
    unsigned char digest[SHA_DIGEST_LENGTH], text[ACL_SIGNATURE_LEN + 1];
    SHA_CTX state = c->inner;
    for (unsigned i = 0; i < count; i++)
        SHA1_Update(&state, parts[i].data, parts[i].len);
    SHA1_Final(digest, &state);
    state = c->outer;
    SHA1_Update(&state, digest, sizeof(digest));
    SHA1_Final(digest, &state);
    EVP_EncodeBlock(text, digest, sizeof(digest));
    memcpy(signature, text, ACL_SIGNATURE_LEN);
}
