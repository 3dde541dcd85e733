#!/usr/bin/env bash
# Boots systemd on a Debian root as a machine of its own: its processes, mounts, network, host name and cgroups are apart,
# and what it changes is in memory only. Runs until it is killed, and everything in it ends with it.
# usage: machine.sh NAME ROOT SCRATCH    NAME: of its cgroup and host    SCRATCH: an empty directory
set -euo pipefail
name=$1 root=$2 scratch=$3
export name root scratch
# A cgroup of its own in the hierarchy of systemd, which on cgroup v2 is the only one.
if [ -d /sys/fs/cgroup/systemd ]; then group=/sys/fs/cgroup/systemd/$name; else group=/sys/fs/cgroup/$name; fi
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"
exec unshare --net --mount --ipc --uts --cgroup --pid --fork --kill-child --propagation private bash -euc '
  hostname "$name"
  mount -t tmpfs -o mode=755 machine "$scratch"
  mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
  mount -t overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" machine "$scratch/root"
  cd "$scratch/root"
  # PID 1 would apply these to the whole machine that this one runs on.
  rm -rf usr/lib/sysctl.d etc/sysctl.d
  mount -t proc proc proc
  mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
  mount -t sysfs -o ro sysfs sys
  if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    cgroups="systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=yes"
  else
    mount -t cgroup2 cgroup sys/fs/cgroup
    cgroups=
  fi
  mount -t tmpfs -o mode=755 dev dev
  for device in null zero full random urandom tty; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do ln -s "/proc/self/${link#*:}" "dev/${link%%:*}"; done
  mount -t tmpfs -o mode=755 run run
  # shellcheck disable=SC2086 # several words
  exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd $cgroups
'
