/*
 * One packet on a SOCK_SEQPACKET socket, with descriptors beside it: what both ends of ATTACH do. Nothing here blocks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** Descriptors that one packet may carry; the kernel drops what a peer sends beyond. */
#define FD_PACKET_MAX 16u

/** Sends @p len bytes and @p count (<= FD_PACKET_MAX) descriptors, which stay the caller's. 0, or -errno. */
int fd_packet_send(int socket, const void *data, size_t len, const int *fds, size_t count);

/**
 * Receives into @p data; *@p fd_count descriptors (<= @p fd_cap) are the caller's from then on, close-on-exec. Further ones are
 * closed, and *@p cut says so, as it does of bytes beyond @p cap.
 * @return bytes received (0: the peer hung up), or -errno.
 */
ssize_t fd_packet_receive(int socket, void *data, size_t cap, int *fds, size_t fd_cap, size_t *fd_count, bool *cut);

/** Closes all of @p fds. */
void fd_packet_close(const int *fds, size_t count);
