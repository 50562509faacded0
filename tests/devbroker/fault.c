/*
 * Scripted faults. See fault.h.
 */
#include "tests/devbroker/fault.h"

#include "hub/protocol/codes.h"
#include "shm/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A set of texts that only grows: open addressing over copies. */
struct key_set {
    struct key_slot {
        char *text;
        size_t len;
    } * slots;
    size_t cap, count;
};

struct action_name {
    const char *name;
    enum fault_action action;
    bool needs_arg, takes_arg;
    int64_t default_arg, min, max;
};

static const struct action_name actions[] = {
    {"error", FAULT_ERROR, true, true, 0, INT16_MIN, INT16_MAX},
    {"status", FAULT_STATUS, true, true, 0, INT16_MIN, INT16_MAX},
    {"no-reply", FAULT_NO_REPLY, false, false, 0, 0, 0},
    {"store-no-reply", FAULT_STORE_SILENT, false, false, 0, 0, 0},
    {"store-refuse", FAULT_STORE_REFUSE, false, true, RESPONSE_SYSTEM_BUSY, INT16_MIN, INT16_MAX},
    {"delay", FAULT_DELAY, true, true, 0, 0, 3600000},
    {"late", FAULT_LATE, true, true, 0, 0, 3600000},
    {"duplicate", FAULT_DUPLICATE, false, false, 0, 0, 0},
    {"wrong-opaque", FAULT_WRONG_OPAQUE, false, false, 0, 0, 0},
    {"garbage", FAULT_GARBAGE, false, true, 64, 1, 1 << 20},
    {"raw", FAULT_RAW, true, true, 0, 0, 0},
    {"cut", FAULT_CUT, false, true, 10, 0, 1 << 20},
    {"close", FAULT_CLOSE, false, false, 0, 0, 0},
    {"store-close", FAULT_STORE_CLOSE, false, false, 0, 0, 0},
    {"rst", FAULT_RESET, false, false, 0, 0, 0},
    {"store-rst", FAULT_STORE_RESET, false, false, 0, 0, 0},
    {"stop-reading", FAULT_STOP_READING, false, true, 0, 0, 3600000},
};

struct code_name {
    const char *name;
    int32_t codes[4];
};

/* Names for what tests mean; any number may be written instead. */
static const struct code_name code_names[] = {
    {"send", {REQUEST_SEND_MESSAGE_V2, REQUEST_SEND_MESSAGE, REQUEST_SEND_BATCH_MESSAGE, 0}},
    {"route", {REQUEST_GET_ROUTEINFO_BY_TOPIC, 0, 0, 0}},
    {"heartbeat", {REQUEST_HEART_BEAT, 0, 0, 0}},
    {"unregister", {REQUEST_UNREGISTER_CLIENT, 0, 0, 0}},
    {"pull", {REQUEST_PULL_MESSAGE, 0, 0, 0}},
};

static void key_set_free(struct key_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->cap; i++)
        free(set->slots[i].text);
    free(set->slots);
    free(set);
}

static size_t key_slot(const struct key_slot *slots, size_t cap, struct span key)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (uint8_t)key.data[i]) * 1099511628211u;
    size_t i = h & (cap - 1);
    while (slots[i].text && !(slots[i].len == key.len && memcmp(slots[i].text, key.data, key.len) == 0))
        i = (i + 1) & (cap - 1);
    return i;
}

static bool key_set_grow(struct key_set *set)
{
    size_t cap = set->cap ? set->cap * 2 : 256;
    struct key_slot *slots = calloc(cap, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < set->cap; i++)
        if (set->slots[i].text)
            slots[key_slot(slots, cap, (struct span){set->slots[i].text, set->slots[i].len})] = set->slots[i];
    free(set->slots);
    set->slots = slots;
    set->cap = cap;
    return true;
}

static bool key_set_has(const struct key_set *set, struct span key)
{
    return set->cap && set->slots[key_slot(set->slots, set->cap, key)].text;
}

