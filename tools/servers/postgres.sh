#!/usr/bin/env bash
# Installs a PostgreSQL server from Debian's packages, for the tests: they make and start servers of
# their own, as an ordinary user. Nothing is started here. Run as root; may be repeated.
set -euo pipefail

if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  exit 0
fi
echo "postgres.sh: installing postgresql" >&2
apt-get update -qq
# Without this Debian makes a server of the system's and starts it.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
ls /usr/lib/postgresql/*/bin/initdb
