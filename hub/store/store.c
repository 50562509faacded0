/*
 * A bounded table in memory is the store; the file is its shadow. Changed entries
 * are marked dirty, so any number of changes of one topic costs one write, and
 * nothing queues up while a disk hangs. The writer takes dirty entries in slices,
 * so that the loop never waits long for the mutex, and commits at most once a
 * second. Names are written as soon as routes are: both within about a second.
 */
#include "hub/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/store/store_file.h"
#include "shm/base/clock.h"
#include "shm/base/list.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

#define WHO "store"
#define BUCKETS 2048u /* power of two */
#define COMMIT_INTERVAL_NS NS_PER_S
#define DISK_FULL_RETRY_NS (60 * NS_PER_S)
#define SLICE_ENTRIES 256u
#define SLICE_BYTES (1u << 20)

#define KIND_NAME "name"

/* One key with its sealed value, one block of memory. Without a value it is forgotten, but the file does not know yet. */
struct entry {
    struct entry *next; /* in its bucket */
    struct list_link dirty_link;
    struct store_origin origin;
    size_t key_len, value_len;
    char data[]; /* key, then value */
};

/* Copies of dirty entries, on their way to the disk. */
struct batch {
    struct store_item *items;
    unsigned count, cap;
};

struct store {
    int dirfd;
    char boot_id[40];
    pthread_mutex_t lock; /* everything below; held briefly by both threads */
    pthread_cond_t wake;
    struct entry *buckets[BUCKETS];
    struct list_link dirty;
    unsigned forgotten; /* entries without a value */
    struct store_status status;
    bool stopping;
    pthread_t writer;
    bool writer_runs;
    struct store_file *file; /* the writer's alone once it runs */
};

static struct span entry_key(const struct entry *entry)
{
    return (struct span){entry->data, entry->key_len};
}

static struct span entry_content(const struct entry *entry)
{
    size_t header_len = STORE_RECORD_HEADER + strlen(entry->origin.from);
    return (struct span){entry->data + entry->key_len + header_len, entry->value_len - header_len};
}

static struct entry **bucket_of(struct store *store, struct span key)
{
    return &store->buckets[store_checksum(STORE_CHECKSUM_SEED, key.data, key.len) & (BUCKETS - 1)];
}

static struct entry *entry_find(struct store *store, struct span key)
{
    struct entry *entry = *bucket_of(store, key);
    while (entry && !span_equals(entry_key(entry), key))
        entry = entry->next;
    return entry;
}

static void entry_drop(struct store *store, struct entry *entry)
{
    struct entry **at = bucket_of(store, entry_key(entry));
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    if (list_is_linked(&entry->dirty_link)) {
        list_unlink(&entry->dirty_link);
        store->status.unwritten--;
    }
    store->status.entries--;
    store->forgotten -= entry->value_len == 0;
    store->status.bytes -= entry->key_len + entry->value_len;
    free(entry);
}

static void entry_link(struct store *store, struct entry *entry)
{
    struct entry **bucket = bucket_of(store, entry_key(entry));
    entry->next = *bucket;
    *bucket = entry;
    store->status.entries++;
    store->forgotten += entry->value_len == 0;
    store->status.bytes += entry->key_len + entry->value_len;
}

static void entry_mark_dirty(struct store *store, struct entry *entry)
{
    if (list_is_linked(&entry->dirty_link))
        return;
    list_append(&store->dirty, &entry->dirty_link);
    store->status.unwritten++;
    pthread_cond_signal(&store->wake);
}

/* In no bucket yet. A NULL @p origin makes a forgotten one. */
static struct entry *entry_new(struct span key, const struct store_origin *origin, struct span content)
{
    size_t value_len = origin ? store_record_size(origin, content) : 0;
    struct entry *entry = calloc(1, sizeof(*entry) + key.len + value_len);
    if (!entry)
        return NULL;
    entry->key_len = key.len;
    entry->value_len = value_len;
    memcpy(entry->data, key.data, key.len);
    if (origin) {
        entry->origin = *origin;
        store_record_seal(entry->data + key.len, key, origin, content);
    }
    return entry;
}

static bool key_is(struct span key, const char *kind)
{
    return key.len > strlen(kind) && memcmp(key.data, kind, strlen(kind) + 1) == 0;
}

