#!/usr/bin/env bash
# Builds three OCI archives in the folder $1: the image of the Dockerfile, and a k6 and a pause to run next to it. $2 is a k6 binary.
# The base image is a stand-in without a registry: Debian's Python of the same version, with the layout of python:slim.
# Needs root, buildah, debootstrap and catatonit (Debian's packages).
set -euo pipefail
out=$1 k6=$2
work=$(mktemp --directory)
storage=(--root "$work/storage" --runroot "$work/run" --storage-driver overlay)
end() {
  buildah "${storage[@]}" umount --all >/dev/null 2>&1 || true
  umount "$work/storage/overlay" 2>/dev/null || true # buildah mounts it over itself, and does not unmount it
  rm -rf "$work"
}
trap end EXIT

build() { # chroot isolation does not change the machine's network
  buildah "${storage[@]}" bud --quiet --isolation chroot --pull-never "$@" >/dev/null
}

# Unpacked packages are enough, and their scripts would take a minute.
debootstrap --foreign --variant=minbase --include=python3-venv trixie "$work/root" >"$work/debootstrap.log" 2>&1 ||
  { tail "$work/debootstrap.log" >&2; exit 1; }
for package in "$work"/root/var/cache/apt/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar --directory "$work/root" --extract --keep-directory-symlink --exclude='./usr/share/doc/*'
done
rm -rf "$work/root/var/cache/apt" "$work/root/debootstrap"
find "$work/root" -maxdepth 1 -type l \( -name proc -o -name sys \) -delete # debootstrap may create links there
mkdir -p "$work/root"/{proc,sys,etc/ssl/certs} "$work/base"
cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/"
tar --directory "$work/root" --create --file "$work/base/root.tar" .
cat >"$work/base/Dockerfile" <<'BASE'
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
RUN PYTHONDONTWRITEBYTECODE=1 python3 -m venv /usr/local && ln -sf python3 /usr/local/bin/python
BASE
build --tag docker.io/library/python:3.13-slim "$work/base"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# Twice from the start: their layers must be the same, as a test checks.
base=(--build-arg "BASE=docker.io/library/python:3.13-slim" --build-arg SOURCE_DATE_EPOCH=1700000000 --timestamp 1700000000)
mkdir -p "$out"
for name in again test; do
  build "${base[@]}" --no-cache --build-arg "VERSION=$version" --tag "localhost/k6-sweep:$name" .
  buildah "${storage[@]}" inspect --type image --format '{{range .OCIv1.RootFS.DiffIDs}}{{println .}}{{end}}' "localhost/k6-sweep:$name" >"$out/layers-$name"
done

mkdir "$work/k6" "$work/pause"
cp "$k6" "$work/k6/k6"
cp sidecar/k6_sweep/demo/load.js "$work/k6/"
printf 'FROM scratch\nCOPY k6 /usr/bin/\nCOPY load.js /scripts/\nUSER 12345:12345\nENTRYPOINT ["/usr/bin/k6"]\n' >"$work/k6/Dockerfile"
cp "$(command -v catatonit)" "$work/pause/pause"
printf 'FROM scratch\nCOPY pause /\nENTRYPOINT ["/pause", "-P"]\n' >"$work/pause/Dockerfile"
for name in k6 pause; do build --tag "localhost/$name:test" "$work/$name"; done

for name in k6-sweep k6 pause; do
  rm -f "$out/$name.tar"
  buildah "${storage[@]}" push --quiet "localhost/$name:test" "oci-archive:$out/$name.tar:localhost/$name:test" >/dev/null
done
