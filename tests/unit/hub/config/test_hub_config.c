/* Configuration files good and bad, the order of sources, reload, and the documents of the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hub/config/config_docs.h"
#include "hub/config/hub_config.h"
#include "shm/base/text.h"

struct reports {
    unsigned count;
    char text[32][4096];
};

static char file_path[64];
static struct reports reports;

static void collect(void *ctx, const char *text)
{
    struct reports *r = ctx;
    assert_true(r->count < 32);
    snprintf(r->text[r->count++], sizeof(r->text[0]), "%s", text);
}

static int setup(void **state)
{
    (void)state;
    snprintf(file_path, sizeof(file_path), "/tmp/test_hub_config.%d", getpid());
    setenv("XDG_RUNTIME_DIR", "/tmp/xdg", 1);
    unsetenv("RMQHUB_RUNTIME_DIR");
    unsetenv("RMQHUB_LOG_LEVEL");
    unsetenv("NAMESRV_ADDR");
    memset(&reports, 0, sizeof(reports));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file_path);
    return 0;
}

static void write_file(const char *text)
{
    FILE *f = fopen(file_path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct hub_config *load_ok(const char *text, struct config_arguments arguments)
{
    struct hub_config *config = NULL;
    write_file(text);
    arguments.file = file_path;
    int r = hub_config_load(&config, &arguments, collect, &reports);
    if (r < 0 && reports.count)
        print_error("%s\n", reports.text[0]);
    assert_int_equal(r, 0);
    return config;
}

/* The file has exactly one problem, on that line, and its text mentions both strings. */
static void assert_refused(const char *text, unsigned line, const char *what, const char *allowed)
{
    struct hub_config *config = NULL;
    char prefix[96];
    memset(&reports, 0, sizeof(reports));
    write_file(text);
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = file_path}, collect, &reports), -EINVAL);
    assert_null(config);
    snprintf(prefix, sizeof(prefix), "%s:%u: ", file_path, line);
    if (reports.count != 1 || strncmp(reports.text[0], prefix, strlen(prefix)) != 0 || !strstr(reports.text[0], what) ||
        !strstr(reports.text[0], allowed))
        print_error("%u reports, first: %s\n", reports.count, reports.text[0]);
    assert_int_equal(reports.count, 1);
    assert_memory_equal(reports.text[0], prefix, strlen(prefix));
    assert_non_null(strstr(reports.text[0], what));
    assert_non_null(strstr(reports.text[0], allowed));
}

static void a_file_overrides_defaults(void **state)
{
    (void)state;
    struct hub_config *c = load_ok("# comment\n[hub]\n  linger_ms = 5\nallow_uids = 12, root,7\nlog_format=json\n"
                                   "[cluster a]\nnamesrv_addr = ns1:9876;10.0.0.2:9877\nclient_ip = 10.1.2.3\n",
                                   (struct config_arguments){0});
    assert_int_equal(c->hub.linger_ms, 5);
    assert_int_equal(c->hub.max_clients, 1024);
    assert_int_equal(c->hub.log_level, LOG_LEVEL_INFO);
    assert_true(c->hub.log_format);
    assert_int_equal(c->hub.allow_uids.count, 3);
    assert_int_equal(c->hub.allow_uids.ids[1], 0);
    assert_int_equal(c->cluster_count, 1);
    assert_string_equal(c->clusters[0].name, "a");
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "ns1:9876;10.0.0.2:9877");
    assert_int_equal(c->clusters[0].keys.poll_name_server_interval_ms, 30000);
    assert_int_equal(c->hub_origins[HUB_KEY_linger_ms].line, 3);
    hub_config_free(c);
}

