#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static const int wanted_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE;

static int sealable_memfd(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int shm_segment_create(const char *name, size_t bytes, int *fd_out, void **map_out)
{
    int fd = sealable_memfd(name);
    if (fd < 0)
        return -errno;
    /* fallocate, not ftruncate: a page that cannot be had must be refused here, not be a SIGBUS later. */
    int r = posix_fallocate(fd, 0, (off_t)bytes);
    if (r) {
        close(fd);
        return -r;
    }
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || fcntl(fd, F_ADD_SEALS, wanted_seals) < 0) {
        r = -errno;
        if (map != MAP_FAILED)
            munmap(map, bytes);
        close(fd);
        return r;
    }
    *fd_out = fd;
    *map_out = map;
    return 0;
}

static const char *reason_to_refuse(int fd, size_t bytes)
{
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return "segment: the descriptor cannot be examined";
    if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC)
        return "segment: not a memfd";
    if (st.st_size != (off_t)bytes)
        return "segment: wrong size";
    int seals = fcntl(fd, F_GET_SEALS);
    /* By mask: newer kernels add a bit of their own (F_SEAL_EXEC). */
    if (seals < 0 || (seals & wanted_seals) != wanted_seals)
        return "segment: seals are missing";
    if ((uint64_t)st.st_blocks * 512 < bytes)
        return "segment: not fully allocated";
    return NULL;
}

int shm_segment_map_foreign(int fd, size_t bytes, void *at, void **map_out, const char **why)
{
    *why = reason_to_refuse(fd, bytes);
    if (*why)
        return -EBADMSG;
    void *map = mmap(at, bytes, PROT_READ, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
    if (map == MAP_FAILED) {
        *why = "segment: mmap failed";
        return -errno;
    }
    *map_out = map;
    return 0;
}
