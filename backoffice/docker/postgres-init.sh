#!/bin/bash
# First start of the database: its owner, who is no superuser and writes (cdb_writer); a reader for the other services,
# which read what Redis has trimmed; and a reader for dashboards. A reader can change nothing, not even temporarily.
set -euo pipefail

owner_password=$(cat /run/claire/postgres/password)
service_password=$(cat /run/claire/postgres/service_password)
reader_password=$(cat /run/claire/postgres/reader_password)

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres \
     --set owner_password="$owner_password" --set service_password="$service_password" \
     --set reader_password="$reader_password" <<'SQL'
CREATE ROLE claire LOGIN PASSWORD :'owner_password';
CREATE ROLE claire_service LOGIN PASSWORD :'service_password';
ALTER ROLE claire_service SET default_transaction_read_only = on;
CREATE ROLE claire_reader LOGIN PASSWORD :'reader_password' CONNECTION LIMIT 10;
ALTER ROLE claire_reader SET default_transaction_read_only = on;
ALTER ROLE claire_reader SET statement_timeout = '15s';
CREATE DATABASE claire_de_binare OWNER claire ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT, TEMPORARY ON DATABASE claire_de_binare FROM PUBLIC;
GRANT CONNECT ON DATABASE claire_de_binare TO claire_reader, claire_service;
\connect claire_de_binare
ALTER SCHEMA public OWNER TO claire;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO claire_reader, claire_service;
ALTER DEFAULT PRIVILEGES FOR ROLE claire GRANT USAGE ON SCHEMAS TO claire_reader, claire_service;
ALTER DEFAULT PRIVILEGES FOR ROLE claire GRANT SELECT ON TABLES TO claire_reader, claire_service;
SQL
