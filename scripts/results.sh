# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Counts test results, by the program test-results (tools/testing/results). To be sourced after
# lib.sh.
#
# A result is a line in a file: status (pass, fail, skip, todo), group, name, reason; between tabs.
# "todo" is a failure that is expected: of the C module, where it is known to be wrong.

# Sets TEST_RESULTS to the program. Builds it where it is missing.
find_test_results() {
	TEST_RESULTS=${CARGO_TARGET_DIR:-$TOP/tools/target}/x86_64-unknown-linux-gnu/release/test-results
	[[ -x $TEST_RESULTS ]] || build_test_results
}
# In a shell of its own: toolchain.sh takes the user's compilers out of the environment.
build_test_results() (
	# shellcheck source=scripts/toolchain.sh
	source "$TOP/scripts/toolchain.sh"
	cargo=$(find_cargo)
	[[ -n $cargo ]] || die "no cargo $MIN_CARGO or later found" \
		"run scripts/setup, or set CARGO=<path>"
	long "$BUILD/log/test-results.log" "the program that counts results" env -C "$TOP/tools" \
		"$cargo" build --release --locked -p cachefiles-results ||
		die "test-results could not be built"
)

results_begin() {
	RESULTS=$1
	: >"$RESULTS"
	find_test_results
	((${NO_BUILD:-0})) || build_test_results
}

result() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$RESULTS"; }

# Adds the results in a report: FORMAT (tap, ktap, cargo) GROUP FILE [OPTION...]; see the program.
report_results() {
	"$TEST_RESULTS" "$@" --top "$TOP" >>"$RESULTS" ||
		result fail "$2" "its results are counted" "test-results ends with status $?"
}

results_summary() {
	"$TEST_RESULTS" summary "$RESULTS" || result fail results "they are summed up"
}

# The last line, and the exit status. Nothing run is no success.
results_end() { "$TEST_RESULTS" end "$RESULTS"; }
