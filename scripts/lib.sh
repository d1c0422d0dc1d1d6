# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What all scripts share: where things lie, how they speak, how they end. To be sourced.

set -euo pipefail
shopt -s inherit_errexit nullglob

# The scripts call make themselves, with their own flags: those of a calling make are not for them.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL GNUMAKEFLAGS

# A relative KDIR, SRC or KERNEL_SRC is meant from where the user stands.
for variable in KDIR SRC KERNEL_SRC; do
	if [[ -n ${!variable:-} ]]; then
		path=$(realpath -m -- "${!variable}")
		declare -gx "$variable=$path"
	fi
done
unset variable path

TOP=$(dirname -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/cachefiles-rs
BUILD=$TOP/build
JOBS=${JOBS:-$(nproc)}
export TOP CACHE BUILD JOBS

# Tools such as mke2fs and depmod lie where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '==> %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
	printf 'error: %s\n' "$1" >&2
	shift
	(($# == 0)) || printf '       %s\n' "$@" >&2
	exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
verbose() { [[ ${VERBOSE:-0} != 0 ]]; }

# The comment at the head of a script is its help: from the third line on, up to the first line of
# code.
usage() { sed -n '3,${/^#/!q; s/^# \{0,1\}//; p}' "$0"; }

# shellcheck source=scripts/arch.sh
source "$TOP/scripts/arch.sh"

# Is version $1 at least $2?
version_ge() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n1) == "$2" ]]; }

# The first version number in what `$@` prints; nothing when it cannot be run.
version_of() { { "$@" 2>/dev/null || true; } | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n1 || true; }

# Things to do at the end, last one first, also after Ctrl-C or an error.
AT_EXIT=()
at_exit() { AT_EXIT+=("$1"); }
run_at_exit() {
	local status=$? i
	trap '' INT TERM HUP
	for ((i = ${#AT_EXIT[@]} - 1; i >= 0; i--)); do
		eval "${AT_EXIT[i]}" || true
	done
	exit "$status"
}
trap run_at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# End a background process of ours and all that it started in its own process group.
end_process() {
	local pid=$1
	kill -TERM -- "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || return 0
	wait "$pid" 2>/dev/null || true
}

# Is the kernel built in $1 one with a sanitizer? Then all takes several times as long.
kernel_is_slow() { grep -qE '^CONFIG_(KASAN|KCSAN)=y' "$1/.config"; }

# Run a long command: its output goes to the file $1. With VERBOSE also to the terminal; otherwise
# a line of progress every 20 seconds, and the end of the file if it fails. $2 says what it is.
long() {
	local log=$1 what=$2 status=0 start=$SECONDS pid
	shift 2
	mkdir -p "$(dirname "$log")"
	if verbose; then
		"$@" </dev/null 2>&1 | tee "$log" >&2 || status=$?
	else
		# In its own process group, so that Ctrl-C can end all of it at once.
		set -m
		"$@" </dev/null >"$log" 2>&1 &
		pid=$!
		set +m
		at_exit "end_process $pid"
		local next=20
		while kill -0 "$pid" 2>/dev/null; do
			sleep 0.3
			if ((SECONDS - start >= next)); then
				note "$what: $((SECONDS - start)) s, $(wc -l <"$log") steps: $(tail -n1 "$log" | tr -s '\t ' ' ' | cut -c1-70)"
				((next += 20))
			fi
		done
		wait "$pid" || status=$?
		unset 'AT_EXIT[-1]'
	fi
	if ((status != 0)); then
		verbose || tail -n 40 "$log" >&2
		warn "$what failed (status $status); all of its output: $log"
	fi
	return "$status"
}
