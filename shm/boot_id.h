/*
 * Which boot of this host: monotonic times of two boots must not be compared.
 */
#pragma once

#include <stdint.h>

/** The kernel's boot id; all zero when it cannot be read. */
void boot_id_read(uint8_t id[16]);
