/*
 * Each type has one parser, one sentence that says what it takes, and one
 * printer. A value is refused whole: a list with one bad entry changes nothing.
 */
#include "hub/config/config_value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "shm/base/text.h"

#define ID_MAX INT64_C(4294967294) /* (uid_t)-1 means "none" to the kernel */

bool id_list_contains(const struct id_list *list, uint32_t id)
{
    if (list->everybody)
        return true;
    for (unsigned i = 0; i < list->count; i++) {
        if (list->ids[i] == id)
            return true;
    }
    return false;
}

static bool id_parse(const char *text, bool group, uint32_t *out)
{
    int64_t number;
    if (text_parse_i64(text, 0, ID_MAX, &number)) {
        *out = (uint32_t)number;
        return true;
    }
    if (group) {
        const struct group *entry = getgrnam(text);
        if (entry)
            *out = entry->gr_gid;
        return entry != NULL;
    }
    const struct passwd *entry = getpwnam(text);
    if (entry)
        *out = entry->pw_uid;
    return entry != NULL;
}

/* The next entry of a list, blanks around it removed, into @p dst. False at the end or when it is too long. */
static bool next_entry(const char **cursor, char separator, char *dst, size_t cap)
{
    const char *start = *cursor;
    if (!start)
        return false;
    const char *end = strchr(start, separator);
    *cursor = end ? end + 1 : NULL;
    size_t len = end ? (size_t)(end - start) : strlen(start);
    while (len && isspace((unsigned char)*start)) {
        start++;
        len--;
    }
    while (len && isspace((unsigned char)start[len - 1]))
        len--;
    return text_copy(dst, cap, start, len);
}

static int parse_ids(struct id_list *out, bool group, int64_t max, const char *text)
{
    struct id_list list = {0};
    const char *cursor = *text ? text : NULL;
    char entry[64];
    if (strcmp(text, "*") == 0) {
        list.everybody = true;
        *out = list;
        return 0;
    }
    while (cursor) {
        if (list.count >= max || !next_entry(&cursor, ',', entry, sizeof(entry)) || !id_parse(entry, group, &list.ids[list.count]))
            return -EINVAL;
        list.count++;
    }
    *out = list;
    return 0;
}

static bool name_is_valid(const char *text)
{
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text) && !strchr("._-", *text))
            return false;
    }
    return true;
}

/* What 4.9.3's Validators let into topics and groups. */
static bool topic_is_valid(const char *text)
{
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text) && !strchr("%|-_", *text))
            return false;
    }
    return true;
}

/* A name, an IPv4 address, or an IPv6 address in brackets; bare IPv6 where no port can follow. */
static bool host_is_valid(const char *host, bool bare_ipv6)
{
    struct in6_addr ignored;
    char inner[INET6_ADDRSTRLEN];
    size_t len = strlen(host);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']')
        return text_copy(inner, sizeof(inner), host + 1, len - 2) && inet_pton(AF_INET6, inner, &ignored) == 1;
    if (bare_ipv6 && inet_pton(AF_INET6, host, &ignored) == 1)
        return true;
    return len > 0 && name_is_valid(host);
}

static bool address_is_valid(const char *entry)
{
    char host[256];
    const char *colon = strrchr(entry, ':');
    int64_t port;
    if (!colon || !text_copy(host, sizeof(host), entry, (size_t)(colon - entry)))
        return false;
    return host_is_valid(host, false) && text_parse_i64(colon + 1, 1, 65535, &port);
}

static bool domain_is_valid(const char *text)
{
    return address_is_valid(text) || host_is_valid(text, false);
}

static bool addresses_are_valid(const char *text, int64_t min, int64_t max)
{
    static const char scheme[] = "http://";
    const char *cursor = text;
    char entry[CONFIG_TEXT_CAP];
    int64_t count = 0;
    if (strpbrk(text, " \t"))
        return false;
    if (strncmp(text, scheme, sizeof(scheme) - 1) == 0) /* an endpoint: as 4.9.3 reads it, the address is what follows the last slash */
        return address_is_valid(strrchr(text, '/') + 1);
    for (; next_entry(&cursor, ';', entry, sizeof(entry)); count++) {
        if (!address_is_valid(entry))
            return false;
    }
    return count >= min && count <= max;
}

static bool text_is_valid(enum config_type type, int64_t min, int64_t max, const char *text)
{
    struct in_addr address;
    size_t len = strlen(text);
    if (len >= CONFIG_TEXT_CAP)
        return false;
    if (type == CONFIG_ADDRESSES)
        return addresses_are_valid(text, min, max);
    if ((int64_t)len < min || (int64_t)len > max)
        return false;
    switch (type) {
    case CONFIG_DIR:
    case CONFIG_FILE:
        return text[0] == '/' || !*text;
    case CONFIG_NAME:
        return name_is_valid(text);
    case CONFIG_TOPIC:
        return topic_is_valid(text);
    case CONFIG_HOST:
        return !*text || host_is_valid(text, true);
    case CONFIG_DOMAIN:
        return !*text || domain_is_valid(text);
    case CONFIG_IPV4:
        return !*text || inet_pton(AF_INET, text, &address) == 1;
    default:
        return true;
    }
}

