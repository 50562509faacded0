/*
 * A configuration file: every problem is told as one line of text, and what loads can be written as a file that loads to
 * the same values.
 */
#include <errno.h>
#include <string.h>

#include "hub/config/hub_config.h"
#include "tests/fuzz/fuzz.h"

static void count_report(void *ctx, const char *text)
{
    unsigned *reports = ctx;
    ++*reports;
    for (const char *p = text; *p; p++)
        FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void count_entry(void *ctx, const struct config_entry *entry)
{
    unsigned *entries = ctx;
    ++*entries;
    FUZZ_CHECK(entry->section && entry->key && entry->value && entry->source && strlen(entry->key) > 0);
}

static void write_and_load(const struct hub_config *config)
{
    char *text = NULL;
    size_t len = 0;
    unsigned reports = 0;
    struct hub_config *again = NULL;
    FILE *out = open_memstream(&text, &len);
    FUZZ_CHECK(out);
    hub_config_write(config, out);
    FUZZ_CHECK(fclose(out) == 0);
    FUZZ_CHECK(hub_config_load_memory(&again, "again", text, len, count_report, &reports) == 0);
    FUZZ_CHECK(hub_config_compare(config, again, count_report, &reports) == 0 && reports == 0);
    hub_config_free(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct hub_config *config = NULL;
    unsigned reports = 0, entries = 0;
    int r = hub_config_load_memory(&config, "fuzz", data, len, count_report, &reports);
    FUZZ_CHECK(r == 0 || r == -EINVAL);
    FUZZ_CHECK((r == 0) == (reports == 0) && (r == 0) == (config != NULL));
    if (r < 0)
        return 0;
    FUZZ_CHECK(config->cluster_count <= CONFIG_CLUSTERS_MAX);
    hub_config_for_each(config, count_entry, &entries);
    FUZZ_CHECK(entries > 0);
    write_and_load(config);
    hub_config_free(config);
    return 0;
}
