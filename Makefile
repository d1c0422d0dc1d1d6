# SPDX-License-Identifier: GPL-2.0
#
# What a user calls: see `make help`. The module's own build rules are in Kbuild, which the kernel's build
# system reads (`make -C <kernel build> M=<here> modules` works as well); the work is done by scripts/.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The scripts read these from the environment.
export ARCH KDIR KERNEL_SRC STOCK SRC COMPRESS KILLS READERS OVERLAP RESTORE VERBOSE MODULE ACCEL FILTER JOBS TIMEOUT TIME SEED REPLAY ROUND PATIENCE MIB SANITIZE HONEST

# Given only on the command line or in the environment: an empty one counts as not given.
$(foreach v,ARCH KDIR KERNEL_SRC STOCK SRC COMPRESS KILLS READERS OVERLAP RESTORE VERBOSE MODULE ACCEL FILTER JOBS TIMEOUT TIME SEED REPLAY ROUND PATIENCE MIB SANITIZE HONEST,$(if $($v),,$(eval unexport $v)))

.PHONY: help setup kernel modules tools run storms powercut kunit hostile test test-debug test-kcsan test-configs test-arm64 test-stock test-stock-all test-packages stock deb faultwalk clients parity model model-mutants hostile-mutants mutants fuzz miri bench bench-publish docs shell lint install clean distclean

help:
	@echo 'cachefiles in Rust for Linux 6.12, with daemon failover in its on-demand mode'
	@echo
	@echo 'Build:'
	@echo '  modules          build cachefiles.ko for the test kernel, or for KDIR'
	@echo '  stock            build cachefiles.ko and erofs.ko for a Debian kernel, from its headers; STOCK'
	@echo '  deb              build Debian packages: the modules for DKMS, and the daemon'
	@echo '  install          install cachefiles.ko for the kernel KDIR, into updates/, where modprobe looks first'
	@echo '  tools            build the user-space programs (static)'
	@echo '  kernel           build the test kernel, once; other targets do it when they need it'
	@echo '  setup            install missing packages on Debian 12 or 13; other targets do it too'
	@echo '  docs             build HTML of Documentation/, in build/docs'
	@echo '  clean            remove all build products; the kernel stays in the cache directory'
	@echo '  distclean        remove the cached kernels and sources as well'
	@echo
	@echo 'Try:'
	@echo '  run              read an EROFS image on demand in QEMU while the daemon is killed 20 times'
	@echo '  shell            open a shell in QEMU: module, daemon, image mounted at /mnt/image'
	@echo
	@echo 'Test:'
	@echo '  test             run all tests that take less than an hour; ends with N passed, N failed'
	@echo '  lint             check the rules of the tree, formatting, clippy, shellcheck'
	@echo '  kunit            run the unit tests of rust/ inside a kernel; FILTER="kernel_ext_table*" for some'
	@echo '  clients          test caching of 9p and NFS with Debian'\''s cachefilesd, on both modules'
	@echo '  parity           compare the behaviour of our module and of the C module, row by row'
	@echo '  hostile          run a daemon that misuses the device at random; TIME, SEED, REPLAY=<seed>, HONEST=1'
	@echo '  fuzz             run libFuzzer on the files that need no kernel; TIME=<seconds> for each'
	@echo '  model            test the on-demand engine under every order of its steps'
	@echo
	@echo 'Long tests:'
	@echo '  test-debug       run the tests with KASAN, lockdep, kmemleak and fault injection; over an hour'
	@echo '  test-kcsan       run the selftests and a storm with KCSAN, the detector of data races'
	@echo '  test-configs     run the on-demand selftests on btrfs, with preempt=full, CFI, each parameter'
	@echo '  test-arm64       run unit tests, selftests and a storm on an arm64 kernel, cross-built and emulated'
	@echo '  test-stock       run selftests, clients, parity, storm, hostile on an unmodified Debian kernel; STOCK'
	@echo '  test-stock-all   build the module for every 6.12 kernel of Debian, and run a storm on each'
	@echo '  test-packages    install, use and remove the packages in a machine with Debian 13; as root'
	@echo '  faultwalk        fail every allocation of the module once'
	@echo '  storms           kill the daemon 1,000 times under 64 readers, in five ways'
	@echo '  powercut         cut the power of a recorded disk, 100 times each on ext4 and XFS, and compare'
	@echo '  mutants          run the tests on mutants of the driver: they have to find each'
	@echo '  model-mutants    run the model on mutants of the on-demand engine: it has to find each'
	@echo '  hostile-mutants  run the hostile daemon on mutants of the driver: it has to find each'
	@echo '  miri             run the files that need no kernel under Miri, where a nightly toolchain has it'
	@echo
	@echo 'Measure:'
	@echo '  bench            count the instructions of our module and of the C module; QUICK=1: 5 minutes'
	@echo '  bench-publish    copy the results to the README and Documentation/benchmarks'
	@echo
	@echo 'Variables:'
	@echo '  KDIR=<dir>        use this kernel build directory (needs CONFIG_RUST=y, CONFIG_CACHEFILES=m, ...)'
	@echo '  KERNEL_SRC=<dir>  build the test kernel from this 6.12 source tree, not from the package'
	@echo '  ARCH=arm64        kernel, modules, tools, run, shell: cross-built for arm64, and emulated'
	@echo '  STOCK=<which>     stock, run, shell, hostile: trixie, bookworm, bookworm-backports or a release of Debian'
	@echo '  KILLS=<n>         run: how often the daemon is killed (20); test: in each storm (8)'
	@echo '  READERS=<n>       run: how many processes read (4)'
	@echo '  RESTORE=racing    run: write restore continuously, or never (default: once after each kill)'
	@echo '  SRC=<dir>         run, shell: the directory to make the image of'
	@echo '  COMPRESS=lz4hc    run, shell: a compressed image'
	@echo '  MODULE=c          run, shell: the C module of the same kernel, to compare'
	@echo '  MIB=<n>           storms: the size of what is read (256)'
	@echo '  FILTER="<words>"  test: only the selftests whose name has one of the words'
	@echo '  VERBOSE=1         show the output of compilers and of the guest'
	@echo '  ACCEL=kvm|tcg     how QEMU runs (default: KVM where it works)'

