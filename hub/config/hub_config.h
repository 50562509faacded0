/*
 * The effective configuration of one hub: defaults, then the file, then the
 * environment, then the command line; each value remembers where it came from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "hub/config/config_keys.h"
#include "hub/config/config_value.h"
#include "shm/message/validators.h"

#define CONFIG_CLUSTERS_MAX 16
#define CONFIG_CLUSTER_NAME_CAP (CLUSTER_NAME_MAX_LENGTH + 1)
#define CONFIG_DEFAULT_FILE "/etc/rmqhub/rmqhub.conf"
#define CONFIG_LINE_CAP 2048

enum config_when { CONFIG_RELOAD, CONFIG_CONTENT, CONFIG_RESTART, CONFIG_NOT_APPLICABLE, CONFIG_LATER };

/** A row of the table, as data. */
struct config_key {
    const char *name;
    enum config_type type;
    const char *unit;
    int64_t min, max;
    const char *default_text;
    enum config_when when;
    const char *help;
    size_t offset; /* of the field in struct hub_section or struct cluster_section */
};

#define CONFIG_FIELD(name, type, unit, min, max, def, when, help) CONFIG_C_##type name;
#define CONFIG_HUB_INDEX(name, type, unit, min, max, def, when, help) HUB_KEY_##name,
#define CONFIG_CLUSTER_INDEX(name, type, unit, min, max, def, when, help) CLUSTER_KEY_##name,

enum hub_key { HUB_KEYS(CONFIG_HUB_INDEX) HUB_KEY_COUNT };
enum cluster_key { CLUSTER_KEYS(CONFIG_CLUSTER_INDEX) CLUSTER_KEY_COUNT };

extern const struct config_key config_hub_keys[HUB_KEY_COUNT];
extern const struct config_key config_cluster_keys[CLUSTER_KEY_COUNT];

enum config_source { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_COMMAND_LINE };

/** Where a value came from; @c line counts from 1 and is 0 unless it came from the file. */
struct config_origin {
    enum config_source source;
    unsigned line;
};

struct hub_section {
    HUB_KEYS(CONFIG_FIELD)
};

struct cluster_section {
    CLUSTER_KEYS(CONFIG_FIELD)
};

struct cluster_config {
    char name[CONFIG_CLUSTER_NAME_CAP];
    unsigned line; /* of the section's first key; 0: made by the command line or the environment */
    struct cluster_section keys;
    struct config_origin origins[CLUSTER_KEY_COUNT];
};

struct hub_config {
    char file[CONFIG_TEXT_CAP]; /* empty: none was read */
    struct hub_section hub;
    struct config_origin hub_origins[HUB_KEY_COUNT];
    unsigned cluster_count;
    struct cluster_config clusters[CONFIG_CLUSTERS_MAX]; /* the first is what clients get that name none */
};

/** What the command line said; NULL where it said nothing. */
struct config_arguments {
    const char *file, *namesrv_addr, *runtime_dir, *state_dir, *log_level;
};

/** Takes one line of text per problem, without a newline. */
typedef void config_report(void *ctx, const char *text);

/**
 * Builds the effective configuration. Every problem is reported, not only the first. No file, when none was
 * named and the default one does not exist, is no problem; no cluster is one. runtime_dir and state_dir come
 * out filled in. May block in the user data base. 0, or -EINVAL after at least one report, or -ENOMEM.
 */
int hub_config_load(struct hub_config **out, const struct config_arguments *arguments, config_report *report, void *ctx);

/**
 * The same from a text in memory: no file, environment, command line or user data base is looked at (allow lists take numbers
 * only), and the directories stay as the text says. @p name stands in reports. 0, or -EINVAL after at least one report, or -ENOMEM.
 */
int hub_config_load_memory(struct hub_config **out, const char *name, const void *text, size_t len, config_report *report, void *ctx);

/** The state directory that a hub with these arguments would use, however many problems the rest has. 0, -ENOENT or -ENOMEM. */
int hub_config_find_state_dir(char *out, size_t cap, const struct config_arguments *arguments);

/** NULL is fine. */
void hub_config_free(struct hub_config *config);

/**
 * Copies the reloadable keys of @p fresh into @p config and reports each change, as well as each changed key
 * that needs a restart. Returns the number of keys applied.
 */
unsigned hub_config_apply(struct hub_config *config, const struct hub_config *fresh, config_report *report, void *ctx);

/** Reports each effective value that differs, and each cluster that came or went. Returns how many. */
unsigned hub_config_compare(const struct hub_config *before, const struct hub_config *after, config_report *report, void *ctx);

/** Writes a file that gives the same effective values; hub_config_load_memory() reads it back. */
void hub_config_write(const struct hub_config *config, FILE *out);

/** One effective value. The pointers live until the callback returns. */
struct config_entry {
    const char *section, *key, *value, *unit, *source; /* source: "default", "FILE:LINE", "environment", "command line" */
    bool reloadable;
    const char *note; /* "", or why the setting has no effect here */
};

/** Visits every honoured key, [hub] first, then the clusters in order. */
void hub_config_for_each(const struct hub_config *config, void (*visit)(void *ctx, const struct config_entry *entry), void *ctx);

/** May a process of this user, in these groups, attach? The overflow uid (65534) never may: it hides a real one. */
bool hub_config_may_attach(const struct hub_config *config, uid_t uid, const gid_t *gids, size_t count);
