/* Opening is separate from reading: what fstat() said of the descriptor is what gets read. */
#include "hub/remoting/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0600u

/* Where a refusal is written, and what it begins with. */
struct reason {
    const char *what, *path;
    char *text;
    size_t cap;
};

__attribute__((format(printf, 2, 3))) static int refuse(const struct reason *why, const char *fmt, ...)
{
    va_list args;
    int used = snprintf(why->text, why->cap, "%s %s ", why->what, why->path);
    va_start(args, fmt);
    if (used >= 0 && (size_t)used < why->cap)
        vsnprintf(why->text + used, why->cap - (size_t)used, fmt, args);
    va_end(args);
    return -EACCES;
}

static int judge(int fd, const struct reason *why)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return refuse(why, "cannot be looked at: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(why, "is not a regular file");
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return refuse(why, "belongs to uid %u: it must belong to the hub's user (uid %u) or root", (unsigned)st.st_uid,
                      (unsigned)geteuid());
    if (st.st_mode & 07777 & ~FILE_MODE)
        return refuse(why, "has mode %04o: it must be 0600, so that nobody else can read or change it", (unsigned)st.st_mode & 07777);
    return 0;
}

int secret_file_read(const char *what, const char *path, char *buf, size_t cap, size_t *len, char *text, size_t text_cap)
{
    const struct reason why = {what, path, text, text_cap};
    ssize_t n = 1;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    *len = 0;
    if (fd < 0 && errno == ELOOP)
        return refuse(&why, "is a symbolic link: name the file itself");
    if (fd < 0)
        return refuse(&why, "cannot be opened: %s", strerror(errno));
    int r = judge(fd, &why);
    while (r == 0 && *len < cap && (n = read(fd, buf + *len, cap - *len)) > 0)
        *len += (size_t)n;
    if (n < 0)
        r = refuse(&why, "cannot be read: %s", strerror(errno));
    else if (*len == cap)
        r = refuse(&why, "is longer than %zu bytes", cap - 1);
    close(fd);
    return r;
}
