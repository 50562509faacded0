/*
 * Publishing, with pwrite rather than through a mapping: a table that somebody
 * truncates then costs a reader an error instead of costing the hub a SIGBUS, the
 * hub's resident memory holds one image instead of two, and every step that can be
 * interrupted is a system call, few enough that the tests visit all of them.
 *
 * Order: rows, half header, generation. The kernel makes each write visible before
 * the call returns, so the generation is never seen before what it names. It is one
 * aligned 8-byte store; even a torn one could not name a half wrongly, because the
 * half header repeats the generation.
 */
#include "shm/table_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/clock.h"
#include "shm/boot_id.h"
#include "shm/runtime_dir.h"

#define TEMPORARY_NAME RUNTIME_FILE_TABLE ".new"

struct table_writer {
    int fd;
    bool in_place; /* renamed over the earlier table */
    char path[RUNTIME_PATH_CAP], temporary[RUNTIME_PATH_CAP];
    struct table_file_header header;
    struct table_half_header half;
    char *image; /* rows of the snapshot being built, laid out as in a half */
    uint64_t events_copied[2];
    void (*step_hook)(void *ctx, const char *step);
    void *step_ctx;
};

static void step(const struct table_writer *w, const char *name)
{
    if (w->step_hook)
        w->step_hook(w->step_ctx, name);
}

static int write_at(const struct table_writer *w, const char *name, const void *data, size_t bytes, uint64_t offset)
{
    const char *p = data;
    step(w, name);
    while (bytes > 0) {
        ssize_t n = pwrite(w->fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        p += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int create_file(struct table_writer *w)
{
    if (unlink(w->temporary) < 0 && errno != ENOENT)
        return -errno;
    w->fd = open(w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, RUNTIME_FILE_MODE);
    if (w->fd < 0)
        return -errno;
    if (fchmod(w->fd, RUNTIME_FILE_MODE) < 0) /* whatever the umask was */
        return -errno;
    int r = posix_fallocate(w->fd, 0, (off_t)w->header.file_bytes);
    return r ? -r : write_at(w, "file header", &w->header, sizeof(w->header), 0);
}

int table_writer_new(struct table_writer **out, const char *dir, const uint32_t capacity[TABLE_SECTION_COUNT])
{
    struct table_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->fd = -1;
    int r = table_layout_init(&w->header, capacity);
    w->header.hub_pid = (uint32_t)getpid();
    boot_id_read(w->header.boot_id);
    if (r == 0)
        r = runtime_path(w->path, sizeof(w->path), dir, RUNTIME_FILE_TABLE);
    if (r == 0)
        r = runtime_path(w->temporary, sizeof(w->temporary), dir, TEMPORARY_NAME);
    if (r == 0) {
        /* Only the pages of rows in use become resident. */
        w->image = mmap(NULL, w->header.half_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        r = w->image == MAP_FAILED ? -errno : create_file(w);
    }
    if (r < 0) {
        table_writer_free(w);
        return r;
    }
    *out = w;
    return 0;
}

void table_writer_free(struct table_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0) {
        if (!w->in_place)
            unlink(w->temporary);
        close(w->fd);
    }
    if (w->image && w->image != MAP_FAILED)
        munmap(w->image, w->header.half_bytes);
    free(w);
}

void table_writer_begin(struct table_writer *w)
{
    memset(w->half.count, 0, sizeof(w->half.count));
    memset(w->half.dropped, 0, sizeof(w->half.dropped));
}

void *table_writer_add(struct table_writer *w, enum table_section section)
{
    const struct table_section_desc *desc = &w->header.section[section];
    if (w->half.count[section] >= desc->capacity) {
        w->half.dropped[section]++;
        return NULL;
    }
    char *row = w->image + desc->offset + (uint64_t)w->half.count[section]++ * desc->row_bytes;
    return memset(row, 0, desc->row_bytes);
}

uint32_t table_writer_count(const struct table_writer *w, enum table_section section)
{
    return w->half.count[section];
}

struct table_hub *table_writer_hub(struct table_writer *w)
{
    return &w->half.hub;
}

/* Copies the events that this half has not seen, and the few that may have been merged into since. */
static int write_events(struct table_writer *w, uint64_t half_at, unsigned which, const struct table_event_ring *ring)
{
    const struct table_section_desc *desc = &w->header.section[TABLE_EVENTS];
    if (ring->capacity != desc->capacity)
        return -EINVAL;
    uint64_t from = w->events_copied[which], oldest = ring->next_seq > ring->capacity ? ring->next_seq - ring->capacity : 0;
    from = from > TABLE_EVENT_REWRITE ? from - TABLE_EVENT_REWRITE : 0;
    if (from < oldest)
        from = oldest;
    while (from < ring->next_seq) {
        uint32_t at = (uint32_t)(from % ring->capacity);
        uint64_t run = ring->next_seq - from;
        if (run > ring->capacity - at)
            run = ring->capacity - at;
        int r = write_at(w, "events", &ring->rows[at], run * sizeof(*ring->rows), half_at + desc->offset + at * sizeof(*ring->rows));
        if (r < 0)
            return r;
        from += run;
    }
    w->events_copied[which] = ring->next_seq;
    w->half.next_event_seq = ring->next_seq;
    return 0;
}

static int write_rows(struct table_writer *w, uint64_t half_at)
{
    for (int s = 0; s < TABLE_SECTION_COUNT; s++) {
        const struct table_section_desc *desc = &w->header.section[s];
        if (s == TABLE_EVENTS || w->half.count[s] == 0)
            continue;
        int r = write_at(w, table_section_info[s].name, w->image + desc->offset, (size_t)w->half.count[s] * desc->row_bytes,
                         half_at + desc->offset);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Whether somebody deleted or truncated the file. Replaced by another's is not deleted: then it is theirs. */
static bool is_damaged(const struct table_writer *w)
{
    struct stat st;
    if (w->fd < 0 || fstat(w->fd, &st) < 0 || (uint64_t)st.st_size < w->header.file_bytes)
        return true;
    return w->in_place && st.st_nlink == 0 && access(w->path, F_OK) < 0;
}

/* A new file takes its place, with everything in it. */
static int replace_damaged(struct table_writer *w)
{
    if (!is_damaged(w))
        return 0;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->in_place = false;
    w->events_copied[0] = w->events_copied[1] = 0;
    return create_file(w);
}

int table_writer_publish(struct table_writer *w, const struct table_event_ring *events)
{
    int r = replace_damaged(w);
    if (r < 0)
        return r;
    uint64_t next = w->header.generation + 1;
    unsigned which = next & 1;
    uint64_t half_at = TABLE_HEADER_BYTES + which * w->header.half_bytes;
    w->half.generation = next;
    w->half.published_mono_ns = mono_now_ns();
    w->half.published_wall_ms = wall_now_ms();
    r = write_rows(w, half_at);
    if (r == 0 && events)
        r = write_events(w, half_at, which, events);
    if (r == 0)
        r = write_at(w, "half header", &w->half, sizeof(w->half), half_at);
    if (r == 0)
        r = write_at(w, "generation", &next, sizeof(next), offsetof(struct table_file_header, generation));
    if (r < 0)
        return r;
    w->header.generation = next;
    if (!w->in_place) {
        step(w, "rename");
        if (rename(w->temporary, w->path) < 0)
            return -errno;
        w->in_place = true;
    }
    return 0;
}

void table_writer_set_step_hook(struct table_writer *w, void (*hook)(void *ctx, const char *step), void *ctx)
{
    w->step_hook = hook;
    w->step_ctx = ctx;
}
