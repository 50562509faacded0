/*
 * An open-file-description lock ends with the last descriptor of its holder,
 * whatever killed it, and there is no pid file to go stale. The descriptor must
 * not leak into children that outlive the hub (O_CLOEXEC; the hub never execs).
 */
#include "hub/store/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/log.h"
#include "shm/base/text.h"
#include "shm/runtime_dir.h"

static int make_parents(const char *path)
{
    char parent[PATH_MAX];
    if (!text_copy(parent, sizeof(parent), path, strlen(path)))
        return -ENAMETOOLONG;
    for (char *slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(parent, 0700) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    return 0;
}

static int open_or_create(const char *path, mode_t mode)
{
    int created = -1;
    int r = make_parents(path);
    if (r < 0)
        return r;
    if (mkdir(path, 0700) == 0)
        created = 0;
    else if (errno != EEXIST)
        return -errno;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (created == 0 && fchmod(fd, mode) < 0) { /* not through the umask */
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int directory_open(int *fd, const char *path, mode_t mode, mode_t allowed_mode, char *problem, size_t cap)
{
    struct stat st;
    int dirfd = open_or_create(path, mode);
    if (dirfd < 0) {
        if (dirfd == -ELOOP || dirfd == -ENOTDIR)
            snprintf(problem, cap, "%s: is not a directory (a symbolic link is not followed); remove it or name another", path);
        else
            snprintf(problem, cap, "%s: cannot be made or opened: %s; make it for uid %lu or name another", path, strerror(-dirfd),
                     (unsigned long)geteuid());
        return dirfd;
    }
    if (fstat(dirfd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07777 & ~(allowed_mode | S_ISVTX | S_ISGID)) == 0) {
        *fd = dirfd;
        return 0;
    }
    close(dirfd);
    if (st.st_uid != geteuid())
        snprintf(problem, cap, "%s: belongs to uid %lu, not to this hub's uid %lu; remove it or name another", path,
                 (unsigned long)st.st_uid, (unsigned long)geteuid());
    else
        snprintf(problem, cap, "%s: has mode %04o, which lets others in; chmod %04o it or name another", path,
                 (unsigned)st.st_mode & 07777u, (unsigned)mode);
    return -EPERM;
}

static long lock_holder(int fd)
{
    char text[32];
    int64_t pid;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text_parse_i64(text, 1, INT32_MAX, &pid) ? (long)pid : 0;
}

int directory_lock(int *fd, int dirfd, const char *path, char *problem, size_t cap)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int lock = openat(dirfd, RUNTIME_FILE_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, RUNTIME_FILE_MODE);
    int error = lock < 0 ? errno : 0;
    if (lock >= 0 && fcntl(lock, F_OFD_SETLK, &whole) < 0)
        error = errno;
    if (!error) {
        /* For people only: a full disk is no reason not to start. */
        if (ftruncate(lock, 0) < 0 || dprintf(lock, "%ld\n", (long)getpid()) < 0)
            LOG_WARN("hub", "%s/%s: %s; the pid is not in it", path, RUNTIME_FILE_LOCK, strerror(errno));
        *fd = lock;
        return 0;
    }
    if (lock >= 0 && (error == EAGAIN || error == EACCES)) {
        error = EBUSY;
        snprintf(problem, cap, "another hub (pid %ld) is running on %s; stop it first, or name another directory", lock_holder(lock), path);
    } else {
        snprintf(problem, cap, "%s/%s cannot be written: %s; repair that or name another directory", path, RUNTIME_FILE_LOCK,
                 strerror(error));
    }
    if (lock >= 0)
        close(lock);
    return -error;
}
