/*
 * ATTACH: the only message of the attach socket (SOCK_SEQPACKET), one packet each way.
 *
 *   client -> hub   struct attach_request, descriptors in the order of enum attach_fd
 *   hub -> client   struct attach_reply, descriptors H and doorbell when status is ATTACH_OK
 *
 * After that the hub sends single wake bytes (see shm_c_header.want_byte) and the client
 * nothing; either side's hang-up ends the link, not the client (design: sections 5 and 6).
 */
#pragma once

#include <stdint.h>

#include "shm/layout.h"

#define ATTACH_MAGIC UINT32_C(0x4154544a)

enum attach_flag {
    ATTACH_WITH_C = 1,          /* carries C and a pidfd; absent: adopt the detached client of this nonce */
    ATTACH_WITH_PREVIOUS_H = 2, /* carries the H of the hub that went away */
    ATTACH_HEAD_UNSURE = 4,     /* sq_head of that H may not be the last word on what was taken: resend all of it as tainted */
};

/* Order of descriptors in the request. */
enum attach_fd { ATTACH_FD_C, ATTACH_FD_PIDFD, ATTACH_FD_PREVIOUS_H, ATTACH_FDS_MAX };

struct attach_request {
    uint32_t magic, bytes;
    uint16_t abi_major_min, abi_major_max, abi_minor, reserved0;
    uint32_t flags;
    uint64_t fingerprint;
    uint64_t features_required, features_optional;
    uint64_t monotonic_ns; /* the client's clock; differs from the hub's in another time namespace */
    uint8_t nonce[SHM_NONCE_BYTES];
    char command[32]; /* what the process calls itself; for people */
};

enum attach_status {
    ATTACH_OK = 0,
    ATTACH_VERSION = 1,        /* final */
    ATTACH_PERMISSION = 2,     /* final: uid or gid is not allowed */
    ATTACH_LIMIT = 3,          /* a cap of the hub or of the uid is reached */
    ATTACH_QUARANTINED = 4,    /* final: this client broke the protocol before */
    ATTACH_INVALID = 5,        /* final: a descriptor or the segment is not as agreed */
    ATTACH_DRAINING = 6,       /* the hub is stopping; try its successor */
    ATTACH_UNKNOWN_CLIENT = 7, /* nothing to adopt under this nonce: attach with C */
};

struct attach_reply {
    uint32_t magic, bytes;
    uint32_t status; /* enum attach_status */
    uint32_t hub_pid;
    uint64_t client_number;
    uint64_t epoch;
    char text[160]; /* why, for people; terminated */
};

_Static_assert(sizeof(struct attach_request) == 104, "attach_request");
_Static_assert(sizeof(struct attach_reply) == 192, "attach_reply");
