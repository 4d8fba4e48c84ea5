-- Two databases on a server of your own, and three roles: one owns the tables and migrates them, one reads and writes
-- rows, one reads. An administrator runs it with psql, at first and again whenever rights are in doubt.
-- Other names of the databases: psql --set historical=NAME --set runtime=NAME. Passwords come from the variables
-- OWNER_PASSWORD, APP_PASSWORD and READER_PASSWORD; a role whose variable is empty keeps what it has.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\if :{?historical}
\else
  \set historical prometheus_historical
\endif
\if :{?runtime}
\else
  \set runtime prometheus_runtime
\endif
\set owner_password `printf %s "$OWNER_PASSWORD"`
\set app_password `printf %s "$APP_PASSWORD"`
\set reader_password `printf %s "$READER_PASSWORD"`

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['prometheus_owner', 'prometheus_app', 'prometheus_reader']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', name, password)
FROM (VALUES ('prometheus_owner', :'owner_password'), ('prometheus_app', :'app_password'),
             ('prometheus_reader', :'reader_password')) AS given (name, password)
WHERE password <> '' \gexec
ALTER ROLE prometheus_reader SET default_transaction_read_only = on;

-- an administrator who is no superuser makes databases for, and grants rights of, roles that he is a member of
SELECT 'GRANT prometheus_owner TO CURRENT_USER' WHERE NOT pg_has_role('prometheus_owner', 'USAGE') \gexec

SELECT format('CREATE DATABASE %I OWNER prometheus_owner ENCODING ''UTF8'' TEMPLATE template0', name)
FROM (SELECT DISTINCT unnest(ARRAY[:'historical', :'runtime'])) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE :"historical", :"runtime" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"historical", :"runtime" TO prometheus_app;
GRANT CONNECT ON DATABASE :"historical", :"runtime" TO prometheus_reader;

\connect :"historical"
SET client_min_messages = warning;
-- only similar_index needs pgvector; where a superuser must create it, similar_index says so
SELECT 'CREATE EXTENSION IF NOT EXISTS vector'
WHERE EXISTS (SELECT FROM pg_available_extension_versions WHERE name = 'vector'
              AND (trusted OR NOT superuser OR current_setting('is_superuser') = 'on')) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO prometheus_owner;
GRANT USAGE ON SCHEMA public TO prometheus_app, prometheus_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO prometheus_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO prometheus_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO prometheus_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public GRANT SELECT ON TABLES TO prometheus_reader;
-- lets a big backfill end with a VACUUM of its own; before PostgreSQL 17 autovacuum does that
SELECT statement
FROM unnest(ARRAY['GRANT MAINTAIN ON ALL TABLES IN SCHEMA public TO prometheus_app',
                  'ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public'
                  ' GRANT MAINTAIN ON TABLES TO prometheus_app']) AS statement
WHERE current_setting('server_version_num')::integer >= 170000 \gexec

\connect :"runtime"
SET client_min_messages = warning;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO prometheus_owner;
GRANT USAGE ON SCHEMA public TO prometheus_app, prometheus_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO prometheus_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO prometheus_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO prometheus_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO prometheus_app;
ALTER DEFAULT PRIVILEGES FOR ROLE prometheus_owner IN SCHEMA public GRANT SELECT ON TABLES TO prometheus_reader;
