/*
 * One implementation of the directory rules, so that a tool started without
 * flags looks exactly where a hub started without flags put its files.
 *
 * The lock is an open-file-description lock: it ends with the last descriptor of
 * the hub, needs no pid file that could lie, and can be asked for without taking it.
 */
#include "shm/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int copy_absolute(char *dst, size_t cap, const char *path)
{
    int n;
    if (path[0] == '/') {
        n = snprintf(dst, cap, "%s", path);
    } else {
        char cwd[RUNTIME_PATH_CAP];
        if (!getcwd(cwd, sizeof(cwd)))
            return -errno;
        n = snprintf(dst, cap, "%s/%s", cwd, path);
    }
    if (n < 0 || (size_t)n >= cap)
        return -ENAMETOOLONG;
    while (n > 1 && dst[n - 1] == '/')
        dst[--n] = '\0';
    return 0;
}

/* The value of a variable, or NULL when unset or empty; a set-id program must not follow its caller's. */
static const char *variable(const char *name)
{
    const char *value = secure_getenv(name);
    return value && *value ? value : NULL;
}

int runtime_dir_resolve(char dst[RUNTIME_DIR_CAP], const char *flag)
{
    char derived[RUNTIME_PATH_CAP];
    const char *path = flag && *flag ? flag : variable("RMQHUB_RUNTIME_DIR");
    if (!path && geteuid() == 0)
        path = "/run/rmqhub";
    if (!path) {
        const char *base = variable("XDG_RUNTIME_DIR");
        int n = base ? snprintf(derived, sizeof(derived), "%s/rmqhub", base)
                     : snprintf(derived, sizeof(derived), "/run/user/%lu/rmqhub", (unsigned long)geteuid());
        if (n < 0 || (size_t)n >= sizeof(derived))
            return -ENAMETOOLONG;
        path = derived;
    }
    return copy_absolute(dst, RUNTIME_DIR_CAP, path);
}

int state_dir_resolve(char *dst, size_t cap, const char *flag)
{
    char derived[RUNTIME_PATH_CAP];
    const char *path = flag && *flag ? flag : NULL;
    if (!path && geteuid() == 0)
        path = "/var/lib/rmqhub";
    if (!path) {
        const char *base = variable("XDG_STATE_HOME"), *home = variable("HOME");
        if (!base && !home)
            return -ENOENT;
        int n = base ? snprintf(derived, sizeof(derived), "%s/rmqhub", base)
                     : snprintf(derived, sizeof(derived), "%s/.local/state/rmqhub", home);
        if (n < 0 || (size_t)n >= sizeof(derived))
            return -ENAMETOOLONG;
        path = derived;
    }
    return copy_absolute(dst, cap, path);
}

int runtime_path(char *dst, size_t cap, const char *dir, const char *file)
{
    int n = snprintf(dst, cap, "%s/%s", dir, file);
    return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

int runtime_lock_is_held(const char *dir)
{
    char path[RUNTIME_PATH_CAP];
    int r = runtime_path(path, sizeof(path), dir, RUNTIME_FILE_LOCK);
    if (r < 0)
        return r;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    r = fcntl(fd, F_OFD_GETLK, &lock) < 0 ? -errno : lock.l_type != F_UNLCK;
    close(fd);
    return r;
}
