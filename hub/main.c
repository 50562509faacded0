/*
 * rmqhubd: the command line, and nothing else.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "hub/check.h"
#include "hub/config/config_docs.h"
#include "hub/hub.h"
#include "hub/last_good.h"
#include "shm/base/log.h"

enum {
    OPTION_NAMESRV = 256,
    OPTION_RUNTIME_DIR,
    OPTION_STATE_DIR,
    OPTION_LOG_LEVEL,
    OPTION_CHECK,
    OPTION_LAST_GOOD,
    OPTION_DOCS,
    OPTION_SAMPLE,
    OPTION_VERSION
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"namesrv", required_argument, NULL, OPTION_NAMESRV},
    {"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
    {"state-dir", required_argument, NULL, OPTION_STATE_DIR},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"print-last-good-config", no_argument, NULL, OPTION_LAST_GOOD},
    {"print-config-docs", no_argument, NULL, OPTION_DOCS},
    {"print-sample-config", no_argument, NULL, OPTION_SAMPLE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(FILE *out)
{
    fputs("usage: rmqhubd [-c FILE] [--namesrv HOST:PORT;HOST:PORT] [--runtime-dir DIR] [--state-dir DIR] [--log-level LEVEL]\n"
          "       rmqhubd [-c FILE] [...] --check-config | --print-last-good-config\n\n"
          "The RocketMQ hub of this host. Runs in the foreground and logs to stderr.\n\n"
          "  -c, --config FILE     configuration; default " CONFIG_DEFAULT_FILE " if it exists\n"
          "  --namesrv LIST        nameservers of the cluster \"default\", which clients get that name none\n"
          "  --runtime-dir DIR     sockets, lock and instance table; default $RMQHUB_RUNTIME_DIR, else /run/rmqhub as root\n"
          "                        and $XDG_RUNTIME_DIR/rmqhub otherwise\n"
          "  --state-dir DIR       cached routes and kept names; default /var/lib/rmqhub as root, else\n"
          "                        $XDG_STATE_HOME/rmqhub or ~/.local/state/rmqhub\n"
          "  --log-level LEVEL     error, warn, info or debug\n"
          "  --check-config        report every error, also in the files it names, and a verdict; start nothing; exit code 0 or 1\n"
          "  --print-last-good-config\n"
          "                        write the settings of the last hub that started on this state directory\n"
          "  --print-sample-config write a commented configuration file to stdout\n"
          "  --print-config-docs   write the reference page docs/configuration.md to stdout\n"
          "  --version, --help\n\n"
          "Signals: SIGHUP reads the configuration again, SIGTERM finishes what is in flight and stops, a second SIGTERM\n"
          "stops at once. Exit codes: 0 stopped as asked, 1 could not start or failed, 2 usage.\n",
          out);
}

static void print_problem(void *ctx, const char *text)
{
    FILE *out = ctx;
    fprintf(out, "%s%s\n", out == stderr ? "rmqhubd: " : "", text);
}

/* No error, but nobody should find out later. */
static void print_insecure(const struct hub_config *config)
{
    for (unsigned i = 0; i < config->cluster_count; i++) {
        const struct cluster_config *cluster = &config->clusters[i];
        if (cluster->keys.use_tls && cluster->keys.tls_insecure)
            printf(
                "%s:%u: [cluster %s] tls_insecure: note that no server is verified; whoever is on the way can read and change messages\n",
                config->file, cluster->origins[CLUSTER_KEY_tls_insecure].line, cluster->name);
    }
}

static int check_config(const struct config_arguments *arguments)
{
    struct hub_config *config = NULL;
    if (hub_config_load(&config, arguments, print_problem, stdout) < 0) {
        puts("The configuration is not valid.");
        return HUB_EXIT_FAILED;
    }
    if (hub_check_files(config, print_problem, stdout) > 0) {
        puts("The configuration is valid, but not every file that it names.");
        hub_config_free(config);
        return HUB_EXIT_FAILED;
    }
    print_insecure(config);
    printf("The configuration is valid: %s, %u cluster%s.\n", config->file[0] ? config->file : "no file", config->cluster_count,
           config->cluster_count == 1 ? "" : "s");
    hub_config_free(config);
    return HUB_EXIT_OK;
}

static int run(const struct config_arguments *arguments)
{
    struct hub_config *config = NULL;
    if (hub_config_load(&config, arguments, print_problem, stderr) < 0) {
        fputs("rmqhubd: not started, because the configuration is not valid; --print-last-good-config writes the last one that was\n",
              stderr);
        return HUB_EXIT_FAILED;
    }
    return hub_run(config, arguments);
}

static int print_document(void (*print)(FILE *out))
{
    print(stdout);
    return fflush(stdout) == 0 ? HUB_EXIT_OK : HUB_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct config_arguments arguments = {0};
    bool check = false, last_good = false;
    for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            arguments.file = optarg;
            break;
        case OPTION_NAMESRV:
            arguments.namesrv_addr = optarg;
            break;
        case OPTION_RUNTIME_DIR:
            arguments.runtime_dir = optarg;
            break;
        case OPTION_STATE_DIR:
            arguments.state_dir = optarg;
            break;
        case OPTION_LOG_LEVEL:
            arguments.log_level = optarg;
            break;
        case OPTION_CHECK:
            check = true;
            break;
        case OPTION_LAST_GOOD:
            last_good = true;
            break;
        case OPTION_DOCS:
            return print_document(config_docs_print_page);
        case OPTION_SAMPLE:
            return print_document(config_docs_print_sample);
        case OPTION_VERSION:
            puts("rmqhubd " RMQHUB_VERSION);
            return HUB_EXIT_OK;
        case 'h':
            print_help(stdout);
            return HUB_EXIT_OK;
        default:
            fputs("rmqhubd: see rmqhubd --help\n", stderr);
            return HUB_EXIT_USAGE;
        }
    }
    if (optind != argc) {
        fprintf(stderr, "rmqhubd: '%s' is not expected; see rmqhubd --help\n", argv[optind]);
        return HUB_EXIT_USAGE;
    }
    if (last_good)
        return last_good_print(&arguments, stdout) == 0 ? HUB_EXIT_OK : HUB_EXIT_FAILED;
    return check ? check_config(&arguments) : run(&arguments);
}