/* Names and the configuration stay. What was learnt can be learnt again: it may expire, and leave a full cache. */
static bool is_lasting(const struct entry *entry)
{
    return key_is(entry_key(entry), KIND_NAME) || key_is(entry_key(entry), STORE_KIND_CONFIG);
}

/*
 * The file has to learn of it, or the next start would find the record there. Before the writer runs the file is still to be
 * made; and behind a disk that hangs no more than a table of such notes piles up.
 */
static void evict(struct store *store, struct entry *entry)
{
    bool tell = store->writer_runs && store->status.state != STORE_OFF && store->forgotten < STORE_ENTRIES_MAX;
    struct entry *note = tell ? entry_new(entry_key(entry), NULL, (struct span){"", 0}) : NULL;
    entry_drop(store, entry);
    store->status.evicted++;
    if (note) {
        entry_link(store, note);
        entry_mark_dirty(store, note);
    }
}

static bool evict_oldest(struct store *store)
{
    struct entry *oldest = NULL;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct entry *entry = store->buckets[i]; entry; entry = entry->next) {
            if (entry->value_len > 0 && !is_lasting(entry) && (!oldest || entry->origin.saved_ms < oldest->origin.saved_ms))
                oldest = entry;
        }
    }
    if (!oldest)
        return false;
    evict(store, oldest);
    return true;
}

static bool is_full(const struct store *store, size_t more_bytes)
{
    return store->status.entries - store->forgotten >= STORE_ENTRIES_MAX || store->status.entries >= 2 * STORE_ENTRIES_MAX ||
           store->status.bytes + more_bytes > STORE_BYTES_MAX;
}

/* Puts or replaces; a NULL @p origin leaves a forgotten entry. Not marked dirty. NULL when memory is short or the content too long. */
static struct entry *entry_put(struct store *store, struct span key, const struct store_origin *origin, struct span content)
{
    if (key.len > STORE_KEY_MAX || content.len > STORE_CONTENT_MAX)
        return NULL;
    struct entry *fresh = entry_new(key, origin, content);
    if (!fresh)
        return NULL;
    size_t size = fresh->key_len + fresh->value_len;
    struct entry *old = entry_find(store, key);
    if (old)
        entry_drop(store, old);
    while (is_full(store, size)) {
        if (!evict_oldest(store)) {
            free(fresh);
            return NULL;
        }
    }
    entry_link(store, fresh);
    return fresh;
}

static void mark_all_dirty(struct store *store)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct entry *entry = store->buckets[i]; entry; entry = entry->next)
            entry_mark_dirty(store, entry);
    }
}

/* ---- keys ---- */

/* "kind NUL scope NUL name NUL". False when that is too long for the file. */
static bool key_join(char key[STORE_KEY_MAX], size_t *len, const char *kind, const char *scope, const char *name)
{
    if (strlen(kind) + strlen(scope) + strlen(name) + 3 > STORE_KEY_MAX)
        return false;
    *len = (size_t)(stpcpy(stpcpy(stpcpy(key, kind) + 1, scope) + 1, name) + 1 - key);
    return true;
}

/* ---- the writer's thread ---- */

static void batch_free(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++)
        free((void *)batch->items[i].key.data);
    free(batch->items);
    *batch = (struct batch){0};
}

static bool batch_add(struct batch *batch, const struct entry *entry)
{
    if (batch->count == batch->cap) {
        unsigned cap = batch->cap ? 2 * batch->cap : 64;
        struct store_item *items = realloc(batch->items, cap * sizeof(*items));
        if (!items)
            return false;
        batch->items = items;
        batch->cap = cap;
    }
    char *copy = malloc(entry->key_len + entry->value_len);
    if (!copy)
        return false;
    memcpy(copy, entry->data, entry->key_len + entry->value_len);
    struct store_item *item = &batch->items[batch->count++];
    item->key = (struct span){copy, entry->key_len};
    item->value = (struct span){copy + entry->key_len, entry->value_len};
    return true;
}

