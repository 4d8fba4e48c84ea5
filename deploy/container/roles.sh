#!/bin/sh
# Run once by the image of PostgreSQL when the volume is empty: two databases, who owns them and who writes rows.
set -eu
psql --username postgres --dbname postgres --quiet --set ON_ERROR_STOP=1 \
  --set owner="$(cat /run/secrets/owner)" --set app="$(cat /run/secrets/app)" <<'SQL'
CREATE ROLE prometheus_owner LOGIN PASSWORD :'owner';
CREATE ROLE prometheus_app LOGIN PASSWORD :'app';
CREATE DATABASE prometheus_historical OWNER prometheus_owner;
CREATE DATABASE prometheus_runtime OWNER prometheus_owner;
SQL
for name in historical runtime; do
  psql --username postgres --dbname "prometheus_$name" --quiet --set ON_ERROR_STOP=1 <<'SQL'
SELECT current_database() LIKE '%historical' AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') AS has_vector \gset
\if :has_vector
CREATE EXTENSION IF NOT EXISTS vector;
\endif
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO prometheus_owner;
GRANT USAGE ON SCHEMA public TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO prometheus_app;
SQL
done