static void key_set_add(struct key_set *set, struct span key)
{
    if (set->count * 2 >= set->cap && !key_set_grow(set))
        return;
    struct key_slot *slot = &set->slots[key_slot(set->slots, set->cap, key)];
    if (slot->text || !(slot->text = malloc(key.len + 1)))
        return;
    memcpy(slot->text, key.data, key.len);
    slot->len = key.len;
    set->count++;
}

void fault_plan_init(struct fault_plan *plan, uint64_t seed)
{
    list_init(&plan->rules);
    plan->last_number = 0;
    fault_plan_seed(plan, seed);
}

void fault_plan_seed(struct fault_plan *plan, uint64_t seed)
{
    plan->random_state = seed ^ 0x9e3779b97f4a7c15u;
}

static void rule_free(struct fault_rule *rule)
{
    key_set_free(rule->seen_keys);
    free(rule->raw);
    free(rule);
}

void fault_plan_clear(struct fault_plan *plan)
{
    for (struct list_link *l; (l = list_first(&plan->rules));) {
        list_unlink(l);
        rule_free(LIST_ENTRY(l, struct fault_rule, link));
    }
}

void fault_plan_deinit(struct fault_plan *plan)
{
    fault_plan_clear(plan);
}

/* splitmix64 */
static uint64_t next_random(struct fault_plan *plan)
{
    uint64_t z = plan->random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool parse_codes(struct fault_rule *rule, char *list)
{
    if (strcmp(list, "*") == 0)
        return true;
    char *save = NULL;
    for (char *word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        int32_t found[4] = {0};
        int64_t number;
        if (text_parse_i64(word, 1, INT32_MAX, &number))
            found[0] = (int32_t)number;
        for (unsigned i = 0; i < sizeof(code_names) / sizeof(*code_names); i++)
            if (strcmp(word, code_names[i].name) == 0)
                memcpy(found, code_names[i].codes, sizeof(found));
        if (found[0] == 0)
            return false;
        for (unsigned i = 0; i < 4 && found[i]; i++) {
            if (rule->code_count == FAULT_CODES_MAX)
                return false;
            rule->codes[rule->code_count++] = found[i];
        }
    }
    return rule->code_count > 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_raw(struct fault_rule *rule, const char *hex)
{
    size_t len = strlen(hex);
    if (len == 0 || len % 2 || len / 2 > FAULT_RAW_MAX || !(rule->raw = malloc(len / 2)))
        return false;
    for (size_t i = 0; i < len; i += 2) {
        int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);
        if (high < 0 || low < 0)
            return false;
        rule->raw[i / 2] = (uint8_t)(high << 4 | low);
    }
    rule->raw_len = len / 2;
    return true;
}

static bool parse_action(struct fault_rule *rule, char *word)
{
    char *arg = strchr(word, '=');
    if (arg)
        *arg++ = '\0';
    for (unsigned i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
        const struct action_name *a = &actions[i];
        if (strcmp(word, a->name) != 0)
            continue;
        rule->action = a->action;
        rule->arg = a->default_arg;
        if (!arg)
            return !a->needs_arg;
        if (a->action == FAULT_RAW)
            return parse_raw(rule, arg);
        return a->takes_arg && text_parse_i64(arg, a->min, a->max, &rule->arg);
    }
    return false;
}

static bool parse_count(const char *text, uint64_t *out)
{
    int64_t n;
    if (!text_parse_i64(text, 0, INT64_MAX, &n))
        return false;
    *out = (uint64_t)n;
    return true;
}

static bool parse_condition(struct fault_rule *rule, const char *word)
{
    if (strncmp(word, "after=", 6) == 0)
        return parse_count(word + 6, &rule->after);
    if (strncmp(word, "times=", 6) == 0)
        return parse_count(word + 6, &rule->times);
    if (strncmp(word, "every=", 6) == 0)
        return parse_count(word + 6, &rule->every) && rule->every > 0;
    if (strncmp(word, "broker=", 7) == 0)
        return text_copy(rule->broker, sizeof(rule->broker), word + 7, strlen(word + 7)) && rule->broker[0];
    if (strncmp(word, "p=", 2) == 0) {
        char *end;
        rule->probability = strtod(word + 2, &end);
        return end != word + 2 && *end == '\0' && rule->probability >= 0 && rule->probability <= 1;
    }
    return false;
}

static const char *parse_rule(struct fault_rule *rule, char *words)
{
    char *save = NULL;
    char *codes = strtok_r(words, " \t", &save);
    char *action = strtok_r(NULL, " \t", &save);
    if (!codes || !action)
        return "a fault needs request codes and an action";
    if (!parse_codes(rule, codes))
        return "request codes are numbers, *, or send, route, heartbeat, unregister, pull, joined by commas";
    if (!parse_action(rule, action))
        return "unknown action or argument; actions: error=CODE status=CODE no-reply store-no-reply store-refuse[=CODE] delay=MS "
               "late=MS duplicate wrong-opaque garbage[=BYTES] raw=HEX cut[=BYTES] close store-close rst store-rst "
               "stop-reading[=MS]";
    for (char *word; (word = strtok_r(NULL, " \t", &save));)
        if (!parse_condition(rule, word))
            return "unknown condition; conditions: after=N times=N every=N p=0..1 broker=NAME";
    return NULL;
}

int fault_plan_add(struct fault_plan *plan, const char *text, const char **reason)
{
    *reason = "out of memory";
    struct fault_rule *rule = calloc(1, sizeof(*rule));
    char *words = strdup(text);
    int err = 0;
    if (!rule || !words)
        err = -ENOMEM;
    if (!err) {
        rule->times = UINT64_MAX;
        rule->every = 1;
        rule->probability = 1;
        text_copy(rule->text, sizeof(rule->text), text, strlen(text));
        if ((*reason = parse_rule(rule, words)))
            err = -EINVAL;
        else if (rule->action == FAULT_STORE_REFUSE && !(rule->seen_keys = calloc(1, sizeof(*rule->seen_keys))))
            err = -ENOMEM;
    }
    free(words);
    if (err) {
        if (rule)
            rule_free(rule);
        return err;
    }
    rule->number = ++plan->last_number;
    list_append(&plan->rules, &rule->link);
    return 0;
}

static bool rule_concerns(const struct fault_rule *rule, const struct fault_request *request)
{
    if (rule->broker[0] && strcmp(rule->broker, request->broker) != 0)
        return false;
    for (unsigned i = 0; i < rule->code_count; i++)
        if (rule->codes[i] == request->code)
            return true;
    return rule->code_count == 0;
}

static bool rule_strikes(struct fault_plan *plan, struct fault_rule *rule, struct fault_request *request)
{
    bool remembers = rule->action == FAULT_STORE_REFUSE && request->unique_key.len > 0;
    if (remembers && key_set_has(rule->seen_keys, request->unique_key)) {
        request->repeated = true; /* a later attempt is refused whatever the counts say */
        return true;
    }
    uint64_t nth = rule->seen++;
    if (nth < rule->after || rule->applied >= rule->times || (nth - rule->after) % rule->every != 0)
        return false;
    if (rule->probability < 1 && (double)(next_random(plan) >> 11) * 0x1p-53 >= rule->probability)
        return false;
    rule->applied++;
    if (remembers)
        key_set_add(rule->seen_keys, request->unique_key);
    return true;
}

struct fault_rule *fault_plan_match(struct fault_plan *plan, struct fault_request *request)
{
    LIST_FOR_EACH_SAFE (it, next, &plan->rules) {
        struct fault_rule *rule = LIST_ENTRY(it, struct fault_rule, link);
        if (rule_concerns(rule, request) && rule_strikes(plan, rule, request))
            return rule;
    }
    return NULL;
}

void fault_plan_garbage(struct fault_plan *plan, uint8_t *dst, size_t len)
{
    for (size_t i = 0; i < len; i++)
        dst[i] = (uint8_t)(0x80 | next_random(plan));
}