static void the_command_line_overrides_environment_and_file(void **state)
{
    (void)state;
    const char *text = "[hub]\nlog_level = error\nruntime_dir = /file\n[cluster a]\nnamesrv_addr = a:1\n";
    setenv("RMQHUB_LOG_LEVEL", "warn", 1);
    setenv("RMQHUB_RUNTIME_DIR", "/env", 1);
    setenv("NAMESRV_ADDR", "env:1", 1);
    struct hub_config *c = load_ok(text, (struct config_arguments){0});
    assert_int_equal(c->hub.log_level, LOG_LEVEL_WARN);
    assert_string_equal(c->hub.runtime_dir.text, "/env");
    assert_int_equal(c->cluster_count, 1);
    hub_config_free(c);
    c = load_ok(text, (struct config_arguments){.log_level = "debug", .runtime_dir = "/flag", .namesrv_addr = "cli:2"});
    assert_int_equal(c->hub.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(c->hub.runtime_dir.text, "/flag");
    assert_int_equal(c->cluster_count, 2);
    assert_string_equal(c->clusters[0].name, "default");
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "cli:2");
    assert_int_equal(c->clusters[0].origins[CLUSTER_KEY_namesrv_addr].source, CONFIG_FROM_COMMAND_LINE);
    assert_string_equal(c->clusters[1].name, "a");
    hub_config_free(c);
    c = load_ok("", (struct config_arguments){0});
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "env:1");
    hub_config_free(c);
}

static void each_bad_line_is_named_with_what_is_allowed(void **state)
{
    (void)state;
#define TAIL "\n[cluster a]\nnamesrv_addr = a:1\n"
    assert_refused("[hub]\nlinger_ms = 300001" TAIL, 2, "'300001'", "from 0 to 300000");
    assert_refused("[hub]\nlinger_ms = 1s" TAIL, 2, "'1s'", "whole number");
    assert_refused("[hub]\nlinger_ms =" TAIL, 2, "''", "whole number");
    assert_refused("[hub]\nlinger = 1" TAIL, 2, "linger", "docs/configuration.md");
    assert_refused("[hub]\nlinger_ms = 1\nlinger_ms = 2" TAIL, 3, "second time", "line 2");
    assert_refused("[hub]\nmetrics_listen = :1" TAIL, 2, "metrics_listen", "not honoured by this version");
    assert_refused("[hub]\nallow_uids = no-such-user-here" TAIL, 2, "allow_uids", "users of this machine");
    assert_refused("[hub]\nallow_uids = 1,,2" TAIL, 2, "allow_uids", "comma");
    assert_refused("[hub]\nallow_uids = 4294967295" TAIL, 2, "allow_uids", "users of this machine");
    assert_refused("[hub]\nlog_level = loud" TAIL, 2, "'loud'", "error, warn, info or debug");
    assert_refused("[hub]\nruntime_dir = relative" TAIL, 2, "relative", "absolute path");
    assert_refused("[hub]\nlinger_ms = 1 ; soon" TAIL, 2, "comment", "line of its own");
    assert_refused("[hub]\nlinger_ms" TAIL, 2, "neither", "key = value");
    assert_refused("linger_ms = 1" TAIL, 1, "linger_ms", "[hub], or [cluster NAME]");
    assert_refused("[hubs]\nlinger_ms = 1" TAIL, 2, "[hubs]", "[hub], or [cluster NAME]");
    assert_refused("[cluster b c]\nclient_ip = x" TAIL, 2, "[cluster b c]", "1 to 32 letters");
    assert_refused("[hub\n[cluster a]\nnamesrv_addr = a:1\n", 1, "section", "closing ]");
    assert_refused("[cluster a]\nnamesrv_addr = a:1 ;b:2\n", 2, "comment", "no blanks before ;");
#undef TAIL
}

