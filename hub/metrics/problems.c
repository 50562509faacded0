/*
 * An array in order of age: problems are few and change rarely, so that nothing
 * cleverer would pay. The mutex is there for the helper threads.
 */
#include "hub/metrics/problems.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shm/base/clock.h"
#include "shm/base/log.h"
#include "shm/base/text.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct problem problems[PROBLEMS_MAX];
static unsigned count, dropped;

/* Names longer than their fields are told apart by what fits. */
static bool is_same(const char *stored, const char *name, size_t cap)
{
    return strncmp(stored, name, cap - 1) == 0;
}

static struct problem *find(const char *rule, const char *object)
{
    for (unsigned i = 0; i < count; i++)
        if (is_same(problems[i].rule, rule, sizeof(problems[i].rule)) && is_same(problems[i].object, object, sizeof(problems[i].object)))
            return &problems[i];
    return NULL;
}

static struct problem *append(const char *rule, const char *object)
{
    if (count == PROBLEMS_MAX) {
        dropped++;
        return NULL;
    }
    struct problem *problem = &problems[count++];
    *problem = (struct problem){.since_ns = mono_now_ns()};
    text_copy(problem->rule, sizeof(problem->rule), rule, strlen(rule));
    text_copy(problem->object, sizeof(problem->object), object, strlen(object));
    return problem;
}

void problem_raise(const char *rule, const char *object, enum table_severity severity, const char *fmt, ...)
{
    char text[sizeof(((struct problem *)0)->text)];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    pthread_mutex_lock(&mutex);
    struct problem *problem = find(rule, object);
    bool is_new = !problem;
    if (is_new)
        problem = append(rule, object);
    if (problem) {
        problem->severity = severity;
        memcpy(problem->text, text, sizeof(text));
    }
    pthread_mutex_unlock(&mutex);
    if (is_new)
        LOG_WARN(object, "%s: %s", rule, text);
}

static bool take_first(const char *rule, const char *object, struct problem *out)
{
    pthread_mutex_lock(&mutex);
    unsigned i = 0;
    while (i < count && !((!rule || is_same(problems[i].rule, rule, sizeof(problems[i].rule))) &&
                          (!object || is_same(problems[i].object, object, sizeof(problems[i].object)))))
        i++;
    bool found = i < count;
    if (found) {
        *out = problems[i];
        memmove(&problems[i], &problems[i + 1], (--count - i) * sizeof(problems[0]));
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

static void clear_all(const char *rule, const char *object)
{
    struct problem gone;
    while (take_first(rule, object, &gone))
        LOG_INFO(gone.object, "%s: over", gone.rule);
}

void problem_clear(const char *rule, const char *object)
{
    clear_all(rule, object);
}

void problem_clear_object(const char *object)
{
    clear_all(NULL, object);
}

unsigned problems_for_each(void (*visit)(void *ctx, const struct problem *problem), void *ctx)
{
    pthread_mutex_lock(&mutex);
    for (unsigned i = 0; i < count; i++)
        visit(ctx, &problems[i]);
    unsigned not_shown = dropped;
    pthread_mutex_unlock(&mutex);
    return not_shown;
}

bool problem_find(const char *rule, const char *object, struct problem *out)
{
    pthread_mutex_lock(&mutex);
    const struct problem *problem = find(rule, object);
    if (problem)
        *out = *problem;
    pthread_mutex_unlock(&mutex);
    return problem != NULL;
}

void problems_deinit(void)
{
    pthread_mutex_lock(&mutex);
    count = dropped = 0;
    pthread_mutex_unlock(&mutex);
}
