/*
 * Files that hold secrets: credentials, keys, passwords. One rule for all of them,
 * judged on the open descriptor, so that nobody can swap the file in between.
 */
#pragma once

#include <stddef.h>

/**
 * Reads a whole file into @p buf. It must be a regular file itself (no symbolic link), belong to the hub's user or root, be
 * readable and writable by its owner at most (0600), and be shorter than @p cap. Blocks for a small file. The caller overwrites
 * @p buf in the end, after a failure too. 0 and *len | -EACCES, and one line in @p why that begins with @p what and the path and
 * shows nothing of the content.
 */
int secret_file_read(const char *what, const char *path, char *buf, size_t cap, size_t *len, char *why, size_t why_cap);
