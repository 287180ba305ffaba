#!/usr/bin/env bash
# Keycloak from Maven Central with the realm of this folder, on 127.0.0.1:8180 until Ctrl-C. Needs mvn, unzip and Java 17
# or newer. It is for trying out: the login is admin/admin, http is plain, and the database starts anew each time.
set -euo pipefail
VERSION=26.7.3
here=$(cd "$(dirname "$0")" && pwd)
folder=$here/../../.run/keycloak
home=$folder/keycloak-$VERSION

if [ ! -x "$home/bin/kc.sh" ]; then
    mkdir -p "$folder"
    mvn --quiet --batch-mode dependency:copy \
        -Dartifact="org.keycloak:keycloak-quarkus-dist:$VERSION:zip" -DoutputDirectory="$folder"
    unzip -q -o "$folder/keycloak-quarkus-dist-$VERSION.zip" -d "$folder"
fi
rm -rf "$home/data"
mkdir -p "$home/data/import"
cp "$here/realm.json" "$home/data/import/"
export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
exec "$home/bin/kc.sh" start-dev --import-realm --http-host=127.0.0.1 --http-port=8180
