#!/usr/bin/env bash
# Copy an output folder into an archive, also while runs write to it.
#   bash deploy/backup.sh OUTPUT ARCHIVE, for example runs backup/runs.tar
# SQLite copies its databases itself, so that none is caught in the middle of a change. Other files are made under a name of their own
# and then renamed, so that none is caught half-written, and a record whose file came too late for the archive is made anew.
set -euo pipefail
usage="usage: bash deploy/backup.sh OUTPUT ARCHIVE, for example runs backup/runs.tar"
output=${1:?$usage}
archive=${2:?$usage}
[ -d "$output" ] || { echo "$output is no folder; give the one that runs are written in" >&2; exit 2; }

copies=$(mktemp -d)
trap 'rm -rf "$copies" "$archive.part"' EXIT
find "$output" -name '*.db' -type f -printf '%P\0' | while IFS= read -r -d '' database; do
    mkdir -p "$copies/$(dirname "$database")"
    "${PYTHON:-python3}" - "$output/$database" "$copies/$database" <<'END'
import contextlib, sqlite3, sys

with contextlib.closing(sqlite3.connect(sys.argv[1])) as source, contextlib.closing(sqlite3.connect(sys.argv[2])) as copy:
    source.backup(copy)
END
done
tar --create --file "$archive.part" --directory "$output" --exclude '*.db' --exclude '*.db-wal' --exclude '*.db-shm' . ||
    [ $? -eq 1 ] # a file grew or went away meanwhile
tar --append --file "$archive.part" --directory "$copies" .
sync "$archive.part"
mv "$archive.part" "$archive"
