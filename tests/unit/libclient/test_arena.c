/* The allocator of segment C's arena: runs never overlap, stay inside, and grow together again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libclient/arena.h"

static uint32_t rounded(uint32_t bytes)
{
    uint32_t run = ARENA_BLOCK_BYTES;
    while (run < bytes)
        run *= 2;
    return run;
}

static void the_whole_arena_is_one_run(void **state)
{
    (void)state;
    static struct arena arena;
    arena_init(&arena);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(arena_alloc(&arena, SHM_ARENA_BYTES), 0);
        assert_int_equal(arena_alloc(&arena, 1), ARENA_NONE);
        arena_free(&arena, 0);
    }
    assert_int_equal(arena_alloc(&arena, SHM_ARENA_BYTES + 1), ARENA_NONE);
    assert_int_equal(arena_alloc(&arena, UINT32_MAX), ARENA_NONE);
}

static void small_runs_fill_it_and_leave_it_whole(void **state)
{
    (void)state;
    static struct arena arena;
    static bool seen[ARENA_BLOCKS];
    arena_init(&arena);
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < ARENA_BLOCKS; i++) {
        uint32_t off = arena_alloc(&arena, 1 + i % ARENA_BLOCK_BYTES);
        assert_true(off < SHM_ARENA_BYTES && off % ARENA_BLOCK_BYTES == 0);
        assert_false(seen[off / ARENA_BLOCK_BYTES]);
        seen[off / ARENA_BLOCK_BYTES] = true;
    }
    assert_int_equal(arena_alloc(&arena, 1), ARENA_NONE);
    for (unsigned i = 0; i < ARENA_BLOCKS; i++) /* in an order that meets every buddy late */
        arena_free(&arena, (i * 1021 % ARENA_BLOCKS) * ARENA_BLOCK_BYTES);
    assert_int_equal(arena_alloc(&arena, SHM_ARENA_BYTES), 0);
}

#define RUNS 300

static void random_use_never_overlaps_and_coalesces(void **state)
{
    (void)state;
    static struct arena arena;
    static int owner[ARENA_BLOCKS];
    struct {
        uint32_t off, bytes;
    } runs[RUNS];
    unsigned seed = 20240;
    arena_init(&arena);
    for (int round = 0; round < 30; round++) {
        memset(runs, 0, sizeof(runs));
        memset(owner, -1, sizeof(owner));
        for (int step = 0; step < 4000; step++) {
            int i = rand_r(&seed) % RUNS;
            if (runs[i].bytes) {
                for (uint32_t b = 0; b < rounded(runs[i].bytes) / ARENA_BLOCK_BYTES; b++) {
                    assert_int_equal(owner[runs[i].off / ARENA_BLOCK_BYTES + b], i);
                    owner[runs[i].off / ARENA_BLOCK_BYTES + b] = -1;
                }
                arena_free(&arena, runs[i].off);
                runs[i].bytes = 0;
                continue;
            }
            uint32_t bytes = 1u + (uint32_t)rand_r(&seed) % (1u << rand_r(&seed) % 18);
            uint32_t off = arena_alloc(&arena, bytes);
            if (off == ARENA_NONE)
                continue;
            assert_true((uint64_t)off + rounded(bytes) <= SHM_ARENA_BYTES);
            assert_int_equal(off % rounded(bytes), 0);
            for (uint32_t b = 0; b < rounded(bytes) / ARENA_BLOCK_BYTES; b++) {
                assert_int_equal(owner[off / ARENA_BLOCK_BYTES + b], -1);
                owner[off / ARENA_BLOCK_BYTES + b] = i;
            }
            runs[i].off = off;
            runs[i].bytes = bytes;
        }
        for (int i = 0; i < RUNS; i++) {
            if (runs[i].bytes)
                arena_free(&arena, runs[i].off);
        }
        assert_int_equal(arena_alloc(&arena, SHM_ARENA_BYTES), 0);
        arena_free(&arena, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_arena_is_one_run),
        cmocka_unit_test(small_runs_fill_it_and_leave_it_whole),
        cmocka_unit_test(random_use_never_overlaps_and_coalesces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
