/*
 * Sealed memfds: making one for oneself, and believing one that somebody else made.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * Makes a memfd of @p bytes with every page allocated (so that no later touch can fail),
 * maps it writable, then seals it: SHRINK, GROW, SEAL and FUTURE_WRITE. From then on
 * nobody can write it through another mapping, resize it or punch holes in it.
 * @return 0, or -errno (-ENOSPC, -ENOMEM, -EMFILE, ...); outputs are written on 0 only.
 */
int shm_segment_create(const char *name, size_t bytes, int *fd_out, void **map_out);

/**
 * Checks that @p fd is a regular tmpfs file of exactly @p bytes, fully allocated and with the
 * four seals, and maps it read-only. @p at: NULL, or the address of an older mapping of the
 * same size to replace in one step (MAP_FIXED).
 * @return 0, -EBADMSG with *@p why set when the segment is not as agreed, or -errno of mmap.
 */
int shm_segment_map_foreign(int fd, size_t bytes, void *at, void **map_out, const char **why);
