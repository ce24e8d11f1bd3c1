#!/usr/bin/env bash
# Downloads Redis 8.0 and Valkey 8.1 for the tests on several servers: unpacks Debian trixie's packages into the folder $1.
# $1/redis-server-8 and $1/valkey-server-8 start them on a machine with any release. Needs Debian's apt; no root.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
[[ -e $out/done ]] && exit

# A separate apt: its lists and packages are in $out, and it ignores all installed packages.
mkdir -p "$out"/apt/{lists,archives}/partial "$out/root"
mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] ${mirror:?needs a source of Debian packages} trixie main" >"$out/apt/sources.list"
cat >"$out/apt/conf" <<CONF
Dir::Etc::SourceList "$out/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$out/apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$out/apt";
Dir::Cache::Archives "$out/apt/archives";
Debug::NoLocking "true";
APT::Sandbox::User "";
CONF
export APT_CONFIG=$out/apt/conf
{
  apt-get update
  apt-get install --yes --no-install-recommends --download-only redis-server valkey-server
} >"$out/apt/log" 2>&1 || { tail "$out/apt/log" >&2; exit 1; }
for package in "$out"/apt/archives/*.deb; do dpkg-deb --extract "$package" "$out/root"; done
rm -r "$out/apt"

# Each server runs with the C library of its own release.
loader=$(echo "$out"/root/usr/lib*/ld-linux-*.so.*)
libraries=$(echo "$out"/root/usr/lib/*-linux-gnu)
for name in redis valkey; do
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$out/root/usr/bin/$name-server" >"$out/$name-server-8"
  chmod +x "$out/$name-server-8"
  "$out/$name-server-8" --version
done
touch "$out/done"
