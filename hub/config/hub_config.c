/*
 * Reads the INI file through libinih and lays environment and command line over
 * it. libinih hands over key and value without a line number and skips what it
 * does not understand, so the reader given to it counts lines and looks at each
 * raw line first: whatever inih would quietly drop, cut or join is an error here.
 */
#include "hub/config/hub_config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/text.h"
#include "shm/runtime_dir.h"

#define OVERFLOW_UID 65534

#define HUB_ROW(name, type, unit, min, max, def, when, help) \
    {#name, CONFIG_##type, unit, min, max, def, CONFIG_##when, help, offsetof(struct hub_section, name)},
#define CLUSTER_ROW(name, type, unit, min, max, def, when, help) \
    {#name, CONFIG_##type, unit, min, max, def, CONFIG_##when, help, offsetof(struct cluster_section, name)},

const struct config_key config_hub_keys[HUB_KEY_COUNT] = {HUB_KEYS(HUB_ROW)};
const struct config_key config_cluster_keys[CLUSTER_KEY_COUNT] = {CLUSTER_KEYS(CLUSTER_ROW)};

/* State of one load. */
struct loader {
    struct hub_config *config;
    config_report *report;
    void *ctx;
    FILE *stream;
    bool from_memory; /* nothing outside the text may be looked at: users and groups are numbers */
    unsigned line;
    unsigned problems;
};

/* Where a value is to be put; @c keys is NULL for a section that does not exist. */
struct section {
    const struct config_key *keys;
    unsigned count;
    char *fields;
    struct config_origin *origins;
};

__attribute__((format(printf, 2, 3))) static void problem(struct loader *loader, const char *fmt, ...)
{
    char raw[2 * CONFIG_LINE_CAP], text[3 * CONFIG_LINE_CAP];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    text_escape(text, sizeof(text), raw, strlen(raw));
    loader->problems++;
    loader->report(loader->ctx, text);
}

static struct section hub_section_of(struct hub_config *config)
{
    return (struct section){config_hub_keys, HUB_KEY_COUNT, (char *)&config->hub, config->hub_origins};
}

static struct section cluster_section_of(struct cluster_config *cluster)
{
    char *fields = (char *)cluster + offsetof(struct cluster_config, keys);
    return (struct section){config_cluster_keys, CLUSTER_KEY_COUNT, fields, cluster->origins};
}

static int set_defaults(struct section section)
{
    for (unsigned i = 0; i < section.count; i++) {
        const struct config_key *key = &section.keys[i];
        if (!*key->default_text)
            continue; /* the zeroed field is the empty value */
        if (config_value_parse(section.fields + key->offset, key->type, key->min, key->max, key->default_text) < 0)
            return -EINVAL;
    }
    return 0;
}

static bool cluster_name_is_valid(const char *name)
{
    struct config_text ignored;
    return config_value_parse(&ignored, CONFIG_NAME, 1, CONFIG_CLUSTER_NAME_CAP - 1, name) == 0;
}

/* Finds or adds; NULL when the table is full. */
static struct cluster_config *cluster_get(struct hub_config *config, const char *name, unsigned line)
{
    for (unsigned i = 0; i < config->cluster_count; i++) {
        if (strcmp(config->clusters[i].name, name) == 0)
            return &config->clusters[i];
    }
    if (config->cluster_count == CONFIG_CLUSTERS_MAX)
        return NULL;
    struct cluster_config *cluster = &config->clusters[config->cluster_count++];
    text_copy(cluster->name, sizeof(cluster->name), name, strlen(name));
    cluster->line = line;
    set_defaults(cluster_section_of(cluster));
    return cluster;
}

static struct section section_find(struct loader *loader, const char *name)
{
    static const char prefix[] = "cluster ";
    struct section none = {0};
    if (strcmp(name, "hub") == 0)
        return hub_section_of(loader->config);
    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 || !cluster_name_is_valid(name + sizeof(prefix) - 1))
        return none;
    struct cluster_config *cluster = cluster_get(loader->config, name + sizeof(prefix) - 1, loader->line);
    return cluster ? cluster_section_of(cluster) : none;
}

static const struct config_key *key_find(struct section section, const char *name)
{
    for (unsigned i = 0; i < section.count; i++) {
        if (strcmp(section.keys[i].name, name) == 0)
            return &section.keys[i];
    }
    return NULL;
}

static const char *file_key_problem(struct section section, const struct config_key *key)
{
    if (!section.keys)
        return "is in no section that exists; allowed: [hub], or [cluster NAME] with a name of 1 to 32 letters, digits, "
               "dots, hyphens and underscores, at most 16 of them";
    if (!key)
        return "is not a key of this section; docs/configuration.md lists them";
    if (key->when == CONFIG_LATER)
        return "is reserved and not honoured by this version; remove the line";
    return NULL;
}

static bool needs_lookup(const struct loader *loader, const struct config_key *key, const char *value)
{
    bool ids = key->type == CONFIG_USERS || key->type == CONFIG_GROUPS;
    return ids && loader->from_memory && strspn(value, "0123456789, *") != strlen(value);
}

/* Called by libinih for each key; problems are reported here, so the answer is always "go on". */
static int take_file_value(void *user, const char *section_name, const char *name, const char *value)
{
    struct loader *loader = user;
    const char *file = loader->config->file;
    struct section section = section_find(loader, section_name);
    const struct config_key *key = section.keys ? key_find(section, name) : NULL;
    const char *wrong = file_key_problem(section, key);
    if (wrong) {
        problem(loader, "%s:%u: [%s] %s: %s", file, loader->line, section_name, name, wrong);
        return 1;
    }
    struct config_origin *origin = &section.origins[key - section.keys];
    if (origin->source == CONFIG_FROM_FILE) {
        problem(loader, "%s:%u: [%s] %s: set a second time; the first is line %u", file, loader->line, section_name, name, origin->line);
        return 1;
    }
    *origin = (struct config_origin){CONFIG_FROM_FILE, loader->line};
    if (needs_lookup(loader, key, value) || config_value_parse(section.fields + key->offset, key->type, key->min, key->max, value) < 0) {
        char allowed[256];
        config_value_allowed(allowed, sizeof(allowed), key->type, key->min, key->max);
        problem(loader, "%s:%u: [%s] %s: '%s' is not valid; allowed: %s", file, loader->line, section_name, name, value, allowed);
    }
    return 1;
}

/* What libinih would drop, cut or join without a word. NULL when the line is plain. */
static const char *line_problem(const char *line)
{
    const char *comment = strpbrk(line, ";");
    while (comment && comment != line && comment[-1] != ' ' && comment[-1] != '\t')
        comment = strchr(comment + 1, ';');
    if (line[0] == '[')
        return strchr(line, ']') ? NULL : "a section needs a closing ]";
    if (!strchr(line, '='))
        return "this is neither [section], key = value nor a comment";
    return comment ? "a comment needs a line of its own, and a list has no blanks before ;" : NULL;
}

/* libinih tells of a section with its first key only, and a cluster may have none. */
static void enter_section(struct loader *loader, const char *line)
{
    char name[CONFIG_LINE_CAP];
    size_t len = strcspn(line + 1, "]");
    if (text_copy(name, sizeof(name), line + 1, len) && strncmp(name, "cluster ", 8) == 0)
        section_find(loader, name);
}

/*
 * The reader that libinih calls. Leading blanks are removed, because inih takes an indented line for a
 * continuation; a line that is refused reaches inih as an empty one.
 */
static char *read_line(char *dst, int cap, void *user)
{
    struct loader *loader = user;
    char raw[CONFIG_LINE_CAP];
    if (!fgets(raw, sizeof(raw), loader->stream))
        return NULL;
    loader->line++;
    size_t len = strcspn(raw, "\n");
    bool whole = raw[len] == '\n' || feof(loader->stream);
    for (int c = 0; !whole && c != '\n' && c != EOF;)
        c = fgetc(loader->stream);
    raw[len] = '\0';
    raw[strcspn(raw, "\r")] = '\0';
    const char *line = raw + strspn(raw, " \t");
    const char *wrong = NULL;
    dst[0] = '\0';
    if (!whole || !text_copy(dst, (size_t)cap, line, strlen(line)))
        wrong = "the line is too long";
    else if (*line && *line != ';' && *line != '#')
        wrong = line_problem(line);
    if (wrong) {
        problem(loader, "%s:%u: %s", loader->config->file, loader->line, wrong);
        dst[0] = '\0';
    }
    if (dst[0] == '[')
        enter_section(loader, dst);
    return dst;
}

static FILE *open_regular(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(fd);
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return NULL;
    }
    FILE *stream = fdopen(fd, "r");
    if (!stream)
        close(fd);
    return stream;
}

