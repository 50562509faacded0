/*
 * Signs every request with the keys of a credentials file (4.9.3's AclClientRPCHook).
 */
#pragma once

#include "hub/remoting/rpc_hook.h"

/**
 * The hook for a credentials file (see acl_credentials.h). A reload makes a new hook: requests that are signed already are not
 * touched by it. 0 | -errno and one line in @p why: credentials are wanted, so without the hook nothing may be sent.
 */
int acl_client_rpc_hook_new(struct rpc_hook **out, const char *credentials_file, char *why, size_t cap);
