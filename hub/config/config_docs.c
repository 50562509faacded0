/*
 * The reference page and the sample file. `rmqhubd --print-config-docs` and
 * `--print-sample-config` write them; a lint test fails when the copies in docs/
 * differ from what the table says today.
 */
#include "hub/config/config_docs.h"

#include <string.h>

#include "hub/config/hub_config.h"

static bool is_honoured(const struct config_key *key)
{
    return key->when != CONFIG_LATER && key->when != CONFIG_NOT_APPLICABLE;
}

static const char *when_text(enum config_when when)
{
    return when == CONFIG_RELOAD ? "yes" : when == CONFIG_CONTENT ? "content" : "no";
}

/* "`default` | allowed", as two cells. */
static void print_value_cells(FILE *out, const struct config_key *key)
{
    char allowed[256];
    config_value_allowed(allowed, sizeof(allowed), key->type, key->min, key->max);
    fprintf(out, " %s%s%s | %s |", *key->default_text ? "`" : "", key->default_text, *key->default_text ? "`" : "", allowed);
}

static void print_rows(FILE *out, const struct config_key *keys, unsigned count)
{
    fputs("| key | default | allowed | SIGHUP | meaning |\n|---|---|---|---|---|\n", out);
    for (unsigned i = 0; i < count; i++) {
        if (!is_honoured(&keys[i]))
            continue;
        fprintf(out, "| `%s` |", keys[i].name);
        print_value_cells(out, &keys[i]);
        fprintf(out, " %s | %s |\n", when_text(keys[i].when), keys[i].help);
    }
}

static void print_not_applicable(FILE *out, const struct config_key *keys, unsigned count)
{
    fputs("| key | default | allowed | why it does nothing |\n|---|---|---|---|\n", out);
    for (unsigned i = 0; i < count; i++) {
        if (keys[i].when != CONFIG_NOT_APPLICABLE)
            continue;
        fprintf(out, "| `%s` |", keys[i].name);
        print_value_cells(out, &keys[i]);
        fprintf(out, " %s |\n", keys[i].help);
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
    fputs("# Configuration of rmqhubd\n\n"
          "<!-- Written by `./dev docs` from hub/config/config_keys.h. Change the table, not this page. -->\n\n"
          "The hub reads one INI file: the one named with `-c FILE`, else `" CONFIG_DEFAULT_FILE "` if it exists. Settings come, each\n"
          "overriding the one before, from the defaults below, the file, the environment (`RMQHUB_RUNTIME_DIR`, `RMQHUB_LOG_LEVEL`)\n"
          "and the command line. `NAMESRV_ADDR` gives the nameservers of every cluster that sets neither `namesrv_addr` nor\n"
          "`namesrv_domain`, and defines the cluster `default` when nothing else defines a cluster; `--namesrv LIST` defines `default` in\n"
          "any case and makes it the first. A cluster that has none of these fetches its list by HTTP, as the Java client does.\n\n"
          "`rmqhubd --check-config -c FILE` prints every error with file and line, then a verdict, and exits 0 or 1; it starts nothing.\n"
          "It also reads the credentials and certificates that the configuration names, as the user who runs it.\n"
          "`rmqhub config` shows what a running hub uses and where each value came from.\n\n"
          "On SIGHUP the hub reads the file again. The SIGHUP column says what happens to a key then: *yes*, a new value applies at once;\n"
          "*content*, the file it names is read again, but another path needs a restart; *no*, a changed value needs a restart and is\n"
          "named in the log. A configuration with an error changes nothing.\n\n"
          "A hub refuses to start on an invalid configuration. The settings of the last hub that started or reloaded are kept in the\n"
          "state directory: each start logs what changed since, and `rmqhubd --print-last-good-config` writes them as a file while no\n"
          "hub runs there.\n\n"
          "Comments start with `#` or `;` and have lines of their own. An unknown key, a key set twice and a value out of its limits are\n"
          "errors, never guesses.\n\n## [hub]\n\n",
          out);
    print_rows(out, config_hub_keys, HUB_KEY_COUNT);
    fputs("\n## [cluster NAME]\n\nOne section per RocketMQ cluster; a client that names no cluster gets the first.\n\n", out);
    print_rows(out, config_cluster_keys, CLUSTER_KEY_COUNT);
    fputs("\n## Not applicable\n\nSettings of the Java client that mean nothing to a hub, in [cluster NAME]. They are accepted and "
          "checked, so that a list of\n"
          "settings can be carried over, and shown as not applicable.\n\n",
          out);
    print_not_applicable(out, config_cluster_keys, CLUSTER_KEY_COUNT);
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
        static const char *const on_reload[] = {
            [CONFIG_RELOAD] = " SIGHUP applies it.", [CONFIG_CONTENT] = " SIGHUP reads the file again.", [CONFIG_RESTART] = ""};
        char allowed[256];
        if (!is_honoured(&keys[i]))
            continue;
        config_value_allowed(allowed, sizeof(allowed), keys[i].type, keys[i].min, keys[i].max);
        fputc('\n', out);
        print_comment(out, keys[i].help);
        fprintf(out, "# Allowed: %s.%s\n", allowed, on_reload[keys[i].when]);
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
    fputs("\n# Settings of the Java client that mean nothing here; accepted, checked and shown as not applicable.\n", out);
    for (unsigned i = 0; i < CLUSTER_KEY_COUNT; i++) {
        if (config_cluster_keys[i].when != CONFIG_NOT_APPLICABLE)
            continue;
        fprintf(out, "#%s = %s\n", config_cluster_keys[i].name, config_cluster_keys[i].default_text);
    }
}
