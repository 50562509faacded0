/* Directories that are safe, those that are not, and the lock that admits one hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hub/store/directory.h"
#include "shm/runtime_dir.h"

static char base[64], path[128], problem[512];

static int setup(void **state)
{
    (void)state;
    snprintf(base, sizeof(base), "/tmp/test_directory.XXXXXX");
    umask(077);
    return mkdtemp(base) ? 0 : 1;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *in_base(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", base, name);
    return path;
}

static int open_runtime(const char *name, int *fd)
{
    return directory_open(fd, in_base(name), RUNTIME_DIR_MODE, 0755, problem, sizeof(problem));
}

static void missing_directories_are_made_with_their_modes(void **state)
{
    int fd = -1;
    struct stat st;
    (void)state;
    assert_int_equal(open_runtime("a/b/run", &fd), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    close(fd);
    assert_int_equal(stat(in_base("a/b"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(directory_open(&fd, in_base("state"), STATE_DIR_MODE, STATE_DIR_MODE, problem, sizeof(problem)), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    close(fd);
}

static void what_others_could_have_planted_is_refused(void **state)
{
    int fd = -1;
    (void)state;
    assert_int_equal(mkdir(in_base("real"), 0700), 0);
    assert_int_equal(symlink("real", in_base("link")), 0);
    assert_true(open_runtime("link", &fd) < 0);
    assert_non_null(strstr(problem, "symbolic link"));
    close(open(in_base("file"), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(open_runtime("file", &fd), -ENOTDIR);
    assert_int_equal(mkdir(in_base("open"), 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(open_runtime("open", &fd), -EPERM);
    assert_non_null(strstr(problem, "mode 0777"));
    assert_non_null(strstr(problem, "chmod 0750"));
    assert_int_equal(mkdir(in_base("readable"), 0700), 0);
    assert_int_equal(chmod(path, 0750), 0);
    assert_int_equal(directory_open(&fd, path, STATE_DIR_MODE, STATE_DIR_MODE, problem, sizeof(problem)), -EPERM);
    assert_int_equal(fd, -1);
}

static void a_directory_of_another_user_is_refused(void **state)
{
    int fd = -1;
    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(mkdir(in_base("theirs"), 0700), 0);
        assert_int_equal(chown(path, 12345, 12345), 0);
        assert_int_equal(open_runtime("theirs", &fd), -EPERM);
        assert_non_null(strstr(problem, "uid 12345"));
    } else {
        assert_int_equal(directory_open(&fd, "/usr", RUNTIME_DIR_MODE, 0755, problem, sizeof(problem)), -EPERM);
        assert_non_null(strstr(problem, "uid 0"));
    }
}

static void one_process_holds_the_lock_and_is_named(void **state)
{
    int dirfd = -1, fd = -1, second = -1, to_parent[2];
    char ready, expected[64];
    (void)state;
    assert_int_equal(open_runtime("run", &dirfd), 0);
    assert_int_equal(pipe(to_parent), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (directory_lock(&fd, dirfd, path, problem, sizeof(problem)) == 0 && write(to_parent[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(to_parent[0], &ready, 1), 1);
    assert_int_equal(runtime_lock_is_held(path), 1);
    assert_int_equal(directory_lock(&second, dirfd, path, problem, sizeof(problem)), -EBUSY);
    snprintf(expected, sizeof(expected), "another hub (pid %d)", pid);
    assert_non_null(strstr(problem, expected));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(runtime_lock_is_held(path), 0);
    assert_int_equal(directory_lock(&second, dirfd, path, problem, sizeof(problem)), 0);
    assert_int_equal(runtime_lock_is_held(path), 1);
    close(second);
    close(dirfd);
    close(to_parent[0]);
    close(to_parent[1]);
}

static void a_lock_that_is_a_link_is_refused(void **state)
{
    int dirfd = -1, fd = -1;
    char target[128];
    struct stat st;
    (void)state;
    assert_int_equal(open_runtime("run", &dirfd), 0);
    snprintf(target, sizeof(target), "%s/target", base);
    assert_int_equal(symlinkat(target, dirfd, RUNTIME_FILE_LOCK), 0);
    assert_int_equal(directory_lock(&fd, dirfd, path, problem, sizeof(problem)), -ELOOP);
    assert_int_equal(stat(target, &st), -1);
    close(dirfd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(missing_directories_are_made_with_their_modes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_others_could_have_planted_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_of_another_user_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(one_process_holds_the_lock_and_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lock_that_is_a_link_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
