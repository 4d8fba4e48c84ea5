#!/bin/sh
# Run by the image of PostgreSQL when the volume is empty: two databases, who owns them, who writes rows, who reads.
set -eu
OWNER_PASSWORD="$(cat /run/secrets/owner)"
APP_PASSWORD="$(cat /run/secrets/app)"
READER_PASSWORD="$(cat /run/secrets/reader)"
export OWNER_PASSWORD APP_PASSWORD READER_PASSWORD
psql --username postgres --dbname postgres --file /run/roles.sql
