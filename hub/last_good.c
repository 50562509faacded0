/*
 * A hub never starts from what is kept here: somebody changed the file on purpose,
 * and a hub that quietly runs on older settings would be found out late. It
 * refuses, says what is wrong, and leaves the way back to the operator.
 */
#include "hub/last_good.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hub/store/directory.h"
#include "hub/store/store.h"
#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/runtime_dir.h"

#define WHO "config"
#define NAME "last-good"

static void print_time(char *dst, size_t cap, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm) || strftime(dst, cap, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(dst, cap, "an unknown time");
}

static void log_difference(void *ctx, const char *text)
{
    (void)ctx;
    LOG_INFO(WHO, "changed since: %s", text);
}

static void ignore_problem(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

/* A directory that no setting names is derived at each start, and is no difference. */
static void take_derived(struct config_text *kept, const struct config_text *now)
{
    if (!kept->text[0])
        *kept = *now;
}

void last_good_compare(struct store *store, const struct hub_config *config)
{
    struct hub_config *kept = NULL;
    struct store_origin origin;
    void *text = NULL;
    size_t len;
    char when[32];
    if (store_load(store, STORE_KIND_CONFIG, "", NAME, &text, &len, &origin) != 0)
        return;
    print_time(when, sizeof(when), origin.saved_ms);
    if (hub_config_load_memory(&kept, NAME, text, len, ignore_problem, NULL) == 0) {
        take_derived(&kept->hub.runtime_dir, &config->hub.runtime_dir);
        take_derived(&kept->hub.state_dir, &config->hub.state_dir);
        unsigned differences = hub_config_compare(kept, config, log_difference, NULL);
        LOG_INFO(WHO, "%u difference%s to the last good configuration, of %s", differences, differences == 1 ? "" : "s", when);
    } else {
        LOG_INFO(WHO, "the last good configuration, of %s, has settings that this version does not know", when);
    }
    hub_config_free(kept);
    free(text);
}

void last_good_save(struct store *store, const struct hub_config *config)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return;
    hub_config_write(config, out);
    if (fclose(out) == 0)
        store_save(store, STORE_KIND_CONFIG, "", NAME, text, len, "");
    free(text);
}

static int print_from_store(int dirfd, const char *dir, FILE *out)
{
    struct store *store = NULL;
    struct store_origin origin;
    void *text = NULL;
    size_t len = 0;
    char when[32];
    int r = store_open(&store, dirfd);
    if (r == 0)
        r = store_load(store, STORE_KIND_CONFIG, "", NAME, &text, &len, &origin);
    if (r == 0) {
        print_time(when, sizeof(when), origin.saved_ms);
        fprintf(out, "# The last good configuration of rmqhubd, of %s\n%.*s", when, (int)len, (const char *)text);
        r = fflush(out) == 0 ? 0 : -EIO;
    } else {
        fprintf(stderr, "rmqhubd: %s: no configuration is kept there (%s)\n", dir, strerror(-r));
    }
    free(text);
    store_close(store);
    return r;
}

int last_good_print(const struct config_arguments *arguments, FILE *out)
{
    char dir[CONFIG_TEXT_CAP], problem[CONFIG_TEXT_CAP + 256];
    int dirfd = -1, lock = -1;
    log_configure(LOG_LEVEL_WARN, false);
    int r = hub_config_find_state_dir(dir, sizeof(dir), arguments);
    if (r < 0) {
        fprintf(stderr, "rmqhubd: name the state directory with --state-dir\n");
        return r;
    }
    if (access(dir, F_OK) < 0) {
        fprintf(stderr, "rmqhubd: %s: %s; name the state directory with --state-dir\n", dir, strerror(errno));
        return -ENOENT;
    }
    r = directory_open(&dirfd, dir, STATE_DIR_MODE, STATE_DIR_MODE, problem, sizeof(problem));
    if (r == 0)
        r = directory_lock(&lock, dirfd, dir, problem, sizeof(problem));
    if (r == -EBUSY)
        fprintf(stderr, "rmqhubd: a hub is running on %s; rmqhub config shows its settings\n", dir);
    else if (r < 0)
        fprintf(stderr, "rmqhubd: %s\n", problem);
    else
        r = print_from_store(dirfd, dir, out);
    if (lock >= 0)
        close(lock);
    if (dirfd >= 0)
        close(dirfd);
    return r;
}
