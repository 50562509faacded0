/*
 * Namespaces: a prefix `ns%` that a client puts before its groups and topics (4.9.3's NamespaceUtil).
 */
#pragma once

#include <stddef.h>

#include "shm/base/bytes.h"

/**
 * Writes the wrapped, terminated name into @p dst: unchanged without a namespace, for system resources and for what carries it
 * already; %RETRY% and %DLQ% stay in front. @return the length, or 0 when it does not fit.
 */
size_t namespace_wrap(char *dst, size_t cap, struct span name_space, struct span resource);
