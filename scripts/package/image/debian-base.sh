#!/usr/bin/env bash
# Unpacks what the image is based on, of Debian packages of this machine's release, to a directory: the C and C++ libraries,
# certificates, and a user that is not root. No shell, and no package manager. apt checks the packages' signatures.
# usage: debian-base.sh DIRECTORY    prints each package and its version
set -euo pipefail
directory=$(realpath -m "$1")
packages=(base-files ca-certificates libatomic1 libc6 libgcc-s1 libstdc++6 netbase)
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT
# For the user that apt downloads as.
chmod 0777 "$downloads"
mkdir -p "$directory/var/lib/dpkg/status.d"
cd "$downloads"
download() {
  # Its version is in its name. It has the licence of the libraries of GCC.
  local base
  base=$(apt-cache depends libgcc-s1 | grep -o 'gcc-[0-9]*-base')
  apt-get -qq download "${packages[@]}" "$base" >&2
}
# The lists may be missing, or older than the archive.
download || { apt-get -qq update >&2 && download; }
for package in *.deb; do
  dpkg-deb --extract "$package" "$directory"
  # Scanners of images read these.
  dpkg-deb --field "$package" >"$directory/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
  dpkg-deb --show --showformat '${Package} ${Version}\n' "$package"
done
cd "$directory"
find usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
rm -rf usr/share/man usr/share/locale usr/share/lintian usr/share/info usr/lib/*/gconv usr/sbin usr/bin sbin bin etc/update-motd.d
find usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | xargs cat >certificates.crt
install -D -m 0644 certificates.crt etc/ssl/certs/ca-certificates.crt
rm certificates.crt
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' >etc/group
printf 'hosts: files dns\n' >etc/nsswitch.conf
find . -type d -empty -path './usr/*' -delete