static int parse_text(struct config_text *out, enum config_type type, int64_t min, int64_t max, const char *text)
{
    if (!text_is_valid(type, min, max, text))
        return -EINVAL;
    text_copy(out->text, sizeof(out->text), text, strlen(text));
    return 0;
}

int config_value_parse(void *out, enum config_type type, int64_t min, int64_t max, const char *text)
{
    switch (type) {
    case CONFIG_NUMBER:
        return text_parse_i64(text, min, max, out) ? 0 : -EINVAL;
    case CONFIG_USERS:
    case CONFIG_GROUPS:
        return parse_ids(out, type == CONFIG_GROUPS, max, text);
    case CONFIG_LOG_LEVEL:
        return log_level_parse(text, out) ? 0 : -EINVAL;
    case CONFIG_LOG_FORMAT:
        if (strcmp(text, "text") != 0 && strcmp(text, "json") != 0)
            return -EINVAL;
        *(bool *)out = strcmp(text, "json") == 0;
        return 0;
    case CONFIG_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return -EINVAL;
        *(bool *)out = strcmp(text, "true") == 0;
        return 0;
    default:
        return parse_text(out, type, min, max, text);
    }
}

void config_value_allowed(char *dst, size_t cap, enum config_type type, int64_t min, int64_t max)
{
    switch (type) {
    case CONFIG_NUMBER:
        snprintf(dst, cap, "a whole number from %" PRId64 " to %" PRId64, min, max);
        return;
    case CONFIG_USERS:
        snprintf(dst, cap, "up to %" PRId64 " users of this machine, names or numbers, comma-separated, or *", max);
        return;
    case CONFIG_GROUPS:
        snprintf(dst, cap, "up to %" PRId64 " groups of this machine, names or numbers, comma-separated, or *", max);
        return;
    case CONFIG_ADDRESSES:
        snprintf(dst, cap, "%" PRId64 " to %" PRId64 " entries host:port, separated by ; without blanks, or one http://host:port", min,
                 max);
        return;
    case CONFIG_HOST:
        snprintf(dst, cap, "a host name or an address, at most %" PRId64 " bytes", max);
        return;
    case CONFIG_DOMAIN:
        snprintf(dst, cap, "host or host:port, at most %" PRId64 " bytes", max);
        return;
    case CONFIG_TOPIC:
        snprintf(dst, cap, "%" PRId64 " to %" PRId64 " letters, digits, percent signs, bars, hyphens and underscores", min, max);
        return;
    case CONFIG_FILE:
        snprintf(dst, cap, "an absolute path of at most %" PRId64 " bytes", max);
        return;
    case CONFIG_BOOL:
        snprintf(dst, cap, "true or false");
        return;
    case CONFIG_DIR:
        snprintf(dst, cap, "an absolute path of at most %" PRId64 " bytes", max);
        return;
    case CONFIG_NAME:
        snprintf(dst, cap, "at most %" PRId64 " letters, digits, dots, hyphens and underscores", max);
        return;
    case CONFIG_IPV4:
        snprintf(dst, cap, "an IPv4 address");
        return;
    case CONFIG_LOG_LEVEL:
        snprintf(dst, cap, "error, warn, info or debug");
        return;
    case CONFIG_LOG_FORMAT:
        snprintf(dst, cap, "text or json");
        return;
    case CONFIG_TEXT:
        snprintf(dst, cap, "at most %" PRId64 " bytes", max);
        return;
    }
}

static void print_ids(char *dst, size_t cap, const struct id_list *list)
{
    size_t used = 0;
    dst[0] = '\0';
    if (list->everybody) {
        snprintf(dst, cap, "*");
        return;
    }
    for (unsigned i = 0; i < list->count && used < cap; i++)
        used += (size_t)snprintf(dst + used, cap - used, "%s%" PRIu32, i ? "," : "", list->ids[i]);
}

void config_value_print(char *dst, size_t cap, enum config_type type, const void *value)
{
    switch (type) {
    case CONFIG_NUMBER:
        snprintf(dst, cap, "%" PRId64, *(const int64_t *)value);
        return;
    case CONFIG_USERS:
    case CONFIG_GROUPS:
        print_ids(dst, cap, value);
        return;
    case CONFIG_LOG_LEVEL:
        snprintf(dst, cap, "%s", log_level_name(*(const enum log_level *)value));
        return;
    case CONFIG_LOG_FORMAT:
        snprintf(dst, cap, "%s", *(const bool *)value ? "json" : "text");
        return;
    case CONFIG_BOOL:
        snprintf(dst, cap, "%s", *(const bool *)value ? "true" : "false");
        return;
    default:
        snprintf(dst, cap, "%s", ((const struct config_text *)value)->text);
        return;
    }
}

size_t config_type_size(enum config_type type)
{
    switch (type) {
    case CONFIG_NUMBER:
        return sizeof(int64_t);
    case CONFIG_USERS:
    case CONFIG_GROUPS:
        return sizeof(struct id_list);
    case CONFIG_LOG_LEVEL:
        return sizeof(enum log_level);
    case CONFIG_LOG_FORMAT:
    case CONFIG_BOOL:
        return sizeof(bool);
    default:
        return sizeof(struct config_text);
    }
}