static void each_bad_cluster_value_is_named(void **state)
{
    (void)state;
    static const char *const addresses[] = {"a",       "a:",      ":1",       "a:0",         "a:65536",     "a:1;",           "a:1;;b:1",
                                            "a b:1",   "a:1,b:1", "http://x", "http://x:1/", "https://x:1", "http://x:1;y:1", "[::1:1",
                                            "[::g]:1", "a:1:2"};
    char text[256];
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        snprintf(text, sizeof(text), "[cluster a]\nnamesrv_addr = %s\n", addresses[i]);
        assert_refused(text, 2, "namesrv_addr", "1 to 16 entries host:port");
    }
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nclient_ip = 1.2.3\n", 3, "client_ip", "IPv4");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nunit_name = u@\n", 3, "unit_name", "letters, digits, dots");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nunit_mode = true\n", 3, "unit_mode", "not honoured");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nnamespace = a.b\n", 3, "namespace", "percent signs");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\ncreate_topic_key =\n", 3, "create_topic_key", "1 to 127");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\ndefault_topic_queue_nums = 65536\n", 3, "default_topic_queue_nums", "from 1 to 65535");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nuse_tls = yes\n", 3, "'yes'", "true or false");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\ncredentials_file = etc/key\n", 3, "'etc/key'", "absolute path");
    assert_refused("[cluster a]\nnamesrv_domain = a:b:c\n", 2, "namesrv_domain", "host or host:port");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nuse_tls = true\ntls_server_name = a b\n", 4, "tls_server_name", "a host name");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nclient_worker_threads = 0\n", 3, "client_worker_threads", "from 1 to 1024");
    assert_refused("[cluster a]\nnamesrv_addr = a:1\nwrite_buffer_low_water_mark_bytes = 2000000\n", 3, "above", "0 to 1048576");
}

/* A producer may set the same for itself: the limits are those of the library. */
static void what_a_producer_may_set_a_cluster_may_set(void **state)
{
    (void)state;
    char text[256], name[NAME_SPACE_MAX_LENGTH + 2];
    memset(name, 'n', sizeof(name));
    name[NAME_SPACE_MAX_LENGTH] = '\0';
    snprintf(text, sizeof(text), "[cluster a]\nnamespace = %s\ndefault_topic_queue_nums = 65535\n", name);
    struct hub_config *c = load_ok(text, (struct config_arguments){0});
    assert_string_equal(c->clusters[0].keys.namespace.text, name);
    assert_int_equal(c->clusters[0].keys.default_topic_queue_nums, DEFAULT_TOPIC_QUEUE_NUMS_MAX);
    hub_config_free(c);
    snprintf(text, sizeof(text), "[cluster a]\nnamespace = %sn\n", name);
    assert_refused(text, 2, "namespace", "0 to 127");
}

static void settings_that_contradict_each_other_are_refused_with_what_to_do(void **state)
{
    (void)state;
#define PLAIN "[cluster a]\nnamesrv_addr = a:1\n"
#define TLS PLAIN "use_tls = true\n"
    static const char *const details[] = {"tls_ca_file = /c",           "tls_cert_file = /c",  "tls_key_file = /k",
                                          "tls_key_password_file = /p", "tls_server_name = n", "tls_insecure = true"};
    char text[256];
    for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
        snprintf(text, sizeof(text), PLAIN "%s\n", details[i]);
        assert_refused(text, 3, "is not used without TLS", "set use_tls = true, or remove the line");
    }
    assert_refused(TLS "tls_cert_file = /c\n", 4, "tls_cert_file: a certificate is used with its key only", "set tls_key_file");
    assert_refused(TLS "tls_key_file = /k\n", 4, "tls_key_file: a key is used with its certificate only", "set tls_cert_file");
    assert_refused(TLS "tls_key_password_file = /p\n", 4, "tls_key_password_file: there is no key", "set tls_key_file");
    assert_refused(TLS "tls_insecure = true\ntls_ca_file = /c\n", 5, "tls_ca_file: nothing is verified", "remove one of them");
    assert_refused(TLS "tls_insecure = true\ntls_server_name = n\n", 5, "tls_server_name: no name is verified", "remove one of them");
    assert_refused(PLAIN "namesrv_domain = d\n", 3, "namesrv_domain: is not used, because namesrv_addr is set on line 2", "remove one");
    assert_refused(PLAIN "namesrv_domain_subgroup = s\n", 3, "namesrv_domain_subgroup: is not used", "remove one");
    hub_config_free(load_ok(TLS
                            "tls_ca_file = /c\ntls_cert_file = /c\ntls_key_file = /k\ntls_key_password_file = /p\ntls_server_name = ::1\n",
                            (struct config_arguments){0}));
    hub_config_free(load_ok(TLS "tls_insecure = true\n", (struct config_arguments){0}));
#undef PLAIN
#undef TLS
}