setup:
	@scripts/setup

kernel: setup
	@scripts/kernel

modules: setup
	@scripts/module

tools: setup
	@scripts/tools

run:
	@scripts/run

shell:
	@scripts/shell

test:
	@scripts/test

test-debug:
	@scripts/test --debug

test-kcsan:
	@scripts/test --kcsan

test-configs:
	@scripts/test --configs

test-arm64:
	@ARCH=arm64 scripts/test

test-stock:
	@scripts/test --stock

test-stock-all:
	@scripts/stock-all

test-packages:
	@scripts/packages

deb: setup
	@scripts/deb

stock: setup
	@scripts/stock module
	@scripts/stock erofs

faultwalk:
	@scripts/faultwalk $(FILTER)

storms:
	@scripts/storms

powercut:
	@scripts/powercut

hostile:
	@scripts/hostile

bench:
	@scripts/bench $(if $(QUICK),--quick)

bench-publish:
	@scripts/bench --publish

docs: setup
	@scripts/docs

kunit: setup
	@scripts/kunit $(if $(FILTER),'$(FILTER)')

clients:
	@scripts/test clients

parity:
	@scripts/parity

model: setup
	@cd tools && MODEL_RANDOM=$${MODEL_RANDOM:-1000000} MODEL_EXECUTIONS=$${MODEL_EXECUTIONS:-2000000} cargo test --locked -p cachefiles-host --test interleavings -- --nocapture

model-mutants: setup
	@scripts/mutants

mutants: setup
	@scripts/mutants --driver

hostile-mutants: setup
	@scripts/mutants --hostile

fuzz: setup
	@scripts/fuzz

miri:
	@scripts/miri

lint: setup
	@scripts/lint

install:
	@test -n "$(KDIR)" || { echo 'error: install needs KDIR=<build directory of the kernel to install for>' >&2; exit 1; }
	@scripts/module install

clean:
	@scripts/module clean
	@rm -rf build tools/target

distclean: clean
	@rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/cachefiles-rs"