/* Moves dirty entries into the batch, with a pause for the other thread after each slice. Lock held. */
static void batch_collect(struct store *store, struct batch *batch)
{
    unsigned entries = 0;
    size_t bytes = 0;
    for (struct list_link *link = list_first(&store->dirty); link; link = list_first(&store->dirty)) {
        struct entry *entry = LIST_ENTRY(link, struct entry, dirty_link);
        if (!batch_add(batch, entry))
            return;
        list_unlink(link);
        bytes += entry->value_len;
        if (batch->count >= STORE_ENTRIES_MAX)
            return;
        if (++entries < SLICE_ENTRIES && bytes < SLICE_BYTES)
            continue;
        entries = 0;
        bytes = 0;
        pthread_mutex_unlock(&store->lock);
        pthread_mutex_lock(&store->lock);
    }
}

/* Sleeps until @p until_ns, whatever becomes dirty, or until the store stops. Lock held. */
static void writer_sleep(struct store *store, uint64_t until_ns)
{
    const struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    while (!store->stopping && pthread_cond_timedwait(&store->wake, &store->lock, &until) == 0)
        ;
}

static void state_set(struct store *store, enum store_state state, int error)
{
    if (store->status.state == state)
        return;
    store->status.state = state;
    if (state == STORE_OK)
        LOG_INFO(WHO, "the route cache is written again");
    else
        LOG_WARN(WHO, "running without a route cache on disk (%s), %s; sends are not affected", strerror(-error),
                 state == STORE_DISK_FULL ? "tried again every minute" : "until the next start");
}

/* What the file does not hold any more needs no entry that says so, unless it came back or went again meanwhile. */
static void drop_forgotten(struct store *store, const struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        struct entry *entry = batch->items[i].value.len ? NULL : entry_find(store, batch->items[i].key);
        if (entry && entry->value_len == 0 && !list_is_linked(&entry->dirty_link))
            entry_drop(store, entry);
    }
}

/* Lock held; let go of while the disk works. Returns when the next commit may be. */
static uint64_t writer_commit(struct store *store)
{
    struct batch batch = {0};
    batch_collect(store, &batch);
    pthread_mutex_unlock(&store->lock);
    uint64_t start_ns = mono_now_ns();
    int r = batch.count ? store_file_write(store->file, batch.items, batch.count) : 0;
    uint64_t took_ns = mono_now_ns() - start_ns;
    pthread_mutex_lock(&store->lock);
    store->status.unwritten -= batch.count;
    if (r == 0)
        drop_forgotten(store, &batch);
    batch_free(&batch);
    if (r == 0) {
        store->status.commits++;
        store->status.last_commit_ns = took_ns;
        state_set(store, STORE_OK, 0);
        return start_ns + took_ns + COMMIT_INTERVAL_NS;
    }
    store->status.failures++;
    state_set(store, r == -ENOSPC ? STORE_DISK_FULL : STORE_OFF, r);
    if (r == -ENOSPC)
        mark_all_dirty(store);
    return start_ns + took_ns + DISK_FULL_RETRY_NS;
}

