/* The test whose mutants ./dev mutate judges first, to show that it can tell a dead one from one that lives. */
#include <stdlib.h>
#include <string.h>

#include "tests/mutate/subject.h"

#define PIECE_BYTES ((size_t)1 << 24)

int main(int argc, char **argv)
{
    (void)argv;
    subject_unnoticed();
    if (argc > 1)
        subject_uncalled();
    while (!subject_awaited())
        continue;
    while (!subject_enough()) {
        char *piece = malloc(PIECE_BYTES);
        if (!piece)
            return 3;
        memset(piece, 1, PIECE_BYTES);
        subject_enough();
    }
    return subject_looked_at() == 1 && subject_calls_private() == 1 ? 0 : 1;
}
