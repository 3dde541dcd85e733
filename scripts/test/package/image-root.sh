#!/usr/bin/env bash
# Runs a program of an unpacked image as a container runtime does with a read-only root: as the image's user, without
# rights, with processes and mounts of its own. Needs root.
# usage: image-root.sh ROOT USER DATA PROGRAM [ARGUMENT]...    DATA: a directory with etc, run and lib, which are mounted
set -euo pipefail
export root=$1 user=$2 data=$3
chroot=$(command -v chroot)
export chroot
shift 3
exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$data/etc" "$root/etc/teapot-kms"
  mount --bind "$data/run" "$root/run/teapot-kms"
  mount --bind "$data/lib" "$root/var/lib/teapot-kms"
  mount -o remount,bind,ro "$root"
  cd "$root"
  exec env -i PATH=/usr/bin "$chroot" --userspec="$user" . "$@"
' bash "$@"