static void parse_stream(struct loader *loader)
{
#ifdef RMQHUB_INIH_RUNTIME_LIMITS
    ini_max_line = CONFIG_LINE_CAP; /* Debian's build has a default of 200 bytes, too short for a list of nameservers */
#endif
    ini_parse_stream(read_line, loader, take_file_value, loader);
    if (ferror(loader->stream))
        problem(loader, "%s: cannot be read: %s", loader->config->file, strerror(errno));
    fclose(loader->stream);
}

static void load_file(struct loader *loader, const char *path)
{
    const char *wanted = path ? path : CONFIG_DEFAULT_FILE;
    loader->stream = open_regular(wanted);
    if (!loader->stream) {
        if (path || errno != ENOENT)
            problem(loader, "%s: cannot be read: %s", wanted, strerror(errno));
        return;
    }
    if (!text_copy(loader->config->file, sizeof(loader->config->file), wanted, strlen(wanted)))
        problem(loader, "%s: the path is too long", wanted);
    parse_stream(loader);
}

static void override(struct loader *loader, struct section section, unsigned index, enum config_source source, const char *spelled,
                     const char *value)
{
    const struct config_key *key = &section.keys[index];
    if (!value)
        return;
    section.origins[index] = (struct config_origin){source, 0};
    if (config_value_parse(section.fields + key->offset, key->type, key->min, key->max, value) == 0)
        return;
    char allowed[256];
    config_value_allowed(allowed, sizeof(allowed), key->type, key->min, key->max);
    problem(loader, "%s: '%s' is not valid; allowed: %s", spelled, value, allowed);
}