static void *writer_main(void *arg)
{
    struct store *store = arg;
    uint64_t next_ns = 0;
    pthread_mutex_lock(&store->lock);
    while (store->status.state != STORE_OFF) {
        bool idle = list_is_empty(&store->dirty);
        if (store->stopping && (idle || store->status.state == STORE_DISK_FULL))
            break;
        if (idle)
            pthread_cond_wait(&store->wake, &store->lock);
        else if (!store->stopping && mono_now_ns() < next_ns)
            writer_sleep(store, next_ns);
        else
            next_ns = writer_commit(store);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

static int writer_start(struct store *store)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    int r = pthread_create(&store->writer, NULL, writer_main, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    store->writer_runs = r == 0;
    return -r;
}

/* ---- opening and closing ---- */

/* As key_join() makes them; a file is not believed. */
static bool key_is_well_formed(struct span key)
{
    unsigned ends = 0;
    for (size_t i = 0; i < key.len; i++)
        ends += key.data[i] == '\0';
    return ends == 3 && key.data[key.len - 1] == '\0';
}

/* Takes over what an earlier hub wrote, unless it has expired, or its time makes no sense. */
static void take_loaded(void *ctx, struct span key, const struct store_origin *origin, struct span content)
{
    struct store *store = ctx;
    size_t boot_len = strlen(store->boot_id);
    int64_t now_ms = wall_now_ms();
    bool keep;
    if (!key_is_well_formed(key))
        return;
    if (key_is(key, KIND_NAME))
        keep = key.len > 5 + boot_len && memcmp(key.data + 5, store->boot_id, boot_len + 1) == 0;
    else if (key_is(key, STORE_KIND_CONFIG))
        keep = true;
    else
        keep = origin->expires_ms > now_ms && origin->expires_ms <= now_ms + 2 * STORE_LIFETIME_MS;
    if (keep)
        entry_put(store, key, origin, content);
}

static void read_boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, 39);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static void load_file(struct store *store)
{
    struct store_salvage found;
    int r = store_file_salvage(store->dirfd, take_loaded, store, &found);
    if (r < 0)
        LOG_WARN(WHO, "the route cache was not read: %s", strerror(-r));
    else if (found.damaged)
        LOG_WARN(WHO, "%s was damaged (%s); %u good records taken over, the file is kept as %s", STORE_FILE, found.reason, found.items,
                 found.set_aside[0] ? found.set_aside : "it is");
    else if (found.found)
        LOG_INFO(WHO, "%u records taken over from %s", found.items, STORE_FILE);
    if (r == 0 && found.other_version > 0)
        LOG_INFO(WHO, "%u records of another version of the hub were left out", found.other_version);
}

static void create_file(struct store *store)
{
    struct batch batch = {0};
    mark_all_dirty(store);
    pthread_mutex_lock(&store->lock);
    batch_collect(store, &batch);
    pthread_mutex_unlock(&store->lock);
    int r = store_file_create(&store->file, store->dirfd, batch.items, batch.count);
    store->status.unwritten -= batch.count;
    batch_free(&batch);
    if (r == 0)
        r = writer_start(store);
    if (r < 0)
        state_set(store, STORE_OFF, r);
}

int store_open(struct store **out, int state_dirfd)
{
    pthread_condattr_t monotonic;
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->dirfd = state_dirfd;
    list_init(&store->dirty);
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    read_boot_id(store->boot_id);
    load_file(store);
    create_file(store);
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
    if (store->writer_runs)
        pthread_join(store->writer, NULL);
    store_file_close(store->file);
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (store->buckets[i])
            entry_drop(store, store->buckets[i]);
    }
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

/* ---- what is kept ---- */

int store_load(struct store *store, const char *kind, const char *scope, const char *name, void **content, size_t *len,
               struct store_origin *origin)
{
    char key[STORE_KEY_MAX];
    size_t key_len;
    int r = -ENOENT;
    if (!key_join(key, &key_len, kind, scope, name))
        return -ENOENT;
    pthread_mutex_lock(&store->lock);
    const struct entry *entry = entry_find(store, (struct span){key, key_len});
    if (entry && entry->value_len > 0 && (is_lasting(entry) || entry->origin.expires_ms > wall_now_ms())) {
        struct span kept = entry_content(entry);
        char *copy = malloc(kept.len + 1);
        r = copy ? 0 : -ENOMEM;
        if (copy) {
            memcpy(copy, kept.data, kept.len);
            copy[kept.len] = '\0';
            *content = copy;
            *len = kept.len;
            *origin = entry->origin;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return r;
}

/* A NULL @p origin forgets. */
static void put(struct store *store, struct span key, const struct store_origin *origin, struct span content)
{
    pthread_mutex_lock(&store->lock);
    bool known = origin || entry_find(store, key);
    struct entry *entry = known ? entry_put(store, key, origin, content) : NULL;
    if (entry && store->status.state != STORE_OFF)
        entry_mark_dirty(store, entry);
    else if (entry && !origin)
        entry_drop(store, entry); /* nobody will write it */
    pthread_mutex_unlock(&store->lock);
}

static void put_now(struct store *store, struct span key, const char *from, struct span content)
{
    struct store_origin origin = {.saved_ms = wall_now_ms()};
    origin.expires_ms = origin.saved_ms + STORE_LIFETIME_MS;
    if (text_copy(origin.from, sizeof(origin.from), from, strlen(from)))
        put(store, key, &origin, content);
}

void store_save(struct store *store, const char *kind, const char *scope, const char *name, const void *content, size_t len,
                const char *from)
{
    char key[STORE_KEY_MAX];
    size_t key_len;
    if (key_join(key, &key_len, kind, scope, name))
        put_now(store, (struct span){key, key_len}, from, (struct span){content, len});
}

void store_forget(struct store *store, const char *kind, const char *scope, const char *name)
{
    char key[STORE_KEY_MAX];
    size_t key_len;
    if (key_join(key, &key_len, kind, scope, name))
        put(store, (struct span){key, key_len}, NULL, (struct span){"", 0});
}

#define UNUSED_BATCH 64u

/* Keys of records that nobody uses, copied: what is forgotten changes the buckets. Lock held. */
static unsigned find_unused(struct store *store, const char *kind, int64_t before_ms,
                            bool (*in_use)(void *ctx, const char *scope, const char *name), void *ctx, char (*keys)[STORE_KEY_MAX],
                            size_t *key_lens)
{
    unsigned found = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (const struct entry *entry = store->buckets[i]; entry && found < UNUSED_BATCH; entry = entry->next) {
            if (!entry->value_len || !key_is(entry_key(entry), kind) || entry->origin.saved_ms >= before_ms)
                continue;
            const char *scope = entry->data + strlen(kind) + 1;
            if (in_use(ctx, scope, scope + strlen(scope) + 1))
                continue;
            memcpy(keys[found], entry->data, entry->key_len);
            key_lens[found++] = entry->key_len;
        }
    }
    return found;
}

unsigned store_forget_unused(struct store *store, const char *kind, int64_t before_ms,
                             bool (*in_use)(void *ctx, const char *scope, const char *name), void *ctx)
{
    char keys[UNUSED_BATCH][STORE_KEY_MAX];
    size_t key_lens[UNUSED_BATCH];
    pthread_mutex_lock(&store->lock);
    unsigned found = find_unused(store, kind, before_ms, in_use, ctx, keys, key_lens);
    pthread_mutex_unlock(&store->lock);
    for (unsigned i = 0; i < found; i++)
        put(store, (struct span){keys[i], key_lens[i]}, NULL, (struct span){"", 0});
    return found;
}

/* Copies the kept name if there is one for exactly this text: content is "text NUL name". */
static bool name_find(struct store *store, struct span key, const char *key_text, char *out, size_t cap)
{
    size_t text_len = strlen(key_text) + 1;
    pthread_mutex_lock(&store->lock);
    const struct entry *entry = entry_find(store, key);
    struct span content = entry && entry->value_len > 0 ? entry_content(entry) : (struct span){"", 0};
    bool found = content.len > text_len && content.len - text_len < cap && memcmp(content.data, key_text, text_len) == 0;
    if (found) {
        memcpy(out, content.data + text_len, content.len - text_len);
        out[content.len - text_len] = '\0';
    }
    pthread_mutex_unlock(&store->lock);
    return found;
}

int store_instance_name(struct store *store, const char *key_text, char *out, size_t cap)
{
    char key[STORE_KEY_MAX], digest[17], content[2048];
    size_t key_len, text_len = strlen(key_text) + 1;
    snprintf(digest, sizeof(digest), "%016" PRIx64, store_checksum(STORE_CHECKSUM_SEED, key_text, text_len));
    if (!key_join(key, &key_len, KIND_NAME, store->boot_id, digest))
        return -ENAMETOOLONG;
    if (name_find(store, (struct span){key, key_len}, key_text, out, cap))
        return 0;
    int n = snprintf(out, cap, "%ld#%" PRIu64, (long)getpid(), mono_now_ns());
    if (n < 0 || (size_t)n >= cap || text_len + (size_t)n > sizeof(content))
        return -ENAMETOOLONG;
    memcpy(content, key_text, text_len);
    memcpy(content + text_len, out, (size_t)n);
    put_now(store, (struct span){key, key_len}, "", (struct span){content, text_len + (size_t)n});
    return 0;
}

void store_status(struct store *store, struct store_status *out)
{
    pthread_mutex_lock(&store->lock);
    *out = store->status;
    pthread_mutex_unlock(&store->lock);
}
