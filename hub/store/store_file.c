/*
 * LMDB trusts its file: a truncated one ends in SIGBUS, a zeroed page in abort(),
 * a flipped one in SIGSEGV or an endless walk. So the hub never opens a file that
 * it did not write itself. At start a child reads what is there and pipes it over,
 * and may die of it; the parent checks each item, writes the good ones into a new
 * file and renames that into place. Every start therefore also compacts.
 *
 * MDB_NOLOCK: the state directory's lock admits one hub, and one thread at a time
 * uses the file. Never MDB_WRITEMAP (a full disk would be SIGBUS), never MDB_NOSYNC.
 */
#include "hub/store/store_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/base/clock.h"

#define STORE_FILE_NEW STORE_FILE ".new"
#define STORE_FILE_DAMAGED STORE_FILE ".damaged-"
#define SALVAGE_TIME_NS (600 * NS_PER_MS) /* a start that waits longer is worse than one without a cache */
#define SALVAGE_ITEMS_MAX 20000u          /* a damaged tree can be a ring */
#define FILE_MODE 0600

/* Exit codes of the child. */
enum { CHILD_OK, CHILD_UNREADABLE, CHILD_ENDLESS, CHILD_NO_PIPE };

struct store_file {
    MDB_env *env;
    MDB_dbi dbi;
    jmp_buf assertion; /* where LMDB's failed assertion ends up instead of abort() */
};

static void path_of(char dst[64], int dirfd, const char *name)
{
    /* LMDB takes paths only; this one cannot be redirected after the directory was opened and checked. */
    snprintf(dst, 64, "/proc/self/fd/%d/%s", dirfd, name);
}

/* LMDB calls a short write EIO, and a short write is what a full disk gives first. */
static int error_of(int mdb_result)
{
    if (mdb_result == MDB_MAP_FULL || mdb_result == ENOSPC || mdb_result == EDQUOT || mdb_result == EFBIG || mdb_result == EIO)
        return -ENOSPC;
    return mdb_result > 0 ? -mdb_result : mdb_result == 0 ? 0 : -EIO;
}

/* ---- the child ---- */

static void child_assertion(MDB_env *env, const char *text)
{
    (void)env;
    (void)text;
    _exit(CHILD_UNREADABLE);
}

static void child_write(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(CHILD_NO_PIPE);
        p += n;
        len -= (size_t)n;
    }
}

static void child_dump(int dirfd, int fd)
{
    char path[64];
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key, value;
    unsigned items = 0;
    path_of(path, dirfd, STORE_FILE);
    if (mdb_env_create(&env) || mdb_env_set_assert(env, child_assertion) ||
        mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY, FILE_MODE) || mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) ||
        mdb_dbi_open(txn, NULL, 0, &dbi) || mdb_cursor_open(txn, dbi, &cursor))
        _exit(CHILD_UNREADABLE);
    int r = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; r == 0; r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        uint32_t lengths[2] = {(uint32_t)key.mv_size, (uint32_t)value.mv_size};
        if (++items > SALVAGE_ITEMS_MAX)
            _exit(CHILD_ENDLESS);
        if (key.mv_size > STORE_KEY_MAX || value.mv_size > STORE_VALUE_MAX)
            _exit(CHILD_UNREADABLE);
        child_write(fd, lengths, sizeof(lengths));
        child_write(fd, key.mv_data, key.mv_size);
        child_write(fd, value.mv_data, value.mv_size);
    }
    _exit(r == MDB_NOTFOUND ? CHILD_OK : CHILD_UNREADABLE);
}