/* A cluster "default" put before those of the file, so that it is what a client gets that names none. */
static struct cluster_config *default_cluster(struct hub_config *config)
{
    struct cluster_config *cluster = cluster_get(config, "default", 0);
    if (!cluster)
        return NULL;
    struct cluster_config copy = *cluster;
    memmove(&config->clusters[1], &config->clusters[0], (size_t)(cluster - config->clusters) * sizeof(copy));
    config->clusters[0] = copy;
    return &config->clusters[0];
}

static void override_namesrv(struct loader *loader, enum config_source source, const char *spelled, const char *value)
{
    struct cluster_config *cluster = default_cluster(loader->config);
    if (!cluster) {
        problem(loader, "%s: there are already %d clusters", spelled, CONFIG_CLUSTERS_MAX);
        return;
    }
    override(loader, cluster_section_of(cluster), CLUSTER_KEY_namesrv_addr, source, spelled, value);
}

/* The value of a variable; an empty one counts as unset. */
static const char *variable(const char *name)
{
    const char *value = secure_getenv(name);
    return value && *value ? value : NULL;
}

static bool is_set(const struct cluster_config *cluster, enum cluster_key key)
{
    return cluster->origins[key].source != CONFIG_FROM_DEFAULT;
}

static void load_environment(struct loader *loader)
{
    struct section hub = hub_section_of(loader->config);
    const char *namesrv_addr = variable("NAMESRV_ADDR");
    override(loader, hub, HUB_KEY_log_level, CONFIG_FROM_ENVIRONMENT, "$RMQHUB_LOG_LEVEL", variable("RMQHUB_LOG_LEVEL"));
    /* As for the Java client, the variable stands in for a missing setting and overrides none. */
    if (namesrv_addr && loader->config->cluster_count == 0)
        override_namesrv(loader, CONFIG_FROM_ENVIRONMENT, "$NAMESRV_ADDR", namesrv_addr);
    for (unsigned i = 0; namesrv_addr && i < loader->config->cluster_count; i++) {
        struct cluster_config *cluster = &loader->config->clusters[i];
        if (!is_set(cluster, CLUSTER_KEY_namesrv_addr) && !is_set(cluster, CLUSTER_KEY_namesrv_domain) &&
            !is_set(cluster, CLUSTER_KEY_namesrv_domain_subgroup))
            override(loader, cluster_section_of(cluster), CLUSTER_KEY_namesrv_addr, CONFIG_FROM_ENVIRONMENT, "$NAMESRV_ADDR", namesrv_addr);
    }
}

