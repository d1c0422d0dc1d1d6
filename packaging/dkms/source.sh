# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# For the pre-build scripts of DKMS: finds the source that belongs to a kernel of Debian. To be sourced.

TARBALL=${LINUX_SOURCE:-/usr/src/linux-source-6.12.tar.xz}

refuse() {
	printf '%s\n' "$@" >&2
	exit 1
}

# The version of the package $1; nothing where it is not installed.
version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || true; }

# Is the source that is installed of the release that the headers of the kernel $1 are of?
same_release() {
	headers=$(version_of "linux-headers-$1")
	source=$(version_of linux-source-6.12)
	[ -n "$source" ] && [ "$headers" = "$source" ]
}

[ -f "$TARBALL" ] || refuse "$TARBALL is missing, without which this module cannot be built: apt install linux-source-6.12"

# Unpacks what matches the patterns below ./$1.
unpack() {
	into=$1
	shift
	mkdir -p "$into"
	tar -xf "$TARBALL" -C "$into" --strip-components=1 --wildcards "$@"
}
