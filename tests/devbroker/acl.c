/*
 * A second opinion on signatures: nothing here is shared with the hub, and the HMAC is OpenSSL's one-shot function.
 */
#include "tests/devbroker/acl.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define EXCEPTION "org.apache.rocketmq.acl.common.AclException: "

static int by_name(const void *a, const void *b)
{
    const struct ext_field *x = a, *y = b;
    size_t shorter = x->key.len < y->key.len ? x->key.len : y->key.len;
    int order = memcmp(x->key.data, y->key.data, shorter);
    return order ? order : (x->key.len > y->key.len) - (x->key.len < y->key.len);
}

static bool is_left_out(struct span name)
{
    return span_equals(name, SPAN_LITERAL("Signature")) || span_equals(name, SPAN_LITERAL("_UNIQUE_KEY_QUERY"));
}

/* Signature of the values in the order of their names, and the body. */
static bool sign(struct request *r, const char *secret, char out[64])
{
    const struct remoting_command *c = r->command;
    struct ext_field sorted[REMOTING_MAX_EXT_FIELDS] = {0};
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len;
    size_t len = c->body.len, at = 0;
    for (unsigned i = 0; i < c->ext_count; i++) {
        sorted[i] = c->ext[i];
        len += c->ext[i].value.len;
    }
    qsort(sorted, c->ext_count, sizeof(*sorted), by_name);
    char *text = malloc(len + 1);
    if (!text)
        return false;
    for (unsigned i = 0; i < c->ext_count; i++) {
        if (is_left_out(sorted[i].key))
            continue;
        memcpy(text + at, sorted[i].value.data, sorted[i].value.len);
        at += sorted[i].value.len;
    }
    if (c->body.len)
        memcpy(text + at, c->body.data, c->body.len);
    bool done = HMAC(EVP_sha1(), secret, (int)strlen(secret), (unsigned char *)text, at + c->body.len, digest, &digest_len) != NULL;
    free(text);
    if (done)
        EVP_EncodeBlock((unsigned char *)out, digest, (int)digest_len);
    return done;
}

bool acl_allows(struct request *r)
{
    const struct devbroker_options *o = &r->dev->options;
    char signature[64];
    if (!o->acl_secret_key[0])
        return true;
    struct span key = remoting_command_ext(r->command, "AccessKey");
    if (key.len == 0) {
        reply(r, 1, EXCEPTION "No accessKey is configured, rmqhub-devbroker");
        return false;
    }
    if (!span_equals(key, span_of(o->acl_access_key))) {
        replyf(r, 1, EXCEPTION "No acl config for %.*s, rmqhub-devbroker", (int)key.len, key.data);
        return false;
    }
    if (!sign(r, o->acl_secret_key, signature) || !span_equals(remoting_command_ext(r->command, "Signature"), span_of(signature))) {
        replyf(r, 1, EXCEPTION "Check signature failed for accessKey=%.*s, rmqhub-devbroker", (int)key.len, key.data);
        return false;
    }
    return true;
}