static void load_arguments(struct loader *loader, const struct config_arguments *arguments)
{
    struct section hub = hub_section_of(loader->config);
    override(loader, hub, HUB_KEY_log_level, CONFIG_FROM_COMMAND_LINE, "--log-level", arguments->log_level);
    if (arguments->namesrv_addr)
        override_namesrv(loader, CONFIG_FROM_COMMAND_LINE, "--namesrv", arguments->namesrv_addr);
}

/* The directory rules are shared with the tools, so they decide; a flag may be relative to the working directory. */
static void resolve_directories(struct loader *loader, const struct config_arguments *arguments)
{
    struct hub_config *config = loader->config;
    struct config_origin *runtime = &config->hub_origins[HUB_KEY_runtime_dir], *state = &config->hub_origins[HUB_KEY_state_dir];
    const char *runtime_wanted = arguments->runtime_dir;
    char runtime_dir[RUNTIME_DIR_CAP], state_dir[CONFIG_TEXT_CAP];
    if (runtime_wanted) {
        *runtime = (struct config_origin){CONFIG_FROM_COMMAND_LINE, 0};
    } else if (variable("RMQHUB_RUNTIME_DIR")) {
        *runtime = (struct config_origin){CONFIG_FROM_ENVIRONMENT, 0};
    } else {
        runtime_wanted = config->hub.runtime_dir.text;
    }
    if (arguments->state_dir)
        *state = (struct config_origin){CONFIG_FROM_COMMAND_LINE, 0};
    int r = runtime_dir_resolve(runtime_dir, runtime_wanted);
    if (r < 0)
        problem(loader, "runtime_dir: %s; allowed: a path of at most %d bytes", strerror(-r), RUNTIME_DIR_CAP - 1);
    else
        text_copy(config->hub.runtime_dir.text, CONFIG_TEXT_CAP, runtime_dir, strlen(runtime_dir));
    r = state_dir_resolve(state_dir, sizeof(state_dir), arguments->state_dir ? arguments->state_dir : config->hub.state_dir.text);
    if (r < 0)
        problem(loader, "state_dir: %s; name one with --state-dir", r == -ENOENT ? "$HOME is not set" : strerror(-r));
    else
        text_copy(config->hub.state_dir.text, CONFIG_TEXT_CAP, state_dir, strlen(state_dir));
}

/* ---- settings that contradict each other ---- */

/* Reports a key of a cluster that the file, the environment or the command line set, with what to do about it. */
__attribute__((format(printf, 4, 5))) static void conflict(struct loader *loader, const struct cluster_config *cluster,
                                                           enum cluster_key key, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    problem(loader, "%s:%u: [cluster %s] %s: %s", loader->config->file, cluster->origins[key].line, cluster->name,
            config_cluster_keys[key].name, text);
}

static void check_water_marks(struct loader *loader, const struct cluster_config *cluster)
{
    int64_t low = cluster->keys.write_buffer_low_water_mark_bytes, high = cluster->keys.write_buffer_high_water_mark_bytes;
    if (low > high)
        conflict(loader, cluster, CLUSTER_KEY_write_buffer_low_water_mark_bytes,
                 "above write_buffer_high_water_mark_bytes; allowed: 0 to %" PRId64, high);
}

static void check_discovery(struct loader *loader, const struct cluster_config *cluster)
{
    static const enum cluster_key keys[] = {CLUSTER_KEY_namesrv_domain, CLUSTER_KEY_namesrv_domain_subgroup};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (is_set(cluster, keys[i]) && cluster->origins[CLUSTER_KEY_namesrv_addr].source == CONFIG_FROM_FILE)
            conflict(loader, cluster, keys[i], "is not used, because namesrv_addr is set on line %u; remove one of them",
                     cluster->origins[CLUSTER_KEY_namesrv_addr].line);
    }
}

