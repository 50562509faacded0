/* Functions for the self-test of ./dev mutate: one for each thing that can become of a mutant. */
#pragma once

#include <stdbool.h>

/** Its result is looked at: the mutant fails. */
int subject_looked_at(void);

/** Its result is not looked at: the mutant survives. */
int subject_unnoticed(void);

/** Named by the test, but never called. */
int subject_uncalled(void);

/** Called in its own file only: no call of it can be led to a stub. */
int subject_private(void);
int subject_calls_private(void);

/** The test waits until it is true. */
bool subject_awaited(void);

/** The test allocates until it is true. */
bool subject_enough(void);
