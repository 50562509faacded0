/*
 * Every way in which there is nothing to show ends in one line that says what, where
 * and what to do, and in its own exit code.
 */
#include "tui/table_source.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tui/format.h"

static const char *const hub_states[] = {"starting", "running", "draining", "stopped"};

int table_source_open(struct table_source *s, const struct command *command, const char *dir)
{
    memset(s, 0, sizeof(*s));
    int r = runtime_dir_resolve(s->dir, dir);
    if (r < 0) {
        command_complain(command, "runtime directory: %s (at most %d bytes)", strerror(-r), RUNTIME_DIR_CAP - 1);
        return EXIT_USAGE;
    }
    if (table_reader_new(&s->reader, s->dir) < 0) {
        command_complain(command, "no memory");
        return EXIT_FAILED;
    }
    return EXIT_OK;
}

void table_source_close(struct table_source *s)
{
    table_reader_free(s->reader);
    s->reader = NULL;
}

static int no_table(const struct table_source *s, const struct command *command)
{
    if (runtime_lock_is_held(s->dir) == 1)
        command_complain(command, "a hub is starting in %s and has not published its table yet; try again", s->dir);
    else
        command_complain(command,
                         "no hub: %s not found. Start one: rmqhubd --namesrv HOST:PORT (or name its directory: --runtime-dir DIR "
                         "or $RMQHUB_RUNTIME_DIR)",
                         table_reader_path(s->reader));
    return EXIT_NO_HUB;
}

static int no_access(const struct table_source *s, const struct command *command)
{
    struct stat st;
    const char *what = table_reader_path(s->reader);
    if (stat(what, &st) < 0) {
        what = s->dir;
        if (stat(what, &st) < 0) {
            command_complain(command, "no access to %s: you are uid %u; ask its owner", what, (unsigned)geteuid());
            return EXIT_PERMISSION;
        }
    }
    const struct passwd *owner = getpwuid(st.st_uid);
    const struct group *group = getgrgid(st.st_gid);
    const char *group_name = group ? group->gr_name : "?";
    command_complain(command,
                     "no access: %s is %04o %s:%s and you are uid %u. Join its group (sudo usermod -aG %s $USER, then log in "
                     "again), or run this as its owner",
                     what, (unsigned)st.st_mode & 07777, owner ? owner->pw_name : "?", group_name, (unsigned)geteuid(), group_name);
    return EXIT_PERMISSION;
}

int table_source_load(struct table_source *s, const struct command *command)
{
    int r = table_reader_load(s->reader);
    if (r == -ENOENT || r == -ENOTDIR)
        return no_table(s, command);
    if (r == -EACCES || r == -EPERM)
        return no_access(s, command);
    if (r == -EPROTONOSUPPORT) {
        command_complain(command, "%s. Nothing is guessed: use the rmqhub that came with that hub", table_reader_reason(s->reader));
        return EXIT_VERSION;
    }
    if (r < 0) {
        command_complain(command, "%s", table_reader_reason(s->reader));
        return EXIT_FAILED;
    }
    s->age_ms = table_reader_age_ms(s->reader);
    /* A lock that may not be looked at says nothing; then the age decides. */
    int held = runtime_lock_is_held(s->dir);
    s->liveness = held == 0 ? HUB_DEAD : s->age_ms > TABLE_SILENT_MS ? HUB_SILENT : HUB_ALIVE;
    return EXIT_OK;
}

const char *table_source_hub_state(const struct table_source *s)
{
    uint8_t state = table_reader_half(s->reader)->hub.state;
    if (s->liveness == HUB_DEAD)
        return "dead";
    if (s->liveness == HUB_SILENT)
        return "silent";
    return state < sizeof(hub_states) / sizeof(hub_states[0]) ? hub_states[state] : "?";
}

void table_source_banner(const struct table_source *s, char *dst, size_t cap)
{
    const struct table_half_header *half = table_reader_half(s->reader);
    char age[FORMAT_CAP], at[FORMAT_CAP];
    format_duration_ms(age, s->age_ms);
    format_time(at, half->published_wall_ms);
    const char *how = half->hub.state == TABLE_HUB_STOPPED ? "stopped" : "died";
    if (s->liveness == HUB_DEAD)
        snprintf(dst, cap, "HUB DOWN pid %u %s; last data %s, %s old; start it again: rmqhubd", half->hub.pid, how, at, age);
    else if (s->liveness == HUB_SILENT)
        snprintf(dst, cap, "HUB SILENT pid %u is alive but published nothing for %s; last data %s", half->hub.pid, age, at);
    else
        dst[0] = '\0';
    size_t used = strlen(dst);
    if (half->hub.insecure_instances)
        snprintf(dst + used, cap - used, "%sTLS INSECURE: %u of %u instances accept any certificate (tls_insecure)", used ? "\n" : "",
                 half->hub.insecure_instances, half->count[TABLE_INSTANCES]);
}