static void check_tls(struct loader *loader, const struct cluster_config *cluster)
{
    static const enum cluster_key details[] = {CLUSTER_KEY_tls_ca_file,           CLUSTER_KEY_tls_cert_file,   CLUSTER_KEY_tls_key_file,
                                               CLUSTER_KEY_tls_key_password_file, CLUSTER_KEY_tls_server_name, CLUSTER_KEY_tls_insecure};
    const struct cluster_section *keys = &cluster->keys;
    if (!keys->use_tls) {
        for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
            if (is_set(cluster, details[i]))
                conflict(loader, cluster, details[i], "is not used without TLS; set use_tls = true, or remove the line");
        }
        return;
    }
    if (keys->tls_cert_file.text[0] && !keys->tls_key_file.text[0])
        conflict(loader, cluster, CLUSTER_KEY_tls_cert_file, "a certificate is used with its key only; set tls_key_file, too");
    if (keys->tls_key_file.text[0] && !keys->tls_cert_file.text[0])
        conflict(loader, cluster, CLUSTER_KEY_tls_key_file, "a key is used with its certificate only; set tls_cert_file, too");
    if (keys->tls_key_password_file.text[0] && !keys->tls_key_file.text[0])
        conflict(loader, cluster, CLUSTER_KEY_tls_key_password_file,
                 "there is no key to open with it; set tls_key_file, or remove the line");
    if (keys->tls_insecure && keys->tls_ca_file.text[0])
        conflict(loader, cluster, CLUSTER_KEY_tls_ca_file, "nothing is verified with tls_insecure = true; remove one of them");
    if (keys->tls_insecure && keys->tls_server_name.text[0])
        conflict(loader, cluster, CLUSTER_KEY_tls_server_name, "no name is verified with tls_insecure = true; remove one of them");
}

static void check_clusters(struct loader *loader)
{
    struct hub_config *config = loader->config;
    if (config->cluster_count == 0 && loader->problems == 0)
        problem(loader, "no cluster is configured: give --namesrv host:port, or a file with [cluster NAME] and namesrv_addr = host:port");
    for (unsigned i = 0; i < config->cluster_count; i++) {
        check_water_marks(loader, &config->clusters[i]);
        check_discovery(loader, &config->clusters[i]);
        check_tls(loader, &config->clusters[i]);
    }
}

static void load_all(struct loader *loader, const struct config_arguments *arguments)
{
    set_defaults(hub_section_of(loader->config));
    load_file(loader, arguments->file);
    load_environment(loader);
    load_arguments(loader, arguments);
    resolve_directories(loader, arguments);
    check_clusters(loader);
}

int hub_config_load(struct hub_config **out, const struct config_arguments *arguments, config_report *report, void *ctx)
{
    struct hub_config *config = calloc(1, sizeof(*config));
    struct loader loader = {.config = config, .report = report, .ctx = ctx};
    if (!config)
        return -ENOMEM;
    load_all(&loader, arguments);
    if (loader.problems) {
        hub_config_free(config);
        return -EINVAL;
    }
    *out = config;
    return 0;
}

