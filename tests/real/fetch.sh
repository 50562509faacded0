#!/usr/bin/env bash
# Brings the jars of one RocketMQ release into a cache outside the build tree and prints its directory:
#   tests/real/fetch.sh 4.9.3
# A second run needs no network. The cache is ${RMQHUB_REAL_CACHE:-${XDG_CACHE_HOME:-~/.cache}/rmqhub/real}/VERSION;
# a directory counts as complete only once it has been renamed into place, so a broken download is never used.
set -euo pipefail

version=${1:?usage: fetch.sh VERSION}
here=$(cd "$(dirname "$0")" && pwd)
cache=${RMQHUB_REAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rmqhub/real}
jars=$cache/$version

if [ -d "$jars" ]; then
    echo "$jars"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.fetch-$version.XXXXXX")
trap 'rm -rf "$work"' EXIT
sed "s/@VERSION@/$version/" "$here/pom.xml.in" >"$work/pom.xml"

# Downloads fail now and then for reasons of their own; Maven keeps what it already has, so trying again is cheap.
for attempt in 1 2 3 4 5; do
    if mvn -B -q -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/jars" -DincludeScope=runtime >&2; then
        break
    fi
    if [ "$attempt" = 5 ]; then
        echo "fetch.sh: RocketMQ $version could not be downloaded with Maven in $attempt attempts" >&2
        exit 1
    fi
    echo "fetch.sh: attempt $attempt for RocketMQ $version failed, trying again" >&2
    sleep $((attempt * 3))
done

# Two runs may race: whoever renames first wins, the other one's copy is the same and is dropped.
mv -T "$work/jars" "$jars" 2>/dev/null || [ -d "$jars" ]
echo "$jars"
