/* The test whose mutants ./dev mutate judges first, to show that it can tell a dead one from one that lives. */
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>

#include "tests/mutate/subject.h"

#define PIECE_BYTES ((size_t)1 << 24)

int main(int argc, char **argv)
{
    (void)argv;
    subject_unnoticed();
    if (argc > 1)
        subject_uncalled();
    while (!subject_awaited())
        sched_yield();
    while (!subject_enough())
        if (mmap(NULL, PIECE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
            return 3;
    return subject_looked_at() == 1 && subject_calls_private() == 1 ? 0 : 1;
}
