#!/usr/bin/env bash
# Downloads servers for the tests on several of them into the folder $1: Redis 8.0 and Valkey 8.1 from the packages of Debian trixie, and the
# newest ones (Redis 8.6 and Valkey 9.1, when this was written) from sid and experimental. $1/redis-server-8.0 and so on start
# them on a machine with any release. Needs Debian's apt; no root.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
script=$(realpath "$0")
cmp -s "$script" "$out/done" && exit # the same script has done it already
# shellcheck disable=SC2016  # $(SITE) is apt's own
mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg

unpack() { # unpack FOLDER "RELEASES" PACKAGE...: unpacks packages of these releases, with all that they need, into $out/FOLDER
  local root=$out/$1 apt=$out/$1/apt releases=$2 release package
  shift 2
  # A separate apt: its lists and packages are in the folder, and it ignores all installed packages.
  mkdir -p "$apt"/{lists,archives}/partial
  for release in $releases; do echo "deb [signed-by=$keys] ${mirror:?needs a source of Debian packages} $release main"; done >"$apt/sources.list"
  # Without this, apt prefers an older version to one of experimental.
  printf 'Package: *\nPin: release o=Debian\nPin-Priority: 500\n' >"$apt/preferences"
  cat >"$apt/conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "$apt/preferences";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$apt";
Dir::Cache::Archives "$apt/archives";
Debug::NoLocking "true";
APT::Sandbox::User "";
CONF
  {
    APT_CONFIG=$apt/conf apt-get update
    APT_CONFIG=$apt/conf apt-get install --yes --no-install-recommends --download-only "$@"
  } >"$apt/log" 2>&1 || { tail "$apt/log" >&2; exit 1; }
  for package in "$apt"/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done
  rm -r "$apt"
}

start() { # start NAME FOLDER PROGRAM: writes the script $out/NAME, which runs the program with the C library of its own release
  local loader libraries
  loader=$(echo "$out/$2"/usr/lib*/ld-linux-*.so.*)
  libraries=$(echo "$out/$2"/usr/lib/*-linux-gnu)
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$out/$2/usr/bin/$3" >"$out/$1"
  chmod +x "$out/$1"
  "$out/$1" --version
}

unpack trixie trixie redis-server valkey-server
unpack newest 'sid experimental' redis-server valkey-server
start redis-server-8.0 trixie redis-server
start valkey-server-8.1 trixie valkey-server
start redis-server-newest newest redis-server
start valkey-server-newest newest valkey-server
cp "$script" "$out/done"