static void ignore_problem(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

int hub_config_find_state_dir(char *out, size_t cap, const struct config_arguments *arguments)
{
    struct hub_config *config = calloc(1, sizeof(*config));
    struct loader loader = {.config = config, .report = ignore_problem};
    if (!config)
        return -ENOMEM;
    load_all(&loader, arguments);
    const char *dir = config->hub.state_dir.text;
    int r = dir[0] && text_copy(out, cap, dir, strlen(dir)) ? 0 : -ENOENT;
    hub_config_free(config);
    return r;
}

int hub_config_load_memory(struct hub_config **out, const char *name, const void *text, size_t len, config_report *report, void *ctx)
{
    struct hub_config *config = calloc(1, sizeof(*config));
    struct loader loader = {.config = config, .report = report, .ctx = ctx, .from_memory = true};
    if (!config)
        return -ENOMEM;
    set_defaults(hub_section_of(config));
    text_copy(config->file, sizeof(config->file), name, strlen(name));
    if (len && !(loader.stream = fmemopen((void *)(uintptr_t)text, len, "r"))) {
        hub_config_free(config);
        return -ENOMEM;
    }
    if (loader.stream)
        parse_stream(&loader);
    check_clusters(&loader);
    if (loader.problems) {
        hub_config_free(config);
        return -EINVAL;
    }
    *out = config;
    return 0;
}

void hub_config_free(struct hub_config *config)
{
    free(config);
}

/* Tells of each key that differs, and takes it over when @p apply allows and the row says RELOAD. */
static unsigned section_apply(struct section mine, struct section fresh, const char *name, config_report *report, void *ctx)
{
    unsigned applied = 0;
    for (unsigned i = 0; i < mine.count; i++) {
        const struct config_key *key = &mine.keys[i];
        char before[CONFIG_TEXT_CAP], after[CONFIG_TEXT_CAP], line[3 * CONFIG_TEXT_CAP];
        config_value_print(before, sizeof(before), key->type, mine.fields + key->offset);
        config_value_print(after, sizeof(after), key->type, fresh.fields + key->offset);
        bool reload = key->when == CONFIG_RELOAD;
        if (reload)
            mine.origins[i] = fresh.origins[i];
        if (strcmp(before, after) == 0)
            continue;
        if (reload) {
            memcpy(mine.fields + key->offset, fresh.fields + key->offset, config_type_size(key->type));
            applied++;
        }
        snprintf(line, sizeof(line), "[%s] %s: '%s' to '%s'%s", name, key->name, before, after,
                 reload ? "" : " needs a restart and was not applied");
        report(ctx, line);
    }
    return applied;
}

static const struct cluster_config *cluster_find(const struct hub_config *config, const char *name)
{
    for (unsigned i = 0; i < config->cluster_count; i++) {
        if (strcmp(config->clusters[i].name, name) == 0)
            return &config->clusters[i];
    }
    return NULL;
}

static void report_cluster_missing(const struct hub_config *in, const struct hub_config *from, const char *verb, config_report *report,
                                   void *ctx)
{
    for (unsigned i = 0; i < from->cluster_count; i++) {
        char line[128];
        if (cluster_find(in, from->clusters[i].name))
            continue;
        snprintf(line, sizeof(line), "[cluster %s]: %s needs a restart and was not applied", from->clusters[i].name, verb);
        report(ctx, line);
    }
}

unsigned hub_config_apply(struct hub_config *config, const struct hub_config *fresh, config_report *report, void *ctx)
{
    struct hub_config *source = (struct hub_config *)fresh; /* struct section is not const-qualified; nothing is written */
    unsigned applied = section_apply(hub_section_of(config), hub_section_of(source), "hub", report, ctx);
    for (unsigned i = 0; i < config->cluster_count; i++) {
        char name[CONFIG_CLUSTER_NAME_CAP + 8];
        const struct cluster_config *other = cluster_find(fresh, config->clusters[i].name);
        if (!other)
            continue;
        snprintf(name, sizeof(name), "cluster %s", other->name);
        applied +=
            section_apply(cluster_section_of(&config->clusters[i]), cluster_section_of((struct cluster_config *)other), name, report, ctx);
    }
    report_cluster_missing(config, fresh, "a new cluster", report, ctx);
    report_cluster_missing(fresh, config, "removing a cluster", report, ctx);
    return applied;
}

/* ---- comparing and writing ---- */

static unsigned section_compare(struct section before, struct section after, const char *name, config_report *report, void *ctx)
{
    unsigned differences = 0;
    for (unsigned i = 0; i < before.count; i++) {
        const struct config_key *key = &before.keys[i];
        char was[CONFIG_TEXT_CAP], is[CONFIG_TEXT_CAP], line[3 * CONFIG_TEXT_CAP];
        config_value_print(was, sizeof(was), key->type, before.fields + key->offset);
        config_value_print(is, sizeof(is), key->type, after.fields + key->offset);
        if (strcmp(was, is) == 0)
            continue;
        differences++;
        snprintf(line, sizeof(line), "[%s] %s: '%s' to '%s'", name, key->name, was, is);
        report(ctx, line);
    }
    return differences;
}

static unsigned compare_missing(const struct hub_config *in, const struct hub_config *from, const char *what, config_report *report,
                                void *ctx)
{
    unsigned differences = 0;
    for (unsigned i = 0; i < from->cluster_count; i++) {
        char line[128];
        if (cluster_find(in, from->clusters[i].name))
            continue;
        differences++;
        snprintf(line, sizeof(line), "[cluster %s]: %s", from->clusters[i].name, what);
        report(ctx, line);
    }
    return differences;
}

unsigned hub_config_compare(const struct hub_config *before, const struct hub_config *after, config_report *report, void *ctx)
{
    struct hub_config *was = (struct hub_config *)before, *is = (struct hub_config *)after; /* as above: only read */
    unsigned differences = section_compare(hub_section_of(was), hub_section_of(is), "hub", report, ctx);
    for (unsigned i = 0; i < was->cluster_count; i++) {
        char name[CONFIG_CLUSTER_NAME_CAP + 8];
        struct cluster_config *other = (struct cluster_config *)cluster_find(is, was->clusters[i].name);
        snprintf(name, sizeof(name), "cluster %s", was->clusters[i].name);
        if (other)
            differences += section_compare(cluster_section_of(&was->clusters[i]), cluster_section_of(other), name, report, ctx);
    }
    return differences + compare_missing(before, after, "is new", report, ctx) + compare_missing(after, before, "is gone", report, ctx);
}

/* The effective values that are no defaults, and where each came from. */
static void write_section(FILE *out, const struct hub_config *config, struct section section, const char *name)
{
    static const char *const sources[] = {NULL, NULL, "the environment", "the command line"};
    fprintf(out, "[%s]\n", name);
    for (unsigned i = 0; i < section.count; i++) {
        const struct config_key *key = &section.keys[i];
        const struct config_origin *origin = &section.origins[i];
        char value[CONFIG_TEXT_CAP];
        if (key->when == CONFIG_LATER || origin->source == CONFIG_FROM_DEFAULT)
            continue;
        config_value_print(value, sizeof(value), key->type, section.fields + key->offset);
        if (origin->source == CONFIG_FROM_FILE)
            fprintf(out, "# %s:%u\n", config->file, origin->line);
        else
            fprintf(out, "# from %s\n", sources[origin->source]);
        fprintf(out, "%s = %s\n", key->name, value);
    }
}

void hub_config_write(const struct hub_config *config, FILE *out)
{
    struct hub_config *readable = (struct hub_config *)config; /* as above: only read */
    write_section(out, config, hub_section_of(readable), "hub");
    for (unsigned i = 0; i < config->cluster_count; i++) {
        char name[CONFIG_CLUSTER_NAME_CAP + 8];
        snprintf(name, sizeof(name), "cluster %s", config->clusters[i].name);
        write_section(out, config, cluster_section_of(&readable->clusters[i]), name);
    }
}

static void visit_section(const struct hub_config *config, struct section section, const char *name,
                          void (*visit)(void *ctx, const struct config_entry *entry), void *ctx)
{
    static const char *const sources[] = {"default", NULL, "environment", "command line"};
    for (unsigned i = 0; i < section.count; i++) {
        const struct config_key *key = &section.keys[i];
        const struct config_origin *origin = &section.origins[i];
        char value[CONFIG_TEXT_CAP], source[CONFIG_TEXT_CAP + 16];
        if (key->when == CONFIG_LATER)
            continue;
        config_value_print(value, sizeof(value), key->type, section.fields + key->offset);
        if (origin->source == CONFIG_FROM_FILE)
            snprintf(source, sizeof(source), "%s:%u", config->file, origin->line);
        else
            snprintf(source, sizeof(source), "%s", sources[origin->source]);
        visit(ctx, &(struct config_entry){name, key->name, value, key->unit, source, key->when == CONFIG_RELOAD,
                                          key->when == CONFIG_NOT_APPLICABLE ? key->help : ""});
    }
}

void hub_config_for_each(const struct hub_config *config, void (*visit)(void *ctx, const struct config_entry *entry), void *ctx)
{
    struct hub_config *readable = (struct hub_config *)config; /* as above: only read */
    visit_section(config, hub_section_of(readable), "hub", visit, ctx);
    for (unsigned i = 0; i < config->cluster_count; i++) {
        char name[CONFIG_CLUSTER_NAME_CAP + 8];
        snprintf(name, sizeof(name), "cluster %s", config->clusters[i].name);
        visit_section(config, cluster_section_of(&readable->clusters[i]), name, visit, ctx);
    }
}

bool hub_config_may_attach(const struct hub_config *config, uid_t uid, const gid_t *gids, size_t count)
{
    if (uid == OVERFLOW_UID || uid == (uid_t)-1)
        return false;
    if (uid == 0 || uid == geteuid() || id_list_contains(&config->hub.allow_uids, uid))
        return true;
    for (size_t i = 0; i < count; i++) {
        if (id_list_contains(&config->hub.allow_gids, gids[i]))
            return true;
    }
    return false;
}