static void child_run(int dirfd, int fd)
{
    /* It has inherited the hub's lock, and must not hold it longer than the hub. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    const struct rlimit no_core = {0, 0}, seconds = {5, 5};
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        signal(deadly[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &seconds);
    child_dump(dirfd, fd);
}

/* ---- the parent's side of the pipe ---- */

/* Reads exactly @p len bytes. 1 done, 0 end of file before the first byte, -1 cut off, -ETIMEDOUT. */
static int read_exactly(int fd, void *dst, size_t len, uint64_t deadline_ns)
{
    size_t have = 0;
    while (have < len) {
        uint64_t now_ns = mono_now_ns();
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        if (now_ns >= deadline_ns || poll(&pfd, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1) == 0)
            return -ETIMEDOUT;
        ssize_t n = read(fd, (char *)dst + have, len - have);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return have || n < 0 ? -1 : 0;
        have += (size_t)n;
    }
    return 1;
}

/* Takes items until the child is done or dead. 0, or -1 when the stream was cut off, or -ETIMEDOUT. */
static int take_items(int fd, store_item_fn *take, void *ctx, struct store_salvage *out)
{
    uint64_t deadline_ns = mono_now_ns() + SALVAGE_TIME_NS;
    char *buffer = malloc(STORE_KEY_MAX + STORE_VALUE_MAX);
    int r = buffer ? 1 : -ENOMEM;
    while (r == 1) {
        uint32_t lengths[2];
        struct store_origin origin;
        struct span content;
        r = read_exactly(fd, lengths, sizeof(lengths), deadline_ns);
        if (r != 1)
            break;
        if (lengths[0] > STORE_KEY_MAX || lengths[1] > STORE_VALUE_MAX) {
            r = -1;
            break;
        }
        r = read_exactly(fd, buffer, (size_t)lengths[0] + lengths[1], deadline_ns);
        if (r != 1) {
            r = r == 0 ? -1 : r;
            break;
        }
        struct span key = {buffer, lengths[0]}, value = {buffer + lengths[0], lengths[1]};
        int opened = store_record_open(key, value, &origin, &content);
        out->items += opened == 0;
        out->other_version += opened == -EPROTONOSUPPORT;
        out->bad += opened == -EBADMSG;
        if (opened == 0)
            take(ctx, key, &origin, content);
    }
    free(buffer);
    return r;
}

static void judge(struct store_salvage *out, int stream, int status)
{
    out->damaged = true;
    if (stream == -ETIMEDOUT)
        snprintf(out->reason, sizeof(out->reason), "reading it takes too long");
    else if (WIFSIGNALED(status))
        snprintf(out->reason, sizeof(out->reason), "its reader died of signal %d", WTERMSIG(status));
    else if (stream < 0 || WEXITSTATUS(status) != CHILD_OK)
        snprintf(out->reason, sizeof(out->reason), WEXITSTATUS(status) == CHILD_ENDLESS ? "it has no end" : "it cannot be read to its end");
    else if (out->bad)
        snprintf(out->reason, sizeof(out->reason), "%u of %u records have a wrong checksum", out->bad, out->items + out->bad);
    else
        out->damaged = false;
}

/* ---- damaged files ---- */

/* The oldest damaged file and how many there are; the time in the name sorts. */
static unsigned damaged_count(int dirfd, char oldest[64])
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    unsigned count = 0;
    oldest[0] = '\0';
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        size_t len = strlen(entry->d_name);
        if (strncmp(entry->d_name, STORE_FILE_DAMAGED, sizeof(STORE_FILE_DAMAGED) - 1) != 0 || len >= 64)
            continue;
        count++;
        if (!oldest[0] || strcmp(entry->d_name, oldest) < 0)
            memcpy(oldest, entry->d_name, len + 1);
    }
    closedir(dir);
    return count;
}

static void set_aside(int dirfd, struct store_salvage *out)
{
    char name[64], stamp[17], oldest[64];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
    snprintf(name, sizeof(name), STORE_FILE_DAMAGED "%s.%03uZ", stamp, (unsigned)(now.tv_nsec / 1000000) % 1000u);
    if (renameat(dirfd, STORE_FILE, dirfd, name) == 0)
        memcpy(out->set_aside, name, sizeof(name));
    while (damaged_count(dirfd, oldest) > STORE_DAMAGED_KEPT && unlinkat(dirfd, oldest, 0) == 0)
        ;
}

