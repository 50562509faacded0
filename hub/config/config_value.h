/*
 * One configuration value: text to typed value and back. Pure apart from the
 * user data base, which the names in allow lists need at start.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/base/log.h"

enum config_type {
    CONFIG_NUMBER,     /* int64_t */
    CONFIG_TEXT,       /* struct config_text */
    CONFIG_DIR,        /* struct config_text, absolute path */
    CONFIG_NAME,       /* struct config_text, letters digits . _ - */
    CONFIG_IPV4,       /* struct config_text, dotted address */
    CONFIG_ADDRESSES,  /* struct config_text, host:port;host:port or http://host:port */
    CONFIG_HOST,       /* struct config_text, a host name or an address */
    CONFIG_DOMAIN,     /* struct config_text, host or host:port */
    CONFIG_TOPIC,      /* struct config_text, what 4.9.3 allows in topics and groups */
    CONFIG_FILE,       /* struct config_text, absolute path */
    CONFIG_BOOL,       /* bool */
    CONFIG_USERS,      /* struct id_list */
    CONFIG_GROUPS,     /* struct id_list */
    CONFIG_LOG_LEVEL,  /* enum log_level */
    CONFIG_LOG_FORMAT, /* bool: JSON */
};

#define CONFIG_TEXT_CAP 1024
#define ID_LIST_MAX 64

struct config_text {
    char text[CONFIG_TEXT_CAP];
};

/** Users or groups; @c everybody stands for "*". */
struct id_list {
    bool everybody;
    unsigned count;
    uint32_t ids[ID_LIST_MAX];
};

/** The C types behind the type column, for structs that are generated from the table. */
#define CONFIG_C_NUMBER int64_t
#define CONFIG_C_TEXT struct config_text
#define CONFIG_C_DIR struct config_text
#define CONFIG_C_NAME struct config_text
#define CONFIG_C_IPV4 struct config_text
#define CONFIG_C_ADDRESSES struct config_text
#define CONFIG_C_HOST struct config_text
#define CONFIG_C_DOMAIN struct config_text
#define CONFIG_C_TOPIC struct config_text
#define CONFIG_C_FILE struct config_text
#define CONFIG_C_BOOL bool
#define CONFIG_C_USERS struct id_list
#define CONFIG_C_GROUPS struct id_list
#define CONFIG_C_LOG_LEVEL enum log_level
#define CONFIG_C_LOG_FORMAT bool

bool id_list_contains(const struct id_list *list, uint32_t id);

/**
 * Parses @p text into the object at @p out, whose C type follows @p type; @p out changes only on success.
 * 0, or -EINVAL: config_value_allowed() tells what would have been accepted.
 */
int config_value_parse(void *out, enum config_type type, int64_t min, int64_t max, const char *text);

/** Writes what is allowed ("a whole number from 0 to 300000"); always terminated. */
void config_value_allowed(char *dst, size_t cap, enum config_type type, int64_t min, int64_t max);

/** Writes the value as it would stand in a file; always terminated. */
void config_value_print(char *dst, size_t cap, enum config_type type, const void *value);

size_t config_type_size(enum config_type type);
