/*
 * Intrusive doubly linked list. A list is a link that points at itself when
 * empty; a member that is in no list has both pointers NULL, so membership can
 * be asked and unlinking twice is harmless.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list_link {
    struct list_link *next, *prev;
};

#define LIST_ENTRY(link_ptr, type, member) ((type *)(void *)((char *)(link_ptr)-offsetof(type, member)))

static inline void list_init(struct list_link *list)
{
    list->next = list->prev = list;
}

static inline bool list_is_empty(const struct list_link *list)
{
    return list->next == list;
}

static inline bool list_is_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline void list_insert_before(struct list_link *at, struct list_link *link)
{
    link->next = at;
    link->prev = at->prev;
    at->prev->next = link;
    at->prev = link;
}

static inline void list_append(struct list_link *list, struct list_link *link)
{
    list_insert_before(list, link);
}

static inline void list_unlink(struct list_link *link)
{
    if (!link->next)
        return;
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}

/** First member, or NULL when the list is empty. */
static inline struct list_link *list_first(const struct list_link *list)
{
    return list->next == list ? NULL : list->next;
}

/** Iterates while allowing the current member to be unlinked; @c tmp holds the next one. */
#define LIST_FOR_EACH_SAFE(it, tmp, list) for (struct list_link *it = (list)->next, *tmp = it->next; it != (list); it = tmp, tmp = it->next)
