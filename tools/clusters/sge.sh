#!/usr/bin/env bash
# A real Grid Engine (Son of Grid Engine) on one Debian host, for the live tests: a qmaster and
# an execd on the loopback interface, without systemd.
#
#   sge.sh up         install what is missing (apt), boot, wait until the queue takes jobs
#   sge.sh down       stop everything
#   sge.sh restart PROGRAM | stop PROGRAM | start PROGRAM     qmaster, execd
#   sge.sh set NAME=VALUE...    change the cell's configuration, such as max_u_jobs=5
#
# Run as root; each command may be repeated. The cell is the one of Debian's packages.
# CLUSTER_USER (default reflow) is the ordinary user who submits.
set -euo pipefail

SUBMITTER=${CLUSTER_USER:-reflow}
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
COMMON=$SGE_ROOT/$SGE_CELL/common
SPOOL=/var/spool/gridengine
RUN=/run/gridengine
HOST=$(hostname)
ADMIN=sgeadmin
PACKAGES=(gridengine-master gridengine-exec gridengine-client)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
chmod 755 "$WORK"

say() { echo "sge.sh: $*" >&2; }

# until_true SECONDS COMMAND...: wait for a command to succeed.
until_true() {
  local tries=$(($1 * 10))
  shift
  for ((; tries > 0; tries--)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  say "gave up waiting for: $*"
  tail -n 20 "$SPOOL"/qmaster/messages "$SPOOL"/execd/*/messages /tmp/*_messages.* >&2 2>/dev/null || true
  return 1
}

# Only this user is a manager of the cell that the packages make.
configure() { runuser -u "$ADMIN" -- /usr/bin/qconf "$@"; }

installed() {
  [ "$(dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -c 'ok installed')" = $# ]
}

install_packages() {
  installed "${PACKAGES[@]}" && return
  say "installing ${PACKAGES[*]}"
  local package
  for package in gridengine-common "${PACKAGES[@]}"; do
    echo "$package shared/gridengineconfig boolean true"
    echo "$package shared/gridenginecell string $SGE_CELL"
    echo "$package shared/gridenginemaster string $HOST"
  done | debconf-set-selections
  # The daemons must not start before the host's names are settled.
  local policy=/usr/sbin/policy-rc.d mine=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    mine=yes
  fi
  apt-get update -qq
  # The small mail program keeps apt from choosing a mail server.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${PACKAGES[@]}" msmtp-mta >/dev/null
  [ -z "$mine" ] || rm -f $policy
}

# Whichever way the host is looked up, Grid Engine must come to one name.
settle_names() {
  getent hosts "$HOST" >/dev/null || echo "127.0.0.1 $HOST" >>/etc/hosts
  echo "$HOST" >"$COMMON/act_qmaster"
  {
    echo "$HOST"
    echo localhost
    getent hosts 127.0.0.1 "$HOST" | cut -d' ' -f2- | tr -s ' ' '\n'
  } | awk 'NF && !seen[$1]++ { printf "%s ", $1 }' >"$COMMON/host_aliases"
  chown "$ADMIN:$ADMIN" "$COMMON/act_qmaster" "$COMMON/host_aliases"
}

make_folders() {
  install -d -o "$ADMIN" -g "$ADMIN" "$RUN"
  if [ -z "$(ls -A "$SPOOL/spooldb" 2>/dev/null)" ]; then
    runuser -u "$ADMIN" -- /usr/share/gridengine/scripts/init_cluster \
      "$SGE_ROOT" "$SGE_CELL" "$SPOOL/spooldb" "$ADMIN" >/dev/null
  fi
  id "$SUBMITTER" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$SUBMITTER"
}

# pid_of PROGRAM: its process id, if it runs.
pid_of() {
  local file pid
  for file in "$RUN/$1.pid" "$SPOOL/$1/$1.pid" "$SPOOL/execd/$HOST/$1.pid"; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "sge_$1" ]; then
      echo "$pid"
      return
    fi
  done
  return 1
}

start_qmaster() {
  pid_of qmaster >/dev/null || SGE_MASTER_PIDFILE=$RUN/qmaster.pid /usr/sbin/sge_qmaster
  until_true 60 configure -sh
}

start_execd() {
  pid_of execd >/dev/null || SGE_EXECD_PIDFILE=$RUN/execd.pid /usr/sbin/sge_execd
  until_true 60 queue_up
}

queue_up() { qstat -f -q main.q | awk -v queue="main.q@$HOST" '$1 == queue { up = NF == 5 } END { exit !up }'; }

# put KIND NAME: add the object in the file $WORK/NAME, or change the one that is there.
put() {
  chmod 644 "$WORK/$2"
  case $1 in
    e) local list=-sel ;;
    p) local list=-spl ;;
    q) local list=-sql ;;
    hgrp) local list=-shgrpl ;;
  esac
  if configure "$list" 2>/dev/null | grep -qxF -e "$2"; then
    configure "-M$1" "$WORK/$2" >/dev/null
  else
    configure "-A$1" "$WORK/$2" >/dev/null
  fi
}

# make_queue NAME SLOTS: all that is not said here has the value that Grid Engine gives it.
make_queue() {
  configure -sq 2>/dev/null | sed -E "
    s/^(qname +).*/\1$1/
    s/^(hostlist +).*/\1@allhosts/
    s/^(load_thresholds +).*/\1NONE/
    s/^(pe_list +).*/\1smp/
    s/^(slots +).*/\1$2/
    s/^(shell +).*/\1\/bin\/sh/
    s/^(shell_start_mode +).*/\1posix_compliant/
  " >"$WORK/$1"
  put q "$1"
}

configure_cell() {
  configure -sh | grep -qxF "$HOST" || configure -ah "$HOST" >/dev/null
  configure -ss 2>/dev/null | grep -qxF "$HOST" || configure -as "$HOST" >/dev/null
  printf '%s\n' "hostname $HOST" 'load_scaling NONE' 'complex_values NONE' 'user_lists NONE' \
    'xuser_lists NONE' 'projects NONE' 'xprojects NONE' 'usage_scaling NONE' \
    'report_variables NONE' >"$WORK/$HOST"
  put e "$HOST"
  printf 'group_name @allhosts\nhostlist %s\n' "$HOST" >"$WORK/@allhosts"
  put hgrp @allhosts
  printf '%s\n' 'pe_name smp' 'slots 999' 'user_lists NONE' 'xuser_lists NONE' \
    'start_proc_args NONE' 'stop_proc_args NONE' 'allocation_rule $pe_slots' \
    'control_slaves FALSE' 'job_is_first_task TRUE' 'urgency_slots min' \
    'accounting_summary FALSE' 'qsort_args NONE' >"$WORK/smp"
  put p smp
  make_queue main.q 12
  make_queue second.q 2
  # Jobs start, and the ends of jobs are known, as soon as may be.
  configure -ssconf | sed -E '
    s/^(schedule_interval +).*/\10:0:1/
    s/^(flush_(submit|finish)_sec +).*/\11/
    s/^(job_load_adjustments +).*/\1NONE/
  ' >"$WORK/scheduler"
  chmod 644 "$WORK/scheduler"
  configure -Msconf "$WORK/scheduler" >/dev/null
  set_global load_report_time=00:00:01 administrator_mail=none max_u_jobs=0 max_jobs=0 \
    max_aj_tasks=75000 \
    'reporting_params=accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00'
}

# set_global NAME=VALUE...: change the configuration that holds for all hosts.
set_global() {
  local one
  mkdir -p "$WORK/conf"
  configure -sconf global | grep -v '^#' | awk '
    # Continued lines become one.
    { line = line $0 }
    /\\$/ { sub(/\\$/, "", line); next }
    { print line; line = "" }
  ' >"$WORK/conf/global"
  for one in "$@"; do
    sed -i -E "s|^(${one%%=*} +).*|\1${one#*=}|" "$WORK/conf/global"
  done
  chmod 755 "$WORK/conf"
  chmod 644 "$WORK/conf/global"
  configure -Mconf "$WORK/conf/global" >/dev/null
}

stop_program() {
  local pid
  pid=$(pid_of "$1") || return 0
  kill "$pid"
  until_true 30 bash -c "! kill -0 $pid" || kill -9 "$pid"
}

case ${1:-} in
  up)
    install_packages
    make_folders
    settle_names
    start_qmaster
    configure_cell
    start_execd
    qstat -f
    ;;
  down) for program in execd qmaster; do stop_program "$program"; done ;;
  stop) stop_program "$2" ;;
  start) "start_$2" ;;
  restart)
    stop_program "$2"
    "start_$2"
    ;;
  set) set_global "${@:2}" ;;
  *)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
