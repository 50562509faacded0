#!/usr/bin/env bash
# The same checks against rmqhub-devbroker and against real RocketMQ servers; says which, with numbers.
#   tests/real/run.sh [devbroker|4.9.3|5.3.3|all] [--only CHECK]     default: all, that is the three one after the other
# The programs under test come from $RMQHUB_BUILD_DIR (default build/dev). Logs and ledgers stay in its folder real/.
# Without Maven or a JDK there is nothing to compare with: the run is skipped with a line that says so, except in CI
# (CI=true), where that is a failure. Jars are fetched once, see fetch.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${RMQHUB_BUILD_DIR:-$here/../../build/dev}
readonly REFERENCE=4.9.3 # whose client and tools are the reference, against every server

target=all
case ${1:-} in
    devbroker | 4.9.3 | 5.3.3 | all)
        target=$1
        shift
        ;;
esac
case $target in
    all) servers="devbroker 4.9.3 5.3.3" ;;
    *) servers=$target ;;
esac

for tool in mvn javac java python3; do
    if ! command -v "$tool" >/dev/null; then
        if [ "${CI:-false}" != false ]; then
            echo "tests/real: $tool is missing; in CI that is a failure" >&2
            exit 1
        fi
        echo "tests/real: skipped, $tool is missing (Debian: apt install maven default-jdk-headless python3)"
        exit 0
    fi
done

python3 -B "$here/self_test.py" -q

work=$build/real
classes=$work/classes
mkdir -p "$classes"
jars=()
for version in $REFERENCE $servers; do
    [ "$version" != devbroker ] || continue
    jars+=(--jars "$version=$("$here/fetch.sh" "$version")")
done
javac -encoding UTF-8 -d "$classes" -cp "${jars[1]#*=}/*" "$here"/*.java "$here"/../conformance/*.java

# shellcheck disable=SC2086 # one word a server
exec python3 -B "$here/suite.py" --build "$build" --work "$work" --classes "$classes" --reference $REFERENCE "${jars[@]}" "$@" $servers
