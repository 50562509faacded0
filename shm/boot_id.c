#include "shm/boot_id.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void boot_id_read(uint8_t id[16])
{
    char text[64] = "";
    memset(id, 0, 16);
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!f)
        return;
    if (!fgets(text, sizeof(text), f))
        text[0] = '\0';
    fclose(f);
    unsigned digits = 0;
    for (const char *p = text; *p && digits < 32; p++) {
        if (!isxdigit((unsigned char)*p))
            continue;
        unsigned value = (unsigned)(isdigit((unsigned char)*p) ? *p - '0' : (*p | 0x20) - 'a' + 10);
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | value);
        digits++;
    }
}
