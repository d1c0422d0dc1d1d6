# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # read by those who source it
# What differs between the architectures. ARCH says which one is built for: x86_64, the default and
# the one of the machine that builds, or arm64, which is cross-built and emulated. To be sourced by
# lib.sh.
#
# The kernel's make reads ARCH in the environment as well, so it is set for arm64 alone.

case ${ARCH:-x86_64} in
x86_64 | x86)
	unset ARCH
	ARCH_NAME=x86_64 ARCH_DEBIAN=amd64
	# What the programs of binutils and GCC for it have before their names.
	ARCH_CROSS=
	ARCH_FRAGMENTS=()
	ARCH_IMAGE=arch/x86/boot/bzImage
	ARCH_RUST_TARGET=x86_64-unknown-linux-gnu ARCH_LIBRARIES=x86_64-linux-gnu
	ARCH_QEMU=qemu-system-x86_64 ARCH_QEMU_PACKAGE=qemu-system-x86
	ARCH_MACHINE=()
	# With five page-table levels, emulation is slower for nothing.
	ARCH_CPU=max,la57=off
	# On a busy host the emulated timer may not tick within the moments in which the kernel
	# tests it, and that is a panic ("IO-APIC + timer doesn't work").
	ARCH_APPEND='console=ttyS0 no_timer_check'
	ARCH_JOB=(-serial chardev:job)
	;;
arm64)
	export ARCH
	ARCH_NAME=arm64 ARCH_DEBIAN=arm64
	ARCH_CROSS=aarch64-linux-gnu-
	ARCH_FRAGMENTS=("$TOP/scripts/kernel-arm64.config")
	ARCH_IMAGE=arch/arm64/boot/Image
	ARCH_RUST_TARGET=aarch64-unknown-linux-gnu ARCH_LIBRARIES=aarch64-linux-gnu
	ARCH_QEMU=qemu-system-aarch64 ARCH_QEMU_PACKAGE=qemu-system-arm
	ARCH_MACHINE=(-M 'virt,gic-version=3')
	# As above; and the architecture's own cipher for the signatures of pointers takes long.
	ARCH_CPU=max,lpa2=off,pauth-impdef=on
	# This machine has one serial port; the second is on the PCI bus.
	ARCH_APPEND='console=ttyAMA0 vm.job=ttyS0'
	ARCH_JOB=(-device 'pci-serial,chardev=job')
	;;
*) die "ARCH=$ARCH is neither x86_64 nor arm64" ;;
esac

# Says no to what is there for x86-64 only; $1 names it.
needs_x86_64() {
	[[ $ARCH_NAME == x86_64 ]] || die "$1 is for x86_64 only, not for ARCH=$ARCH_NAME"
}
