/*
 * Where a hub and everything that talks to it meet: the directory rules and the
 * file names that hub, library and tools must agree on (docs/cli.md, "Files").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** Files inside the runtime directory. */
#define RUNTIME_FILE_HUB_SOCKET "hub.sock"         /* attach, SOCK_SEQPACKET */
#define RUNTIME_FILE_CONTROL_SOCKET "control.sock" /* admin */
#define RUNTIME_FILE_TABLE "table"                 /* instance table, RUNTIME_FILE_MODE */
#define RUNTIME_FILE_LOCK "lock"                   /* OFD write lock over the whole file while a hub lives */

#define RUNTIME_DIR_MODE 0750
#define RUNTIME_FILE_MODE 0640
#define STATE_DIR_MODE 0700

/** Bytes for any directory here, terminator included: short enough that its sockets fit in sockaddr_un. */
#define RUNTIME_DIR_CAP 96
/** Bytes for a path that runtime_path() builds. */
#define RUNTIME_PATH_CAP 4096

/**
 * The runtime directory: @p flag if given, else $RMQHUB_RUNTIME_DIR, else /run/rmqhub as root and
 * $XDG_RUNTIME_DIR/rmqhub (or /run/user/UID/rmqhub) otherwise. A relative path is made absolute.
 * Nothing is created. 0 or -ENAMETOOLONG, or the errno of getcwd.
 */
int runtime_dir_resolve(char dst[RUNTIME_DIR_CAP], const char *flag);

/**
 * The state directory: @p flag if given, else /var/lib/rmqhub as root and $XDG_STATE_HOME/rmqhub
 * (or $HOME/.local/state/rmqhub) otherwise. 0, -ENOENT when no home is known, or -ENAMETOOLONG
 * (@p cap is the caller's choice: no socket lives there).
 */
int state_dir_resolve(char *dst, size_t cap, const char *flag);

/** Joins directory and file name. 0 or -ENAMETOOLONG. */
int runtime_path(char *dst, size_t cap, const char *dir, const char *file);

/**
 * Whether a hub holds the lock of @p dir: 1 yes, 0 no (also when there is no lock file), or
 * -errno (-EACCES: this user may not look). The kernel answers, so a killed hub is never taken for a living one.
 */
int runtime_lock_is_held(const char *dir);
