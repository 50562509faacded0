#include "tests/mutate/subject.h"

int subject_looked_at(void)
{
    return 1;
}

int subject_unnoticed(void)
{
    return 1;
}

int subject_uncalled(void)
{
    return 1;
}

int subject_private(void)
{
    return 1;
}

int subject_calls_private(void)
{
    return subject_private();
}

bool subject_awaited(void)
{
    return true;
}

bool subject_enough(void)
{
    return true;
}
