#include "hub/instance/producer_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *producer_state_name(enum producer_state state)
{
    static const char *const names[] = {"ACTIVE", "LINGERING", "UNREGISTERING"};
    return names[state];
}

void producer_table_deinit(struct producer_table *table)
{
    for (unsigned i = 0; i < table->high; i++)
        free(table->producers[i]);
    *table = (struct producer_table){0};
}

struct producer *producer_table_find(const struct producer_table *table, const char *group, size_t len)
{
    for (unsigned i = 0; i < table->high; i++) {
        struct producer *p = table->producers[i];
        if (p && p->group_len == len && memcmp(p->group, group, len) == 0)
            return p;
    }
    return NULL;
}

int producer_table_add(struct producer_table *table, const char *group, size_t len, struct producer **out)
{
    unsigned i = 0;
    while (i < table->high && table->producers[i])
        i++;
    if (i == PRODUCER_GROUPS_MAX)
        return -EDQUOT;
    struct producer *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    list_init(&p->handles);
    memcpy(p->group, group, len);
    p->group_len = (uint16_t)len;
    p->index = (uint16_t)i;
    table->producers[i] = p;
    table->count++;
    if (i == table->high)
        table->high++;
    *out = p;
    return 0;
}

void producer_table_remove(struct producer_table *table, struct producer *producer)
{
    table->producers[producer->index] = NULL;
    table->count--;
    while (table->high > 0 && !table->producers[table->high - 1])
        table->high--;
    free(producer);
}
