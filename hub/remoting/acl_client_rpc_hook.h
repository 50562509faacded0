/*
 * Signs every request with the keys of a credentials file (4.9.3's AclClientRPCHook).
 */
#pragma once

#include "hub/remoting/rpc_hook.h"

/** Positive result: the file was refused; the hook is there, and refuses every request with that reason. */
#define ACL_HOOK_REFUSES 1

/**
 * The hook for a credentials file (see acl_credentials.h). A file that is refused gives a hook that refuses: credentials are
 * wanted, so nothing may leave unsigned, while the instance can start and a reload with a better file heals it.
 * A reload makes a new hook; requests that are written already are not touched by it.
 * 0 | ACL_HOOK_REFUSES and one line in @p why | -ENOMEM.
 */
int acl_client_rpc_hook_new(struct rpc_hook **out, const char *credentials_file, char *why, size_t cap);
