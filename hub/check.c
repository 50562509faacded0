/*
 * A running hub takes note of a bad file and goes on with what it has, so that
 * one cluster's mistake is not everybody's outage. Whoever changes a file wants
 * to know before: nothing is started or contacted here.
 */
#include "hub/check.h"

#include <stdio.h>

#include "hub/hub.h"
#include "hub/remoting/acl_credentials.h"
#include "hub/remoting/tls_context.h"

struct check {
    const struct hub_config *config;
    config_report *report;
    void *ctx;
    unsigned problems;
};

static void problem(struct check *check, const struct cluster_config *cluster, enum cluster_key key, const char *why)
{
    char text[4 * CONFIG_TEXT_CAP];
    snprintf(text, sizeof(text), "%s:%u: [cluster %s] %s: %s", check->config->file, cluster->origins[key].line, cluster->name,
             config_cluster_keys[key].name, why);
    check->problems++;
    check->report(check->ctx, text);
}

static void check_credentials(struct check *check, const struct cluster_config *cluster)
{
    struct acl_credentials *credentials = NULL;
    char why[CONFIG_TEXT_CAP + 128];
    const char *path = cluster->keys.credentials_file.text;
    if (path[0] && acl_credentials_load(&credentials, path, why, sizeof(why)) < 0)
        problem(check, cluster, CLUSTER_KEY_credentials_file, why);
    acl_credentials_free(credentials);
}

static void check_tls_files(struct check *check, const struct cluster_config *cluster)
{
    struct tls_context *context = NULL;
    struct tls_settings settings;
    char why[2 * CONFIG_TEXT_CAP];
    hub_tls_settings(&settings, &cluster->keys);
    if (settings.enable && tls_context_new(&context, &settings, why, sizeof(why)) < 0)
        problem(check, cluster, CLUSTER_KEY_use_tls, why);
    tls_context_unref(context);
}

unsigned hub_check_files(const struct hub_config *config, config_report *report, void *ctx)
{
    struct check check = {.config = config, .report = report, .ctx = ctx};
    for (unsigned i = 0; i < config->cluster_count; i++) {
        check_credentials(&check, &config->clusters[i]);
        check_tls_files(&check, &config->clusters[i]);
    }
    return check.problems;
}
