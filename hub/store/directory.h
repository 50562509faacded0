/*
 * The hub's two directories and the locks in them. Both are opened once, checked,
 * and then used through the descriptor, so that nobody can swap them afterwards.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/**
 * Opens the directory at absolute @p path, creating it with @p mode and its missing parents with 0700. Refused:
 * a symbolic link, another owner than this process, and any permission outside @p allowed_mode. @p problem gets
 * one line that says what to do. The caller closes *fd. 0, or -errno (-EPERM for a directory that is not safe).
 */
int directory_open(int *fd, const char *path, mode_t mode, mode_t allowed_mode, char *problem, size_t cap);

/**
 * Takes the lock file of a directory for the life of *fd; the holder's pid is written into it for people. A file
 * left by a dead hub is no obstacle. 0, -EBUSY when another process holds it (@p problem names it), or -errno.
 */
int directory_lock(int *fd, int dirfd, const char *path, char *problem, size_t cap);