static void a_cluster_without_addresses_uses_the_variable_or_http_discovery(void **state)
{
    (void)state;
    const char *text =
        "[cluster empty]\n[cluster set]\nnamesrv_addr = http://MQ_INST_a_b.example:80\n[cluster http]\nnamesrv_domain = d:81\n";
    struct hub_config *c = load_ok(text, (struct config_arguments){0});
    assert_int_equal(c->cluster_count, 3);
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "");
    assert_string_equal(c->clusters[0].keys.namesrv_domain.text, "jmenv.tbsite.net");
    assert_string_equal(c->clusters[0].keys.namesrv_domain_subgroup.text, "nsaddr");
    assert_string_equal(c->clusters[2].keys.namesrv_domain.text, "d:81");
    hub_config_free(c);
    setenv("NAMESRV_ADDR", "env:1", 1);
    c = load_ok(text, (struct config_arguments){0});
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "env:1");
    assert_int_equal(c->clusters[0].origins[CLUSTER_KEY_namesrv_addr].source, CONFIG_FROM_ENVIRONMENT);
    assert_string_equal(c->clusters[1].keys.namesrv_addr.text, "http://MQ_INST_a_b.example:80");
    assert_string_equal(c->clusters[2].keys.namesrv_addr.text, "");
    hub_config_free(c);
}

static void check_note(void *ctx, const struct config_entry *entry)
{
    unsigned *seen = ctx;
    if (strcmp(entry->key, "client_worker_threads") == 0) {
        assert_string_equal(entry->value, "8");
        assert_string_equal(entry->note, "One thread does the work of all connections.");
        (*seen)++;
    } else if (strcmp(entry->key, "use_tls") == 0) {
        assert_string_equal(entry->note, "");
        (*seen)++;
    }
}

static void a_setting_without_meaning_is_accepted_and_says_why_it_does_nothing(void **state)
{
    (void)state;
    unsigned seen = 0;
    struct hub_config *c =
        load_ok("[cluster a]\nnamesrv_addr = a:1\nclient_worker_threads = 8\npersist_consumer_offset_interval_ms = 5000\n",
                (struct config_arguments){0});
    hub_config_for_each(c, check_note, &seen);
    assert_int_equal(seen, 2);
    hub_config_free(c);
}

static void a_line_that_inih_would_cut_is_refused(void **state)
{
    (void)state;
    char text[8192], comment[5000];
    memset(comment, 'x', sizeof(comment));
    snprintf(text, sizeof(text), "[hub]\n# %.*s\nlinger_ms = -1\n[cluster a]\nnamesrv_addr = a:1\n", (int)sizeof(comment), comment);
    struct hub_config *config = NULL;
    write_file(text);
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = file_path}, collect, &reports), -EINVAL);
    assert_int_equal(reports.count, 2);
    assert_non_null(strstr(reports.text[0], ":2: the line is too long"));
    assert_non_null(strstr(reports.text[1], ":3: [hub] linger_ms"));
}

static void a_long_list_of_nameservers_fits_on_a_line(void **state)
{
    (void)state;
    char text[1200] = "[cluster a]\nnamesrv_addr = ";
    for (int i = 0; i < 16; i++)
        sprintf(text + strlen(text), "%srocketmq-nameserver-%d.rocketmq.svc.cluster.local:9876", i ? ";" : "", i);
    struct hub_config *c = load_ok(text, (struct config_arguments){0});
    assert_non_null(strstr(c->clusters[0].keys.namesrv_addr.text, "nameserver-15."));
    hub_config_free(c);
}

static void every_problem_is_reported(void **state)
{
    (void)state;
    struct hub_config *config = NULL;
    write_file("[hub]\nlinger_ms = x\nbogus = 1\n[cluster a]\nnamesrv_addr = nowhere\n\x1b[31m = 1\n");
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = file_path}, collect, &reports), -EINVAL);
    assert_int_equal(reports.count, 4);
    for (unsigned i = 0; i < reports.count; i++)
        assert_null(strchr(reports.text[i], '\x1b'));
}

