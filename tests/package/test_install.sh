#!/usr/bin/env bash
# Installs a build tree into a temporary folder and uses librmqhub as an application would: found by pkg-config, linked
# shared and static. Also holds what the library promises about itself: it exports the functions of its header and
# nothing else, needs libc alone, and can neither print, end the process nor start a thread.
#   test_install.sh BUILD_DIR COMPILER VERSION
set -euo pipefail
build=$1 compiler=$2 version=$3
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT

fail() {
    printf 'test_install: %s\n' "$*" >&2
    exit 1
}

same() { # WHAT WANTED GOT
    diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") || fail "$1 differs (< wanted, > got)"
}

cmake --install "$build" --prefix "$prefix" >/dev/null
pc=$(find "$prefix" -name rmqhub.pc)
[[ -n $pc ]] || fail "no rmqhub.pc was installed"
lib=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH=${pc%/*} LD_LIBRARY_PATH=$lib

cat >"$prefix/app.c" <<'END'
#include <rmqhub.h>
#include <stdio.h>

/* Names of the library's inside, which it must not give away or take from us. */
int text_copy(void);
int text_copy(void) { return 1; }

int main(void)
{
    rmqhub_t *hub = NULL;
    rmqhub_options_t *options = rmqhub_options_new();
    rmqhub_options_set_runtime_dir(options, "/nonexistent/rmqhub");
    int error = rmqhub_attach(options, rmqhub_deadline_after_ms(200), &hub);
    rmqhub_options_free(options);
    printf("%s %s\n", rmqhub_version(), rmqhub_error_name(error));
    return text_copy() == 1 ? 0 : 1;
}
END
# shellcheck disable=SC2046 # pkg-config prints words
"$compiler" -std=c11 -Wall -Werror "$prefix/app.c" $(pkg-config --define-prefix --cflags --libs rmqhub) -o "$prefix/app-shared"
# shellcheck disable=SC2046 # pkg-config prints words
"$compiler" -std=c11 -Wall -Werror "$prefix/app.c" $(pkg-config --define-prefix --cflags rmqhub) "$lib/librmqhub.a" -o "$prefix/app-static"
for app in shared static; do
    same "what the $app application says" "$version RMQHUB_ERR_HUB_NOT_RUNNING" "$("$prefix/app-$app")"
done
same "the version in rmqhub.pc" "$version" "$(pkg-config --modversion rmqhub)"

names() { nm "$@" --defined-only | awk 'NF == 3 && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u; }
declared=$(sed -n 's/^RMQHUB_API .*[ *]\(rmqhub_[a-z0-9_]*\)(.*/\1/p' "$prefix/include/rmqhub.h" | sort -u)
same "what the shared library exports" "$declared" "$(names -D "$lib/librmqhub.so")"
same "what the static library exports" "$declared" "$(names -g "$lib/librmqhub.a")"
same "what the shared library needs" libc.so.6 "$(readelf -d "$lib/librmqhub.so" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')"
forbidden=$(nm -D -u "$lib/librmqhub.so" | awk '{ sub(/@.*/, "", $2); print $2 }' |
    grep -xE '_?exit|abort|_Exit|quick_exit|raise|kill|__assert_fail|v?f?printf|__v?f?printf_chk|puts|fputs|perror|syslog|fopen|system|fork|pthread_create|thrd_create|signal|sigaction' || true)
[[ -z $forbidden ]] || fail "the library calls $forbidden"
