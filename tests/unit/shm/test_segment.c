/*
 * Sealed segments: what the kernel refuses once they are sealed, by whatever way a process
 * tries to shrink, grow, punch, rewrite or remap them, and which foreign ones are not believed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/segment.h"

#define BYTES 16384u
#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE)

struct own {
    int fd;
    char *map;
};

static int set_up(void **state)
{
    static struct own own;
    void *map = NULL;
    assert_int_equal(shm_segment_create("test", BYTES, &own.fd, &map), 0);
    own.map = map;
    *state = &own;
    return 0;
}

static int tear_down(void **state)
{
    struct own *own = *state;
    munmap(own->map, BYTES);
    close(own->fd);
    return 0;
}

static void the_owner_writes_and_the_other_reads(void **state)
{
    struct own *own = *state;
    const char *why = NULL;
    void *foreign = NULL;
    assert_int_equal(shm_segment_map_foreign(own->fd, BYTES, NULL, &foreign, &why), 0);
    strcpy(own->map + 5000, "seen");
    assert_string_equal((char *)foreign + 5000, "seen");
    assert_int_equal(mprotect(foreign, BYTES, PROT_READ | PROT_WRITE), -1);
    munmap(foreign, BYTES);
}

static void a_newer_segment_takes_the_place_of_an_older_one(void **state)
{
    struct own *own = *state;
    const char *why = NULL;
    void *at = NULL, *again = NULL, *map = NULL;
    int fd = -1;
    assert_int_equal(shm_segment_create("next", BYTES, &fd, &map), 0);
    strcpy(map, "next");
    assert_int_equal(shm_segment_map_foreign(own->fd, BYTES, NULL, &at, &why), 0);
    assert_int_equal(shm_segment_map_foreign(fd, BYTES, at, &again, &why), 0);
    assert_ptr_equal(at, again);
    assert_string_equal(at, "next");
    munmap(at, BYTES);
    munmap(map, BYTES);
    close(fd);
}

static void the_kernel_refuses_every_change_of_a_sealed_segment(void **state)
{
    struct own *own = *state;
    own->map[100] = 'x';
    assert_int_equal(ftruncate(own->fd, BYTES / 2), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(own->fd, 2 * BYTES), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fallocate(own->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(madvise(own->map, BYTES, MADV_REMOVE), -1);
    assert_int_equal(pwrite(own->fd, "y", 1, 100), -1);
    assert_int_equal(errno, EPERM);
    assert_ptr_equal(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, own->fd, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(own->fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(own->map[100], 'x');
}

static void expect_refused(int fd, const char *what)
{
    const char *why = NULL;
    void *map = NULL;
    assert_int_equal(shm_segment_map_foreign(fd, BYTES, NULL, &map, &why), -EBADMSG);
    assert_null(map);
    assert_non_null(why);
    assert_non_null(strstr(why, what));
    if (fd >= 0)
        close(fd);
}

static int memfd(size_t bytes, int seals)
{
    int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void segments_that_are_not_as_agreed_are_refused(void **state)
{
    (void)state;
    expect_refused(-1, "cannot be examined");
    expect_refused(open("/dev/null", O_RDWR), "not a memfd");
    expect_refused(open("/proc/self/exe", O_RDONLY), "not a memfd");
    expect_refused(memfd(BYTES / 2, ALL_SEALS), "wrong size");
    expect_refused(memfd(BYTES + 4096, ALL_SEALS), "wrong size");
    expect_refused(memfd(BYTES, 0), "seals are missing");
    static const int one[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_FUTURE_WRITE};
    for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++)
        expect_refused(memfd(BYTES, ALL_SEALS & ~one[i]), "seals are missing");

    int sparse = memfd_create("sparse", MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(sparse, BYTES), 0);
    assert_int_equal(fcntl(sparse, F_ADD_SEALS, ALL_SEALS), 0);
    expect_refused(sparse, "not fully allocated");

    int unsealable = memfd_create("unsealable", 0);
    assert_int_equal(posix_fallocate(unsealable, 0, BYTES), 0);
    expect_refused(unsealable, "seals are missing");

    /* More seals than agreed do no harm. */
    int more = memfd(BYTES, ALL_SEALS | F_SEAL_WRITE);
    const char *why = NULL;
    void *map = NULL;
    assert_int_equal(shm_segment_map_foreign(more, BYTES, NULL, &map, &why), 0);
    munmap(map, BYTES);
    close(more);
}

static void want_of_resources_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct rlimit saved, limit;
    int fd = -1, probe = dup(0), after;
    void *map = NULL;
    close(probe);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
    limit = (struct rlimit){(rlim_t)probe, saved.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int r = shm_segment_create("test", BYTES, &fd, &map);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
    assert_int_equal(r, -EMFILE);

    /* Allocated, but no address space to map it. */
    assert_int_equal(getrlimit(RLIMIT_AS, &saved), 0);
    limit = (struct rlimit){1, saved.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    r = shm_segment_create("test", BYTES, &fd, &map);
    assert_int_equal(setrlimit(RLIMIT_AS, &saved), 0);
    assert_int_equal(r, -ENOMEM);

    int sealed = memfd(BYTES, ALL_SEALS);
    const char *why = NULL;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    r = shm_segment_map_foreign(sealed, BYTES, NULL, &map, &why);
    assert_int_equal(setrlimit(RLIMIT_AS, &saved), 0);
    assert_int_equal(r, -ENOMEM);
    assert_non_null(strstr(why, "mmap"));
    close(sealed);

    assert_int_equal(fd, -1);
    assert_null(map);
    after = dup(0);
    close(after);
    assert_int_equal(after, probe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_owner_writes_and_the_other_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_segment_takes_the_place_of_an_older_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_kernel_refuses_every_change_of_a_sealed_segment, set_up, tear_down),
        cmocka_unit_test(segments_that_are_not_as_agreed_are_refused),
        cmocka_unit_test(want_of_resources_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
