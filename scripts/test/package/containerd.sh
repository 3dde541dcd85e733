#!/usr/bin/env bash
# Runs containerd with mounts, processes and a network of its own, until it is killed. Needs root and runc in PROGRAMS.
# usage: containerd.sh PROGRAMS DIRECTORY    DIRECTORY: for what it keeps; its socket is DIRECTORY/containerd.sock
set -euo pipefail
export PATH=$1:$PATH directory=$2
exec unshare --mount --net --ipc --uts --pid --fork --kill-child --mount-proc --propagation private bash -euc '
  mount -t tmpfs -o mode=755 run /run
  exec containerd --root "$directory/root" --state /run/containerd --address "$directory/containerd.sock"
'
