# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Counts test results. To be sourced after lib.sh.
#
# A result is a line in a file: status (pass, fail, skip, todo), group, name, reason; between tabs.
# "todo" is a failure that is expected: of the C module, where it is known to be wrong.

results_begin() {
	RESULTS=$1
	: >"$RESULTS"
}

result() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$RESULTS"; }

# The lines of a TAP file. A plan that is not fulfilled, or none at all, is a failure.
tap_results() {
	local group=$1 file=$2
	if [[ ! -f $file ]]; then
		result fail "$group" "writes TAP" "there is no output"
		return
	fi
	tr -d '\r' <"$file" | awk -v group="$group" -v OFS='\t' '
		function flush() {
			if (failing) print "fail", group, name, substr(reason, 1, 200)
			failing = 0
		}
		/^1\.\.[0-9]+/ { plan = substr($0, 4) + 0; planned = 1 }
		# The first lines of what a failed test says become its reason.
		/^    / && failing {
			text = $0
			sub(/^ +/, "", text)
			if (length(reason) < 160) reason = reason (reason == "" ? "" : "; ") text
		}
		!/^ / && !/^#/ { flush() }
		/^Bail out!/ { print "fail", group, "runs to its end", $0 }
		/^(not )?ok([ \t]|$)/ {
			seen++
			status = /^not/ ? "fail" : "pass"
			name = $0
			sub(/^(not )?ok[ \t]*[0-9]*[ \t]*(- )?/, "", name)
			reason = ""
			if (match(name, / # (SKIP|TODO)/)) {
				reason = substr(name, RSTART + 3)
				name = substr(name, 1, RSTART - 1)
				if (reason ~ /^SKIP/) status = "skip"
				else if (status == "fail") status = "todo"
				sub(/^(SKIP|TODO) */, "", reason)
			}
			if (status == "fail") failing = 1
			else print status, group, name, reason
		}
		END {
			flush()
			if (!planned) print "fail", group, "writes a TAP plan", "there is none"
			else if (seen != plan) print "fail", group, "runs every test of its plan", seen + 0 " of " plan
		}' >>"$RESULTS"
}

# The cases of each suite in a file with what KUnit's results files say, one after the other. A suite that does not
# fulfil its plan is a failure, and so is no suite at all. What a failed case says stands in front of its line.
ktap_results() {
	local group=$1 file=$2
	if [[ ! -f $file ]]; then
		result fail "$group" "writes KTAP" "there is no output"
		return
	fi
	tr -d '\r' <"$file" | sed "s|$TOP/||g" | awk -v group="$group" -v OFS='\t' '
		/^    # Subtest: / { suite = $0; sub(/^    # Subtest: /, "", suite); suites++; plan = -1; seen = 0; said = ""; open = 1 }
		/^    1\.\.[0-9]+/ { plan = substr($0, 8) + 0 }
		/^    (not )?ok [0-9]+ / {
			seen++
			status = $1 == "not" ? "fail" : "pass"
			name = $0
			sub(/^    (not )?ok [0-9]+ /, "", name)
			reason = said
			if (match(name, / # SKIP/)) {
				status = "skip"
				reason = substr(name, RSTART + 8)
				name = substr(name, 1, RSTART - 1)
			}
			print status, group, suite ": " name, status == "pass" ? "" : substr(reason, 1, 240)
			said = ""
			next
		}
		/^    ./ && !/^    (# Subtest|1\.\.|KTAP)/ {
			text = $0
			sub(/^ +(# [a-z0-9_]+: )?/, "", text)
			said = said (said == "" ? "" : "; ") text
		}
		/^(not )?ok [0-9]+ / {
			if (seen != plan) print "fail", group, suite ": runs every case of its plan", seen + 0 " of " plan
			open = 0
		}
		END {
			if (open) print "fail", group, suite ": is told to its end", "it stops after " seen + 0 " of " plan
			if (!suites) print "fail", group, "runs a suite", "there is none"
		}' >>"$RESULTS"
}

# The lines of `cargo test`.
cargo_results() {
	local group=$1 file=$2
	awk -v group="$group" -v OFS='\t' '
		/^ *(Running|Doc-tests) / { suite = $0; sub(/ \(.*/, "", suite); sub(/^ *(Running|Doc-tests) */, "", suite); sub(/^unittests */, "", suite) }
		/^test .* \.\.\. (ok|FAILED|ignored)/ {
			name = $0
			sub(/^test /, "", name)
			status = name ~ / \.\.\. ok/ ? "pass" : name ~ / \.\.\. FAILED/ ? "fail" : "skip"
			sub(/ \.\.\. .*/, "", name)
			print status, group, suite ": " name, ""
		}' "$file" >>"$RESULTS"
}

# How many results have status $1 (and group $2).
count() { awk -F'\t' -v status="$1" -v group="${2:-}" '$1 == status && (group == "" || $2 == group)' "$RESULTS" | wc -l; }

# The names with one status in one group that have another status in another group.
compare() {
	awk -F'\t' -v s1="$1" -v g1="$2" -v s2="$3" -v g2="$4" '
		$2 == g1 && $1 ~ "^(" s1 ")$" { first[$3] = $4 }
		$2 == g2 && $1 ~ "^(" s2 ")$" && $3 in first { print $3 "\t" ($4 != "" ? $4 : first[$3]) }' "$RESULTS"
}

results_summary() {
	local group lines
	if awk -F'\t' '$2 == "selftests-c" { c = 1 } $2 == "selftests-rust" { r = 1 } END { exit !(c && r) }' "$RESULTS"; then
		printf '\nOur module beside the C module of the same kernel:\n'
		lines=$(compare pass selftests-rust pass selftests-c)
		printf '  passed by both: %d\n' "$(grep -c . <<<"$lines" || true)"
		lines=$(compare pass selftests-rust 'todo|fail|skip' selftests-c)
		printf '  passed by ours, not by C: %d\n' "$(grep -c . <<<"$lines" || true)"
		[[ -z $lines ]] || sed 's/\t/  -- /; s/^/    /; s/  -- $//' <<<"$lines"
		# These count as failed already, unless ours skipped them: what C can do, ours must not skip.
		lines=$(compare 'todo|skip|fail' selftests-rust pass selftests-c)
		printf '  passed by C, not by ours: %d\n' "$(grep -c . <<<"$lines" || true)"
		[[ -z $lines ]] || sed 's/\t/  -- /; s/^/    /; s/  -- $//' <<<"$lines"
		compare 'todo|skip' selftests-rust pass selftests-c | while IFS=$'\t' read -r name _; do
			result fail comparison "$name: passed by C, not by ours"
		done
	fi
	printf '\n%-18s %8s %8s %8s %18s\n' '' passed failed skipped 'expected failures'
	while IFS= read -r group; do
		printf '%-18s %8d %8d %8d %18d\n' "$group" "$(count pass "$group")" "$(count fail "$group")" "$(count skip "$group")" "$(count todo "$group")"
	done < <(cut -f2 "$RESULTS" | awk '!seen[$0]++')
	if (($(count skip) > 0)); then
		printf '\nSkipped:\n'
		awk -F'\t' '$1 == "skip" { print "  " $2 ": " $3 ($4 != "" ? "  -- " $4 : "") }' "$RESULTS"
	fi
	if (($(count fail) > 0)); then
		printf '\nFailed:\n'
		awk -F'\t' '$1 == "fail" { print "  " $2 ": " $3 ($4 != "" ? "  -- " $4 : "") }' "$RESULTS"
	fi
	printf '\n'
}

# The last line, and the exit status. Nothing run is no success.
results_end() {
	local passed failed
	passed=$(count pass)
	failed=$(count fail)
	printf '%d passed, %d failed\n' "$passed" "$failed"
	((failed == 0 && passed > 0))
}
