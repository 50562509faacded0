/*
 * The file is believed only after its header proved that it is this layout, of this
 * size; every count is compared with the capacity that the size was derived from.
 */
#include "shm/table_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base/clock.h"
#include "shm/boot_id.h"
#include "shm/runtime_dir.h"

/* A publish takes well under a millisecond and happens at most ten times a second. */
#define LOAD_ATTEMPTS 16
#define MAX_CAPACITY (UINT32_C(1) << 20)

struct table_reader {
    int fd;
    char path[RUNTIME_PATH_CAP];
    char reason[RUNTIME_PATH_CAP + 256];
    struct table_file_header header;
    struct table_half_header half;
    char *image; /* as long as one half */
    uint64_t image_bytes;
    uint64_t generation; /* of the image; 0: none */
    uint8_t boot_id[16];
    void (*step_hook)(void *ctx, const char *step);
    void *step_ctx;
};

__attribute__((format(printf, 3, 4))) static int fail(struct table_reader *r, int error, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(r->reason, sizeof(r->reason), "%s: ", r->path);
    va_start(ap, fmt);
    vsnprintf(r->reason + n, sizeof(r->reason) - (size_t)n, fmt, ap);
    va_end(ap);
    return error;
}

int table_reader_new(struct table_reader **out, const char *dir)
{
    struct table_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return -ENOMEM;
    r->fd = -1;
    int error = runtime_path(r->path, sizeof(r->path), dir, RUNTIME_FILE_TABLE);
    if (error < 0) {
        free(r);
        return error;
    }
    boot_id_read(r->boot_id);
    *out = r;
    return 0;
}

