/*
 * The reference page and the sample file. `rmqhubd --print-config-docs` and
 * `--print-sample-config` write them; a lint test fails when the copies in docs/
 * differ from what the table says today.
 */
#include "hub/config/config_docs.h"

#include <string.h>

#include "hub/config/hub_config.h"

static const char *when_text(enum config_when when)
{
    return when == CONFIG_RELOAD ? "yes" : "no";
}

static void print_rows(FILE *out, const struct config_key *keys, unsigned count)
{
    fputs("| key | default | allowed | SIGHUP | meaning |\n|---|---|---|---|---|\n", out);
    for (unsigned i = 0; i < count; i++) {
        char allowed[256];
        if (keys[i].when == CONFIG_LATER)
            continue;
        config_value_allowed(allowed, sizeof(allowed), keys[i].type, keys[i].min, keys[i].max);
        fprintf(out, "| `%s` | %s%s%s | %s | %s | %s |\n", keys[i].name, *keys[i].default_text ? "`" : "", keys[i].default_text,
                *keys[i].default_text ? "`" : "", allowed, when_text(keys[i].when), keys[i].help);
    }
}

static void print_reserved(FILE *out, const struct config_key *keys, unsigned count)
{
    const char *separator = "";
    for (unsigned i = 0; i < count; i++) {
        if (keys[i].when != CONFIG_LATER)
            continue;
        fprintf(out, "%s`%s`", separator, keys[i].name);
        separator = ", ";
    }
}

void config_docs_print_page(FILE *out)
{
    fputs(
        "# Configuration of rmqhubd\n\n"
        "<!-- Written by `./dev docs` from hub/config/config_keys.h. Change the table, not this page. -->\n\n"
        "The hub reads one INI file: the one named with `-c FILE`, else `" CONFIG_DEFAULT_FILE "` if it exists. Settings come, each\n"
        "overriding the one before, from the defaults below, the file, the environment (`RMQHUB_RUNTIME_DIR`, `RMQHUB_LOG_LEVEL`)\n"
        "and the command line. `NAMESRV_ADDR` defines the cluster `default` when nothing else defines a cluster, and\n"
        "`--namesrv LIST` defines it in any case and makes it the first.\n\n"
        "`rmqhubd --check-config -c FILE` prints every error with file and line, then a verdict, and exits 0 or 1; it starts nothing.\n"
        "`rmqhub config` shows what a running hub uses and where each value came from. On SIGHUP the hub reads the file again: keys\n"
        "marked below apply at once, a changed key that needs a restart is named in the log, and a file with an error changes nothing.\n\n"
        "Comments start with `#` or `;` and have lines of their own. An unknown key, a key set twice and a value out of its limits are\n"
        "errors, never guesses.\n\n## [hub]\n\n",
        out);
    print_rows(out, config_hub_keys, HUB_KEY_COUNT);
    fputs("\n## [cluster NAME]\n\nOne section per RocketMQ cluster; a client that names no cluster gets the first.\n\n", out);
    print_rows(out, config_cluster_keys, CLUSTER_KEY_COUNT);
    fputs("\n## Reserved\n\nThese names are known and refused until a version honours them: ", out);
    print_reserved(out, config_hub_keys, HUB_KEY_COUNT);
    fputs(" in [hub]; ", out);
    print_reserved(out, config_cluster_keys, CLUSTER_KEY_COUNT);
    fputs(" in [cluster NAME].\n", out);
}

/* Breaks the help text into comment lines of readable width. */
static void print_comment(FILE *out, const char *text)
{
    while (*text) {
        size_t len = strlen(text);
        if (len > 90) {
            for (len = 90; len > 1 && text[len] != ' ';)
                len--;
        }
        fprintf(out, "# %.*s\n", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

static void print_settings(FILE *out, const struct config_key *keys, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char allowed[256];
        if (keys[i].when == CONFIG_LATER)
            continue;
        config_value_allowed(allowed, sizeof(allowed), keys[i].type, keys[i].min, keys[i].max);
        fputc('\n', out);
        print_comment(out, keys[i].help);
        fprintf(out, "# Allowed: %s.%s\n", allowed, keys[i].when == CONFIG_RELOAD ? " SIGHUP applies it." : "");
        if (keys[i].type == CONFIG_ADDRESSES)
            fprintf(out, "%s = 127.0.0.1:9876\n", keys[i].name);
        else
            fprintf(out, "#%s =%s%s\n", keys[i].name, *keys[i].default_text ? " " : "", keys[i].default_text);
    }
}

void config_docs_print_sample(FILE *out)
{
    fputs("# Sample configuration of rmqhubd; every line but the nameservers shows its default.\n"
          "# Written by `./dev docs` from hub/config/config_keys.h.\n\n[hub]\n",
          out);
    print_settings(out, config_hub_keys, HUB_KEY_COUNT);
    fputs("\n# One section per RocketMQ cluster; a client that names no cluster gets the first.\n[cluster default]\n", out);
    print_settings(out, config_cluster_keys, CLUSTER_KEY_COUNT);
}