static void an_unreadable_file_is_an_error_and_a_missing_default_is_not(void **state)
{
    (void)state;
    struct hub_config *config = NULL;
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = "/nonexistent/x.conf"}, collect, &reports), -EINVAL);
    assert_string_equal(reports.text[0], "/nonexistent/x.conf: cannot be read: No such file or directory");
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = "/tmp"}, collect, &reports), -EINVAL);
    assert_string_equal(reports.text[1], "/tmp: cannot be read: Is a directory");
    if (access(CONFIG_DEFAULT_FILE, F_OK) == 0)
        return;
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.namesrv_addr = "a:1"}, collect, &reports), 0);
    assert_string_equal(config->hub.runtime_dir.text, geteuid() ? "/tmp/xdg/rmqhub" : "/run/rmqhub");
    hub_config_free(config);
}

static void no_cluster_is_an_error_that_says_what_to_do(void **state)
{
    (void)state;
    struct hub_config *config = NULL;
    write_file("[hub]\nlinger_ms = 1\n");
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = file_path}, collect, &reports), -EINVAL);
    assert_non_null(strstr(reports.text[0], "--namesrv"));
}

static void a_reload_applies_what_it_may_and_names_the_rest(void **state)
{
    (void)state;
    struct hub_config *c = load_ok("[hub]\nlinger_ms = 1\n[cluster a]\nnamesrv_addr = a:1\n", (struct config_arguments){0});
    struct hub_config *fresh = load_ok("[hub]\nlinger_ms = 2\nmax_clients = 3\nlog_level = debug\n"
                                       "[cluster a]\nnamesrv_addr = b:1\n[cluster n]\nnamesrv_addr = n:1\n",
                                       (struct config_arguments){0});
    assert_int_equal(hub_config_apply(c, fresh, collect, &reports), 2);
    assert_int_equal(c->hub.linger_ms, 2);
    assert_int_equal(c->hub.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(c->hub.max_clients, 1024);
    assert_string_equal(c->clusters[0].keys.namesrv_addr.text, "a:1");
    assert_int_equal(reports.count, 5);
    assert_string_equal(reports.text[0], "[hub] max_clients: '1024' to '3' needs a restart and was not applied");
    hub_config_free(c);
    hub_config_free(fresh);
}

static void what_is_written_is_read_back_from_memory(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    setenv("RMQHUB_LOG_LEVEL", "debug", 1);
    struct hub_config *back = NULL,
                      *c = load_ok("[hub]\nlinger_ms = 7\nallow_uids = root,5\n[cluster a]\nnamesrv_addr = a:1\nuse_tls = true\n"
                                   "[cluster empty]\n",
                                   (struct config_arguments){.namesrv_addr = "cli:2"});
    FILE *f = open_memstream(&text, &len);
    hub_config_write(c, f);
    fclose(f);
    assert_non_null(strstr(text, "# from the command line\nnamesrv_addr = cli:2\n"));
    assert_non_null(strstr(text, ":2\nlinger_ms = 7\n"));
    assert_int_equal(hub_config_load_memory(&back, "kept", text, len, collect, &reports), 0);
    text_copy(back->hub.runtime_dir.text, CONFIG_TEXT_CAP, c->hub.runtime_dir.text, strlen(c->hub.runtime_dir.text));
    text_copy(back->hub.state_dir.text, CONFIG_TEXT_CAP, c->hub.state_dir.text, strlen(c->hub.state_dir.text));
    assert_int_equal(hub_config_compare(c, back, collect, &reports), 0);
    assert_int_equal(back->cluster_count, 3);
    back->hub.linger_ms = 8;
    back->clusters[1].keys.use_tls = false;
    text_copy(back->clusters[2].name, sizeof(back->clusters[2].name), "other", 5);
    assert_int_equal(hub_config_compare(c, back, collect, &reports), 4);
    assert_string_equal(reports.text[0], "[hub] linger_ms: '7' to '8'");
    assert_string_equal(reports.text[1], "[cluster a] use_tls: 'true' to 'false'");
    assert_string_equal(reports.text[2], "[cluster other]: is new");
    assert_string_equal(reports.text[3], "[cluster empty]: is gone");
    hub_config_free(back);
    hub_config_free(c);
    free(text);
}

static void a_text_in_memory_looks_at_nothing_else(void **state)
{
    (void)state;
    struct hub_config *c = NULL;
    static const char names[] = "[hub]\nallow_uids = root\n[cluster a]\n";
    setenv("RMQHUB_LOG_LEVEL", "debug", 1);
    assert_int_equal(hub_config_load_memory(&c, "text", names, strlen(names), collect, &reports), -EINVAL);
    assert_non_null(strstr(reports.text[0], "text:2: [hub] allow_uids: 'root' is not valid"));
    assert_int_equal(hub_config_load_memory(&c, "text", "", 0, collect, &reports), -EINVAL);
    assert_non_null(strstr(reports.text[1], "no cluster is configured"));
    assert_int_equal(hub_config_load_memory(&c, "text", "[cluster a]", 11, collect, &reports), 0);
    assert_int_equal(c->hub.log_level, LOG_LEVEL_INFO);
    assert_string_equal(c->hub.runtime_dir.text, "");
    hub_config_free(c);
}

static void the_state_directory_is_found_in_a_broken_file(void **state)
{
    (void)state;
    char dir[256];
    write_file("[hub]\nstate_dir = /srv/hub\nnonsense = 1\n");
    assert_int_equal(hub_config_find_state_dir(dir, sizeof(dir), &(struct config_arguments){.file = file_path}), 0);
    assert_string_equal(dir, "/srv/hub");
    assert_int_equal(hub_config_find_state_dir(dir, sizeof(dir), &(struct config_arguments){.file = "/none", .state_dir = "/flag"}), 0);
    assert_string_equal(dir, "/flag");
}

static void count_entry(void *ctx, const struct config_entry *entry)
{
    unsigned *n = ctx;
    (*n)++;
    if (strcmp(entry->key, "linger_ms") == 0) {
        assert_string_equal(entry->value, "60000");
        assert_string_equal(entry->source, "default");
        assert_true(entry->reloadable);
    }
    if (strcmp(entry->key, "namesrv_addr") == 0) {
        assert_string_equal(entry->section, "cluster a");
        assert_true(strstr(entry->source, ":2") != NULL);
    }
}

static void the_effective_values_are_listed_with_their_source(void **state)
{
    (void)state;
    unsigned n = 0;
    struct hub_config *c = load_ok("[cluster a]\nnamesrv_addr = a:1\n", (struct config_arguments){0});
    hub_config_for_each(c, count_entry, &n);
    assert_true(n > 15);
    hub_config_free(c);
}

static void attach_is_denied_unless_allowed(void **state)
{
    (void)state;
    struct hub_config *c =
        load_ok("[hub]\nallow_uids = 1234\nallow_gids = 77\n[cluster a]\nnamesrv_addr = a:1\n", (struct config_arguments){0});
    const gid_t member[] = {5, 77}, other[] = {5, 6};
    assert_true(hub_config_may_attach(c, geteuid(), NULL, 0));
    assert_true(hub_config_may_attach(c, 0, other, 2));
    assert_true(hub_config_may_attach(c, 1234, other, 2));
    assert_true(hub_config_may_attach(c, 4321, member, 2));
    assert_false(hub_config_may_attach(c, 4321, other, 2));
    assert_false(hub_config_may_attach(c, 4321, NULL, 0));
    assert_false(hub_config_may_attach(c, 65534, member, 2));
    hub_config_free(c);
}

static void the_sample_file_is_valid_and_says_only_defaults(void **state)
{
    (void)state;
    FILE *f = fopen(file_path, "w");
    config_docs_print_sample(f);
    fclose(f);
    struct hub_config *config = NULL;
    assert_int_equal(hub_config_load(&config, &(struct config_arguments){.file = file_path}, collect, &reports), 0);
    assert_int_equal(config->cluster_count, 1);
    hub_config_free(config);
}

static void the_page_names_every_key_with_its_limits(void **state)
{
    (void)state;
    char *page = NULL, allowed[256];
    size_t len = 0;
    FILE *f = open_memstream(&page, &len);
    config_docs_print_page(f);
    fclose(f);
    for (unsigned i = 0; i < HUB_KEY_COUNT + CLUSTER_KEY_COUNT; i++) {
        const struct config_key *k = i < HUB_KEY_COUNT ? &config_hub_keys[i] : &config_cluster_keys[i - HUB_KEY_COUNT];
        char name[64];
        snprintf(name, sizeof(name), "`%s`", k->name);
        assert_non_null(strstr(page, name));
        config_value_allowed(allowed, sizeof(allowed), k->type, k->min, k->max);
        if (k->when != CONFIG_LATER)
            assert_non_null(strstr(page, allowed));
    }
    free(page);
}

static void lists_and_words_come_back_as_they_stand_in_a_file(void **state)
{
    (void)state;
    static const struct {
        enum config_type type;
        const char *text;
    } rows[] = {{CONFIG_USERS, "*"},
                {CONFIG_USERS, "0,7,4294967294"},
                {CONFIG_GROUPS, "3"},
                {CONFIG_NUMBER, "-5"},
                {CONFIG_LOG_LEVEL, "warn"},
                {CONFIG_LOG_FORMAT, "json"},
                {CONFIG_LOG_FORMAT, "text"},
                {CONFIG_IPV4, "10.0.0.1"},
                {CONFIG_ADDRESSES, "a:1;b:2"},
                {CONFIG_BOOL, "true"},
                {CONFIG_BOOL, "false"},
                {CONFIG_ADDRESSES, "[::1]:9876"},
                {CONFIG_HOST, "::1"},
                {CONFIG_DOMAIN, "d.example:80"},
                {CONFIG_TOPIC, "%RETRY%a_b-c|d"},
                {CONFIG_FILE, "/etc/key"},
                {CONFIG_HOST, ""},
                {CONFIG_ADDRESSES, "http://u@h:1/b:2"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config_text value; /* the largest of the types */
        char printed[CONFIG_TEXT_CAP];
        memset(&value, 0, sizeof(value));
        assert_true(config_type_size(rows[i].type) <= sizeof(value));
        assert_int_equal(config_value_parse(&value, rows[i].type, -10, 64, rows[i].text), 0);
        config_value_print(printed, sizeof(printed), rows[i].type, &value);
        assert_string_equal(printed, rows[i].text);
    }
}

static void every_default_is_inside_its_own_limits(void **state)
{
    (void)state;
    struct config_text value; /* the largest of the types */
    for (unsigned i = 0; i < HUB_KEY_COUNT; i++) {
        const struct config_key *k = &config_hub_keys[i];
        if (*k->default_text)
            assert_int_equal(config_value_parse(&value, k->type, k->min, k->max, k->default_text), 0);
    }
    for (unsigned i = 0; i < CLUSTER_KEY_COUNT; i++) {
        const struct config_key *k = &config_cluster_keys[i];
        if (*k->default_text)
            assert_int_equal(config_value_parse(&value, k->type, k->min, k->max, k->default_text), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_overrides_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(the_command_line_overrides_environment_and_file, setup, teardown),
        cmocka_unit_test_setup_teardown(each_bad_line_is_named_with_what_is_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(each_bad_cluster_value_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_producer_may_set_a_cluster_may_set, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_that_contradict_each_other_are_refused_with_what_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cluster_without_addresses_uses_the_variable_or_http_discovery, setup, teardown),
        cmocka_unit_test_setup_teardown(a_setting_without_meaning_is_accepted_and_says_why_it_does_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_that_inih_would_cut_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_list_of_nameservers_fits_on_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(every_problem_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unreadable_file_is_an_error_and_a_missing_default_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(no_cluster_is_an_error_that_says_what_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reload_applies_what_it_may_and_names_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(the_effective_values_are_listed_with_their_source, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back_from_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(a_text_in_memory_looks_at_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(the_state_directory_is_found_in_a_broken_file, setup, teardown),
        cmocka_unit_test_setup_teardown(attach_is_denied_unless_allowed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_sample_file_is_valid_and_says_only_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(the_page_names_every_key_with_its_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_and_words_come_back_as_they_stand_in_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(every_default_is_inside_its_own_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
