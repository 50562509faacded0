/*
 * Control socket of the devbroker: one command a line, answered by any number of
 * lines and then "ok", or "error" and the reason. Commands: README.md.
 */
#pragma once

struct control;
struct devbroker;

/** Listens at @p path (an old socket there is replaced). NULL with -errno in @p err. */
struct control *control_new(struct devbroker *dev, const char *path, int *err);

/** Closes and removes the socket. Returns NULL; NULL is allowed. */
struct control *control_free(struct control *control);
