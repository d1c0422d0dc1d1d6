# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Finds the compilers that the kernel and the module are built with. To be sourced after lib.sh.
#
# What is found goes into variables that begin with K, never into RUSTC itself: cargo would take
# that one for tools/, which may well be built with another toolchain.
#
# An exported RUSTC, RUST_LIB_SRC, BINDGEN, LLVM or LIBCLANG_PATH is taken as it is.

MIN_RUSTC=1.78.0
MIN_BINDGEN=0.65.1
MIN_CARGO=1.85.0
BINDGEN_VERSION=0.72.1
USER_RUSTC=${USER_RUSTC:-${RUSTC:-}}
USER_CARGO=${USER_CARGO:-${CARGO:-}}
unset RUSTC RUSTFLAGS CARGO

# The standard library's source that belongs to a rustc: Debian's place, then the compiler's own.
rust_lib_src() {
	local rustc=$1 version place
	version=$(version_of "$rustc" --version)
	for place in "/usr/src/rustc-$version/library" "$("$rustc" --print sysroot)/lib/rustlib/src/rust/library"; do
		if [[ -f $place/core/src/lib.rs ]]; then
			printf '%s\n' "$place"
			return
		fi
	done
}

# Each find_* prints what it found, or nothing.
find_rustc() {
	local rustc
	for rustc in ${USER_RUSTC:-/usr/bin/rustc rustc}; do
		if have "$rustc" && [[ $("$rustc" --version 2>/dev/null || true) == 'rustc '* && -n ${RUST_LIB_SRC:-$(rust_lib_src "$rustc")} ]] &&
			version_ge "$(version_of "$rustc" --version)" "$MIN_RUSTC"; then
			command -v "$rustc"
			return
		fi
	done
}

# The -N (or nothing at all) of a complete clang, lld and llvm. The kernel asks for one major
# version of all.
find_llvm() {
	local suffix tool
	if [[ -n ${LLVM:-} ]]; then
		# As the kernel reads it: -N is a suffix, anything else means no suffix, a path/ a
		# prefix.
		if [[ $LLVM == */ ]] || have "clang$([[ $LLVM != -* ]] || printf '%s' "$LLVM")"; then
			printf '%s\n' "$LLVM"
		fi
		return
	fi
	for suffix in -19 -20 -21 -18 -17 -16 -15 ''; do
		for tool in clang ld.lld llvm-nm llvm-ar llvm-objcopy llvm-strip llvm-readelf; do
			have "$tool$suffix" || continue 2
		done
		if [[ -n $suffix ]] || version_ge "$(version_of clang --version)" 15; then
			printf '%s\n' "${suffix:-1}"
			return
		fi
	done
}

find_bindgen() {
	local bindgen
	for bindgen in ${BINDGEN:-bindgen "$CACHE/bindgen-$BINDGEN_VERSION/bin/bindgen" "$HOME/.cargo/bin/bindgen"}; do
		if have "$bindgen" && [[ $("$bindgen" --version 2>/dev/null || true) == 'bindgen '* ]] && version_ge "$(version_of "$bindgen" --version)" "$MIN_BINDGEN"; then
			command -v "$bindgen"
			return
		fi
	done
}

# The cargo for tools/: whichever is new enough for edition 2024, the user's own first.
find_cargo() {
	local cargo
	for cargo in ${USER_CARGO:-cargo /usr/bin/cargo "$HOME/.cargo/bin/cargo"}; do
		if have "$cargo" && version_ge "$(version_of "$cargo" --version)" "$MIN_CARGO"; then
			command -v "$cargo"
			return
		fi
	done
}

# Fill in KRUSTC, KRUST_LIB_SRC, KLLVM, KBINDGEN, KLIBCLANG, or say what is missing.
find_toolchain() {
	local setup="run scripts/setup, which installs it on Debian 12 and 13"
	KLLVM=$(find_llvm)
	[[ -n $KLLVM ]] || die "no complete LLVM (clang, ld.lld, llvm-*) of one version, 15 or later, found${LLVM:+ (LLVM=$LLVM)}" "$setup"
	KRUSTC=$(find_rustc)
	if [[ -z $KRUSTC ]]; then
		local found=${USER_RUSTC:-/usr/bin/rustc}
		die "no rustc $MIN_RUSTC or later that has the source of its standard library beside it" \
			"looked at: $found ($(version_of "$found" --version), source: ${RUST_LIB_SRC:-none set})" "$setup," \
			"or set RUSTC=<path> and RUST_LIB_SRC=<path of library/> (rustup: rustup component add rust-src)"
	fi
	KRUST_LIB_SRC=${RUST_LIB_SRC:-$(rust_lib_src "$KRUSTC")}
	KBINDGEN=$(find_bindgen)
	[[ -n $KBINDGEN ]] || die "no bindgen $MIN_BINDGEN or later found (${BINDGEN:-bindgen}: $(version_of "${BINDGEN:-bindgen}" --version))" "$setup," \
		"or: cargo install --locked bindgen-cli --version $BINDGEN_VERSION"
	KLIBCLANG=${LIBCLANG_PATH:-}
	if [[ -z $KLIBCLANG && $KLLVM == -* && -d /usr/lib/llvm$KLLVM/lib ]]; then
		KLIBCLANG=/usr/lib/llvm$KLLVM/lib
	fi
}

# The versions, as text: part of the kernel cache's key.
toolchain_versions() {
	local clang=clang
	[[ $KLLVM != -* ]] || clang=clang$KLLVM
	"$KRUSTC" --version
	"$clang" --version | head -n1
	"$KBINDGEN" --version
}

# Keep the toolchain beside a kernel build, and take it from there again.
save_toolchain() {
	declare -p KLLVM KRUSTC KRUST_LIB_SRC KBINDGEN KLIBCLANG
}
load_toolchain() {
	# shellcheck disable=SC1090 # written by save_toolchain
	source <(sed 's/^declare --/declare -g --/' "$1")
}

# make, with that toolchain.
kmake() {
	local -a args=(RUSTC="$KRUSTC" RUST_LIB_SRC="$KRUST_LIB_SRC" BINDGEN="$KBINDGEN")
	[[ -z $KLLVM ]] || args+=(LLVM="$KLLVM")
	[[ -z $KLIBCLANG ]] || export LIBCLANG_PATH=$KLIBCLANG
	make "${args[@]}" "$@"
}
