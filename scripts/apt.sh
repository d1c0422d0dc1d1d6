# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # set by those who source it
# Fetches packages of a suite of Debian without installing them: apt with a configuration and state
# of its own; that of this machine stays as it is, and the addresses of its archives are used. To be
# sourced after lib.sh.
#
# Set before a call: apt_suite; apt_arch, the packages' architecture; apt_place, a directory for the
# state.

# The packages cannot be had: no fault of what is here, and tests that need them are skipped.
unavailable() { (die "$@") || exit 77; }

# Where this machine gets Debian from: the archive of its own release, and that of security updates.
archives() {
	local codename site='' security='' uri name
	codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt's own variables
	while read -r name uri; do
		case $name in
		"$codename") site=${site:-$uri} ;;
		"$codename-security") security=${security:-$uri} ;;
		esac
	done < <(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null || true)
	[[ -n $site ]] || unavailable "apt has no archive of Debian ${codename:-?} configured, so there is nowhere to get packages from"
	local signed=/usr/share/keyrings/debian-archive-keyring.gpg
	printf 'deb [arch=%s signed-by=%s] %s %s main\n' "$apt_arch" "$signed" "$site" "$apt_suite"
	if [[ $apt_suite != *-backports && -n $security ]]; then
		printf 'deb [arch=%s signed-by=%s] %s %s-security main\n' "$apt_arch" "$signed" "$security" "$apt_suite"
	fi
}

# apt with a configuration and state of its own. $1 is the program.
private_apt() {
	local program=$1
	shift
	"$program" -qq -o "Dir::Etc::sourcelist=$apt_place/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o "Dir::State=$apt_place/state" -o "Dir::State::status=$apt_place/state/status" -o "Dir::Cache=$apt_place/cache" \
		-o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin -o Acquire::Languages=none -o APT::Sandbox::User= \
		-o "APT::Architecture=$apt_arch" -o "APT::Architectures=$apt_arch" \
		-o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o Acquire::Retries=1 "$@"
}

# Ask the suite what it has, unless that was done today. $1 says what for.
update() {
	have apt-get || unavailable "apt-get is missing: $1 are fetched on Debian only"
	mkdir -p "$apt_place/state/lists/partial" "$apt_place/cache/archives/partial"
	touch "$apt_place/state/status"
	if [[ -z $(find "$apt_place/updated" -mtime -1 2>/dev/null || true) ]]; then
		archives >"$apt_place/sources.list"
		say "asking the archive for $1"
		if private_apt apt-get update -o APT::Update::Error-Mode=any >"$apt_place/update.log" 2>&1; then
			touch "$apt_place/updated"
		else
			cat "$apt_place/update.log" >&2
			warn "the archive cannot be reached; what is here has to do"
		fi
	fi
}

# Download packages into the directory that this runs in.
fetch() {
	private_apt apt-get download "$@" || unavailable "apt-get could not download $*" "was the release replaced by a newer one? rm $apt_place/updated, and try again"
}