static void close_file(struct table_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

void table_reader_free(struct table_reader *r)
{
    if (!r)
        return;
    close_file(r);
    free(r->image);
    free(r);
}

/* All or nothing; a short read means that the file is shorter than its header says. */
static int read_at(struct table_reader *r, const char *name, void *data, size_t bytes, uint64_t offset)
{
    char *p = data;
    if (r->step_hook)
        r->step_hook(r->step_ctx, name);
    while (bytes > 0) {
        ssize_t n = pread(r->fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(r, -errno, "cannot read: %s", strerror(errno));
        if (n == 0)
            return fail(r, -EBADMSG, "truncated while reading %s at byte %llu; a running hub writes a new one within a second", name,
                        (unsigned long long)offset);
        p += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int open_newest(struct table_reader *r)
{
    struct stat now, opened;
    if (stat(r->path, &now) < 0)
        return fail(r, -errno, "%s", strerror(errno));
    if (r->fd >= 0 && fstat(r->fd, &opened) == 0 && opened.st_ino == now.st_ino && opened.st_dev == now.st_dev)
        return 0;
    close_file(r);
    r->generation = 0;
    if (!S_ISREG(now.st_mode))
        return fail(r, -EBADMSG, "not a regular file");
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return r->fd < 0 ? fail(r, -errno, "%s", strerror(errno)) : 0;
}

static int check_header(struct table_reader *r, const struct table_file_header *h)
{
    struct table_file_header expected;
    uint32_t capacity[TABLE_SECTION_COUNT];
    struct stat st;
    if (h->magic != TABLE_MAGIC)
        return fail(r, -EBADMSG, "not an instance table (wrong magic); remove it, and a running hub writes a new one within a second");
    if (h->version_major != TABLE_VERSION_MAJOR)
        return fail(r, -EPROTONOSUPPORT, "table version %u.%u, this program reads %u.x", h->version_major, h->version_minor,
                    TABLE_VERSION_MAJOR);
    if (h->fingerprint != table_fingerprint() || h->section_count != TABLE_SECTION_COUNT)
        return fail(r, -EPROTONOSUPPORT, "table layout %016llx, this program reads %016llx: hub and tool are of different builds",
                    (unsigned long long)h->fingerprint, (unsigned long long)table_fingerprint());
    for (int s = 0; s < TABLE_SECTION_COUNT; s++) {
        capacity[s] = h->section[s].capacity;
        if (capacity[s] > MAX_CAPACITY)
            return fail(r, -EBADMSG, "damaged: section %s claims %u rows", table_section_info[s].name, capacity[s]);
    }
    if (table_layout_init(&expected, capacity) < 0 || memcmp(expected.section, h->section, sizeof(h->section)) != 0 ||
        expected.half_bytes != h->half_bytes || expected.file_bytes != h->file_bytes || h->header_bytes != TABLE_HEADER_BYTES)
        return fail(r, -EBADMSG, "damaged: sections and sizes of its header do not fit together");
    if (fstat(r->fd, &st) < 0 || (uint64_t)st.st_size < h->file_bytes)
        return fail(r, -EBADMSG, "truncated: %lld of %llu bytes; a running hub writes a new one within a second", (long long)st.st_size,
                    (unsigned long long)h->file_bytes);
    if (h->generation == 0)
        return fail(r, -EBADMSG, "damaged: holds no snapshot");
    return 0;
}

static int fit_image(struct table_reader *r, uint64_t bytes)
{
    if (r->image_bytes == bytes)
        return 0;
    char *image = realloc(r->image, bytes);
    if (!image)
        return fail(r, -ENOMEM, "no memory for %llu bytes", (unsigned long long)bytes);
    r->image = image;
    r->image_bytes = bytes;
    return 0;
}

static int read_half(struct table_reader *r, const struct table_file_header *h, struct table_half_header *half)
{
    uint64_t at = TABLE_HEADER_BYTES + (h->generation & 1) * h->half_bytes;
    int error = read_at(r, "half header", half, sizeof(*half), at);
    for (int s = 0; s < TABLE_SECTION_COUNT && error == 0; s++) {
        const struct table_section_desc *desc = &h->section[s];
        uint64_t rows = half->count[s];
        if (s == TABLE_EVENTS)
            rows = half->next_event_seq < desc->capacity ? half->next_event_seq : desc->capacity;
        if (rows > desc->capacity)
            return fail(r, -EBADMSG, "damaged: %llu rows of %u in section %s", (unsigned long long)rows, desc->capacity,
                        table_section_info[s].name);
        if (rows > 0)
            error = read_at(r, table_section_info[s].name, r->image + desc->offset, rows * desc->row_bytes, at + desc->offset);
    }
    return error;
}

static void terminate_row(char *row, const struct table_field *field)
{
    for (; field->bytes; field++)
        if (field->is_text)
            row[field->offset + field->bytes - 1] = '\0';
}

static void terminate_texts(struct table_reader *r)
{
    terminate_row((char *)&r->half.hub, table_hub_fields);
    for (int s = 0; s < TABLE_SECTION_COUNT; s++) {
        const struct table_section_desc *desc = &r->header.section[s];
        uint64_t rows = s == TABLE_EVENTS ? desc->capacity : r->half.count[s];
        if (s == TABLE_EVENTS && r->half.next_event_seq < rows)
            rows = r->half.next_event_seq;
        for (uint64_t i = 0; i < rows; i++)
            terminate_row(r->image + desc->offset + i * desc->row_bytes, table_section_info[s].fields);
    }
}

/* One attempt. -EAGAIN: the hub published in between. The image is only trusted once it succeeded. */
static int load_once(struct table_reader *r)
{
    struct table_file_header h;
    struct table_half_header half;
    uint64_t again;
    int error = read_at(r, "file header", &h, sizeof(h), 0);
    if (error == 0)
        error = check_header(r, &h);
    if (error < 0)
        return error;
    if (h.generation == r->generation)
        return TABLE_UNCHANGED;
    error = fit_image(r, h.half_bytes);
    if (error < 0)
        return error;
    r->generation = 0;
    int half_error = read_half(r, &h, &half);
    error = read_at(r, "generation again", &again, sizeof(again), offsetof(struct table_file_header, generation));
    if (error < 0)
        return error;
    if (again != h.generation)
        return fail(r, -EAGAIN, "changed under every one of %d attempts to read it", LOAD_ATTEMPTS);
    if (half_error < 0)
        return half_error;
    if (half.generation != h.generation)
        return fail(r, -EBADMSG, "damaged: snapshot %llu where %llu was announced", (unsigned long long)half.generation,
                    (unsigned long long)h.generation);
    r->header = h;
    r->half = half;
    r->generation = h.generation;
    terminate_texts(r);
    return TABLE_LOADED;
}

int table_reader_load(struct table_reader *r)
{
    int result = open_newest(r);
    if (result < 0)
        return result;
    result = -EAGAIN;
    for (int i = 0; i < LOAD_ATTEMPTS && result == -EAGAIN; i++)
        result = load_once(r);
    if (result >= 0)
        r->reason[0] = '\0';
    return result;
}

const char *table_reader_reason(const struct table_reader *r)
{
    return r->reason;
}

const char *table_reader_path(const struct table_reader *r)
{
    return r->path;
}

const struct table_half_header *table_reader_half(const struct table_reader *r)
{
    return &r->half;
}

const void *table_reader_rows(const struct table_reader *r, enum table_section section, uint32_t *count)
{
    *count = r->generation ? r->half.count[section] : 0;
    return r->generation ? r->image + r->header.section[section].offset : NULL;
}

void table_reader_events(const struct table_reader *r, uint64_t *first, uint64_t *next)
{
    uint32_t capacity = r->header.section[TABLE_EVENTS].capacity;
    *next = r->generation ? r->half.next_event_seq : 0;
    *first = *next > capacity ? *next - capacity : 0;
}

const struct table_event *table_reader_event(const struct table_reader *r, uint64_t seq)
{
    const struct table_section_desc *desc = &r->header.section[TABLE_EVENTS];
    return (const struct table_event *)(const void *)(r->image + desc->offset + seq % desc->capacity * desc->row_bytes);
}

int64_t table_reader_age_ms(const struct table_reader *r)
{
    uint64_t now = mono_now_ns();
    int64_t age;
    if (memcmp(r->boot_id, r->header.boot_id, sizeof(r->boot_id)) == 0 && now >= r->half.published_mono_ns)
        age = (int64_t)((now - r->half.published_mono_ns) / NS_PER_MS);
    else
        age = wall_now_ms() - r->half.published_wall_ms;
    return age > 0 ? age : 0;
}

void table_reader_set_step_hook(struct table_reader *r, void (*hook)(void *ctx, const char *step), void *ctx)
{
    r->step_hook = hook;
    r->step_ctx = ctx;
}
