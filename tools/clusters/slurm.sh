#!/usr/bin/env bash
# A real Slurm on one Debian host, for the live tests: munge, MariaDB, slurmdbd, slurmctld and
# two slurmd, all on the loopback interface, without systemd.
#
#   slurm.sh up       install what is missing (apt), boot, wait until both nodes are idle
#   slurm.sh down     stop everything
#   slurm.sh restart PROGRAM | stop PROGRAM | start PROGRAM     slurmctld, slurmdbd, slurmd
#   slurm.sh cache FOLDER   have each slurmd see FOLDER through a FUSE mount of its own that
#                           remembers attributes, names and missing names for 20 seconds, as
#                           clients of a network file system do; `restart slurmd` ends it
#
# Run as root; each command may be repeated. CLUSTER_HOME (default /var/tmp/reflow-slurm) holds
# configuration, state and logs; CLUSTER_USER (default reflow) is the ordinary user who submits.
set -euo pipefail

HOME_DIR=${CLUSTER_HOME:-/var/tmp/reflow-slurm}
SUBMITTER=${CLUSTER_USER:-reflow}
CONF=$HOME_DIR/etc
LOGS=$HOME_DIR/log
STATE=$HOME_DIR/state
SOCKET=$HOME_DIR/mysql/s.sock
NODES=(n1 n2)
PACKAGES=(slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins munge mariadb-server
  python3-venv bindfs)
export SLURM_CONF=$CONF/slurm.conf

say() { echo "slurm.sh: $*" >&2; }