/* A file, or something else of that name; symlinks are not followed. */
static bool regular_file_exists(int dirfd, struct store_salvage *out)
{
    struct stat st;
    if (fstatat(dirfd, STORE_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    out->found = true;
    out->damaged = !S_ISREG(st.st_mode);
    snprintf(out->reason, sizeof(out->reason), "%s", out->damaged ? "it is not a regular file" : "");
    return !out->damaged;
}

int store_file_salvage(int dirfd, store_item_fn *take, void *ctx, struct store_salvage *out)
{
    *out = (struct store_salvage){0};
    if (regular_file_exists(dirfd, out)) {
        int fds[2], status = 0;
        if (pipe2(fds, O_CLOEXEC) < 0)
            return -errno;
        pid_t pid = fork();
        if (pid == 0)
            child_run(dirfd, fds[1]);
        int error = errno;
        close(fds[1]);
        if (pid < 0) {
            close(fds[0]);
            return -error;
        }
        int stream = take_items(fds[0], take, ctx, out);
        close(fds[0]);
        if (stream < 0)
            kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        judge(out, stream, status);
    }
    if (out->damaged)
        set_aside(dirfd, out);
    return 0;
}

/* ---- the file that this hub writes ---- */

/* mdb_env_set_assert's hook has no context argument, so the file is found through the environment. */
static void file_assertion(MDB_env *env, const char *text)
{
    struct store_file *file = mdb_env_get_userctx(env);
    (void)text;
    longjmp(file->assertion, 1);
}

static int file_open(struct store_file *file, int dirfd, const char *name)
{
    char path[64];
    MDB_txn *txn = NULL;
    path_of(path, dirfd, name);
    int r = mdb_env_create(&file->env);
    if (r)
        return error_of(r);
    mdb_env_set_userctx(file->env, file);
    mdb_env_set_mapsize(file->env, STORE_MAP_BYTES);
    r = mdb_env_open(file->env, path, MDB_NOSUBDIR | MDB_NOLOCK, FILE_MODE);
    if (!r)
        r = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (!r)
        r = mdb_dbi_open(txn, NULL, 0, &file->dbi);
    if (!r)
        r = mdb_txn_commit(txn);
    else if (txn)
        mdb_txn_abort(txn);
    mdb_env_set_assert(file->env, file_assertion);
    return error_of(r);
}

static int write_items(struct store_file *file, const struct store_item *items, unsigned count)
{
    MDB_txn *txn;
    int r = mdb_txn_begin(file->env, NULL, 0, &txn);
    if (r)
        return r;
    for (unsigned i = 0; i < count && !r; i++) {
        MDB_val key = {items[i].key.len, (void *)items[i].key.data}, value = {items[i].value.len, (void *)items[i].value.data};
        r = value.mv_size ? mdb_put(txn, file->dbi, &key, &value, 0) : mdb_del(txn, file->dbi, &key, NULL);
        r = r == MDB_NOTFOUND ? 0 : r;
    }
    if (r) {
        mdb_txn_abort(txn);
        return r;
    }
    return mdb_txn_commit(txn);
}

int store_file_write(struct store_file *file, const struct store_item *items, unsigned count)
{
    if (setjmp(file->assertion)) {
        file->env = NULL; /* its locks are in an unknown state: leaked on purpose, never touched again */
        return -EIO;
    }
    return file->env ? error_of(write_items(file, items, count)) : -EIO;
}

int store_file_create(struct store_file **out, int dirfd, const struct store_item *items, unsigned count)
{
    struct store_file *file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    unlinkat(dirfd, STORE_FILE_NEW, 0); /* of a hub that died here */
    int r = file_open(file, dirfd, STORE_FILE_NEW);
    if (r == 0)
        r = store_file_write(file, items, count);
    if (r == 0 && renameat(dirfd, STORE_FILE_NEW, dirfd, STORE_FILE) < 0)
        r = -errno;
    if (r < 0) {
        store_file_close(file);
        unlinkat(dirfd, STORE_FILE_NEW, 0);
        return r;
    }
    *out = file;
    return 0;
}

void store_file_close(struct store_file *file)
{
    if (!file)
        return;
    if (file->env)
        mdb_env_close(file->env);
    free(file);
}
