/*
 * Runs a fuzz target over a folder of inputs, for compilers without libFuzzer
 * and for every sanitizer: each file whole, and cut at every byte. Inputs are
 * given in blocks of exactly their size, so that a read beyond them is seen.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536

static void run_one(const uint8_t *data, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        exit(2);
    memcpy(exact, data, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void replay_file(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    size_t len = fread(data, 1, sizeof(data), f);
    fclose(f);
    for (size_t cut = 0; cut <= len; cut++)
        run_one(data, cut);
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        replay_file(path);
        files++;
    }
    closedir(dir);
    printf("%u inputs replayed\n", files);
    return files ? 0 : 2;
}