# until_true SECONDS COMMAND...: wait for a command to succeed.
until_true() {
  local tries=$(($1 * 10))
  shift
  for ((; tries > 0; tries--)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  say "gave up waiting for: $*; see $LOGS"
  return 1
}

running() { # running PIDFILE PROGRAM
  [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]
}

install_packages() {
  local missing=()
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

make_folders() {
  mkdir -p "$CONF" "$LOGS" "$STATE/ctld" "$STATE/run" "$HOME_DIR/mysql/data" /etc/slurm
  chmod 755 "$HOME_DIR"
  chown slurm:slurm "$LOGS" "$STATE/ctld"
  chown mysql:mysql "$HOME_DIR/mysql" "$HOME_DIR/mysql/data"
  id "$SUBMITTER" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$SUBMITTER"
}

write_configuration() {
  # With the version 1 memory controller limits are enforced, and out of memory is real.
  local tracking=linuxproc task=none over=JobAcctGatherParams=OverMemoryKill
  if [ -d /sys/fs/cgroup/memory ]; then
    tracking=cgroup task=cgroup over=
  fi
  local host
  host=$(hostname -s)
  cat >"$CONF/slurmdbd.conf" <<END
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=26819
CommunicationParameters=NoInAddrAny
SlurmUser=slurm
LogFile=$LOGS/slurmdbd.log
PidFile=$STATE/ctld/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=23306
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_accounting
CommitDelay=1
END
  chown slurm:slurm "$CONF/slurmdbd.conf"
  chmod 600 "$CONF/slurmdbd.conf"
  cat >"$CONF/cgroup.conf" <<END
CgroupPlugin=cgroup/v1
CgroupAutomount=yes
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
END
  cat >"$CONF/slurm.conf" <<END
ClusterName=reflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPidFile=$STATE/ctld/slurmctld.pid
SlurmctldLogFile=$LOGS/slurmctld.log
SlurmdPidFile=$STATE/run/slurmd-%n.pid
SlurmdLogFile=$LOGS/slurmd-%n.log
SlurmdSpoolDir=$STATE/slurmd-%n
StateSaveLocation=$STATE/ctld
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/$tracking
TaskPlugin=task/$task
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
MaxArraySize=1001
MaxJobCount=20000
MinJobAge=300
KillWait=2
MessageTimeout=${MESSAGE_TIMEOUT:-10}
SlurmctldTimeout=60
SlurmdTimeout=60
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_max_job_test=2000,default_queue_depth=2000
PriorityType=priority/basic
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
$over
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=26819
AccountingStorageEnforce=associations,limits
AccountingStoreFlags=job_comment
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=$host Port=26821 CPUs=8 RealMemory=6000 State=UNKNOWN
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname=$host Port=26822 CPUs=8 RealMemory=6000 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=compute Nodes=n1,n2 Default=YES MaxTime=24:00:00 DefaultTime=00:30:00 PreemptMode=OFF State=UP
PartitionName=short Nodes=n1,n2 Default=NO MaxTime=00:10:00 DefaultTime=00:05:00 PreemptMode=OFF State=UP
PartitionName=low Nodes=n1,n2 Default=NO MaxTime=00:10:00 DefaultTime=00:05:00 PriorityTier=1 State=UP
PartitionName=high Nodes=n1,n2 Default=NO MaxTime=00:10:00 DefaultTime=00:05:00 PriorityTier=9 PreemptMode=OFF State=UP
PartitionName=down Nodes=n2 Default=NO MaxTime=00:10:00 State=DOWN
END
  for file in slurm.conf cgroup.conf slurmdbd.conf; do
    ln -sfn "$CONF/$file" "/etc/slurm/$file"
  done
}

start_munge() {
  mkdir -p /run/munge
  chown munge:munge /run/munge
  munge -n >/dev/null 2>&1 && return
  runuser -u munge -- /usr/sbin/munged
  until_true 10 munge -n
}

sql() { mariadb --no-defaults -u root -S "$SOCKET" "$@"; }

start_database() {
  if [ ! -d "$HOME_DIR/mysql/data/mysql" ]; then
    mariadb-install-db --no-defaults --user=mysql --datadir="$HOME_DIR/mysql/data" \
      --auth-root-authentication-method=normal >"$LOGS/mysql-install.log" 2>&1
  fi
  if ! sql -e 'SELECT 1' >/dev/null 2>&1; then
    setsid mariadbd --no-defaults --user=mysql --datadir="$HOME_DIR/mysql/data" \
      --socket="$SOCKET" --pid-file="$HOME_DIR/mysql/pid" --bind-address=127.0.0.1 --port=23306 \
      --innodb-buffer-pool-size=128M --innodb-lock-wait-timeout=900 \
      --innodb-flush-log-at-trx-commit=0 --skip-log-bin >"$LOGS/mariadb.log" 2>&1 </dev/null &
    until_true 60 sql -e 'SELECT 1'
  fi
  sql -e "CREATE DATABASE IF NOT EXISTS slurm_accounting;
    CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm';
    CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
    GRANT ALL ON slurm_accounting.* TO 'slurm'@'localhost';
    GRANT ALL ON slurm_accounting.* TO 'slurm'@'127.0.0.1';"
}

start_slurmdbd() {
  running "$STATE/ctld/slurmdbd.pid" slurmdbd || (cd "$LOGS" && runuser -u slurm -- /usr/sbin/slurmdbd)
  until_true 60 sacctmgr -in list cluster
}

# have FIELD WHAT...: whether accounting lists a value of FIELD that is not empty.
have() { sacctmgr -inP list "${@:2}" format="$1" | grep -q .; }

fill_accounting() {
  have cluster cluster name=reflow || sacctmgr -iQ add cluster reflow >/dev/null
  have account account name=science ||
    sacctmgr -iQ add account science,limited Description=tests Organization=tests >/dev/null
  have user assoc user="$SUBMITTER" ||
    sacctmgr -iQ add user "$SUBMITTER" account=science,limited defaultaccount=science >/dev/null
  # So that a submission limit can be met: five jobs, array elements counted.
  sacctmgr -iQ modify user "$SUBMITTER" where account=limited set MaxSubmitJobs=5 >/dev/null || true
  have user assoc user=root || sacctmgr -iQ add user root account=root >/dev/null
}

start_slurmctld() {
  running "$STATE/ctld/slurmctld.pid" slurmctld || (cd "$LOGS" && runuser -u slurm -- /usr/sbin/slurmctld)
  until_true 60 scontrol ping
}

start_slurmd() {
  for node in "${NODES[@]}"; do
    mkdir -p "$STATE/slurmd-$node"
    running "$STATE/run/slurmd-$node.pid" slurmd || ${CACHED:+cached} /usr/sbin/slurmd -N "$node"
  done
  until_true 60 nodes_up
}

# cached COMMAND...: run it in a mount namespace where $CACHED is seen through a caching mount.
cached() {
  unshare --mount sh -c '
    folder=$1
    shift
    mount --make-rprivate /
    bindfs -o attr_timeout=20,entry_timeout=20,negative_timeout=20,allow_other "$folder" "$folder"
    exec "$@"
  ' cached "$CACHED" "$@"
}

nodes_up() {
  for node in "${NODES[@]}"; do
    if scontrol show node "$node" | grep -Eq 'State=[A-Z+]*(DOWN|DRAIN)'; then
      scontrol update nodename="$node" state=resume
    fi
  done
  [ "$(sinfo -h -N -p compute -o %t | grep -Ec '^(idle|mix|alloc)$')" = ${#NODES[@]} ]
}

stop_program() {
  local pid
  for file in "$STATE"/ctld/"$1".pid "$STATE"/run/"$1"-*.pid; do
    if running "$file" "$1"; then
      pid=$(cat "$file")
      kill "$pid"
      until_true 30 bash -c "! kill -0 $pid"
    fi
  done
  [ "$1" != slurmd ] || pkill -x bindfs || true
}

case ${1:-} in
  up)
    install_packages
    make_folders
    write_configuration
    start_munge
    start_database
    start_slurmdbd
    fill_accounting
    start_slurmctld
    start_slurmd
    sinfo
    ;;
  down)
    for program in slurmd slurmctld slurmdbd; do stop_program "$program"; done
    [ -s "$HOME_DIR/mysql/pid" ] && kill "$(cat "$HOME_DIR/mysql/pid")" || true
    ;;
  stop) stop_program "$2" ;;
  start) "start_$2" ;;
  cache)
    stop_program slurmd
    CACHED=$2 start_slurmd
    ;;
  restart)
    stop_program "$2"
    "start_$2"
    ;;
  *)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
