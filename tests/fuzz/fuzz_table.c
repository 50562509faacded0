/*
 * A published instance table with words of it changed: the input is a list of (offset, word), 4 bytes each, little-endian. The
 * reader must answer, and whatever it loads every verb must be able to show, filter and sort.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/table_reader.h"
#include "shm/table_writer.h"
#include "tests/fuzz/fuzz.h"
#include "tui/command.h"
#include "tui/selection.h"

#define FILE_CAP (1u << 19)

static char dir[] = "/tmp/rmqhub-fuzz-table-XXXXXX", path[sizeof(dir) + 8];
static char pristine[FILE_CAP];
static size_t file_bytes;
static int fd = -1;

static void clean_up(void)
{
    unlink(path);
    rmdir(dir);
}

/* Rows full of letters: nothing is terminated until the reader does it. */
static void publish_once(void)
{
    static const uint32_t capacity[TABLE_SECTION_COUNT] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 16};
    static struct table_event rows[16];
    struct table_event_ring ring = {rows, 16, 20};
    struct table_writer *writer = NULL;
    FUZZ_CHECK(mkdtemp(dir) && table_writer_new(&writer, dir, capacity) == 0);
    snprintf(path, sizeof(path), "%s/table", dir);
    atexit(clean_up);
    memset(rows, 'e', sizeof(rows));
    for (int section = 0; section < TABLE_EVENTS; section++)
        for (int i = 0; i < 2; i++)
            memset(table_writer_add(writer, (enum table_section)section), 'a' + i, table_section_info[section].row_bytes);
    FUZZ_CHECK(table_writer_publish(writer, &ring) == 0);
    table_writer_free(writer);
    fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t n = pread(fd, pristine, sizeof(pristine), 0);
    FUZZ_CHECK(n > 0 && (size_t)n < sizeof(pristine));
    file_bytes = (size_t)n;
}

static void show(const struct view *view, const struct table_reader *reader, size_t sort)
{
    struct selection selection = {.view = view};
    selection_default_columns(&selection, true);
    selection.sort = selection.columns[sort % selection.column_count];
    FUZZ_CHECK(selection_add_filter(&selection, "!no such text") == NULL && selection_apply(&selection, reader) == 0);
    selection_deinit(&selection);
}

static void load_and_show(size_t sort)
{
    static const struct view *const views[] = {&view_status,  &view_instances,  &view_groups,  &view_clients,     &view_routes,
                                               &view_brokers, &view_heartbeats, &view_pending, &view_connections, &view_tasks,
                                               &view_events,  &view_stats,      &view_config};
    struct table_reader *reader = NULL;
    FUZZ_CHECK(table_reader_new(&reader, dir) == 0);
    if (table_reader_load(reader) == TABLE_LOADED)
        for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
            show(views[i], reader, sort);
    else
        FUZZ_CHECK(table_reader_reason(reader)[0] != '\0');
    table_reader_free(reader);
}

/* Writes the input's words into the file, or what stood there before. */
static void patch(const uint8_t *data, size_t size, bool undo)
{
    for (; size >= 8; data += 8, size -= 8) {
        uint32_t at;
        memcpy(&at, data, sizeof(at));
        at %= (uint32_t)file_bytes - 4;
        FUZZ_CHECK(pwrite(fd, undo ? pristine + at : (const char *)data + 4, 4, at) == 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fd < 0)
        publish_once();
    patch(data, size, false);
    load_and_show(size);
    patch(data, size, true);
    return 0;
}

/* The verbs' complaints; main.c has them in the program. */
void command_complain(const struct command *self, const char *fmt, ...)
{
    (void)self;
    (void)fmt;
}
