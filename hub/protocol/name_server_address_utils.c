/* Written out by hand instead of with regular expressions: each rule is one loop, and the text comes from people and processes. */
#include "hub/protocol/name_server_address_utils.h"

#include <errno.h>
#include <string.h>

#include "shm/base/bytes.h"
#include "shm/base/text.h"

#define ENDPOINT_PREFIX "http://"
#define INSTANCE_PREFIX "MQ_INST_"

static size_t after_last_slash(const char *text, size_t len)
{
    while (len > 0 && text[len - 1] != '/')
        len--;
    return len;
}

int name_server_address_list(const char *setting, char *out, size_t cap)
{
    struct span text = span_trim(span_of(setting));
    if (text.len >= strlen(ENDPOINT_PREFIX) && memcmp(text.data, ENDPOINT_PREFIX, strlen(ENDPOINT_PREFIX)) == 0) {
        size_t skip = after_last_slash(text.data, text.len);
        text = (struct span){text.data + skip, text.len - skip};
    }
    if (text.len == 0)
        return -EINVAL;
    return text_copy(out, cap, text.data, text.len) ? 0 : -E2BIG;
}

/* \w of a regular expression. */
static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t word_len(const char *text)
{
    size_t n = 0;
    while (is_word(text[n]))
        n++;
    return n;
}

/* MQ_INST_\w+_\w+: the underscore that parts the two words is one of the word's own letters. */
static bool is_instance_label(const char *label, size_t len)
{
    size_t prefix = strlen(INSTANCE_PREFIX);
    if (len < prefix + 3 || memcmp(label, INSTANCE_PREFIX, prefix) != 0)
        return false;
    return memchr(label + prefix + 1, '_', len - prefix - 2) != NULL;
}

bool name_server_address_namespace(const char *setting, char *out, size_t cap)
{
    const char *text = span_trim(span_of(setting)).data, *label = text;
    size_t scheme = word_len(text);
    if (scheme > 0 && strncmp(text + scheme, "://", 3) == 0)
        label = text + scheme + 3;
    size_t len = word_len(label);
    /* 4.9.3 takes what stands between the last '/' and the first '.': the same, unless a '/' follows later, where it fails. */
    if (label[len] != '.' || strchr(label + len, '/'))
        return false;
    return is_instance_label(label, len) && text_copy(out, cap, label, len);
}
