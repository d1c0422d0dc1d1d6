# SPDX-License-Identifier: GPL-2.0
#
# Makes a suite of unit tests of the examples in doc comments: each code block without a word after
# its fence is a test. As rustdoc has it, a line that begins with "# " is code that the pages hide.
#
# usage: awk -v suite=NAME -f examples.awk FILE...

function fail(reason) {
	printf "%s:%d: %s\n", FILENAME, FNR, reason > "/dev/stderr"
	failed = 1
	exit 1
}

# The code is kept until all names are known: the list of tests comes first.
FNR == 1 {
	if (state != "")
		fail("the code block of the file before has no end")
	name = FILENAME
	sub(/.*rust\//, "", name)
	path = name
	sub(/\.rs$/, "", name)
	gsub(/[^a-z0-9]/, "_", name)
	number = 0
}

!/^ *\/\/[\/!]/ {
	if (state != "")
		fail("the comment ends within a code block")
	next
}

{
	line = $0
	sub(/^ *\/\/[\/!] ?/, "", line)
}

line ~ /^```/ {
	if (state != "") {
		if (state == "code")
			code = code "    Ok(())\n}\n"
		state = ""
	} else if (line == "```") {
		state = "code"
		number++
		test = name "_" number
		names = names "        " test ",\n"
		code = code sprintf("\n/// %s, line %d.\nfn %s() -> Outcome {\n", path, FNR, test)
	} else {
		state = "text"
	}
	next
}

state == "code" {
	sub(/^# ?( |$)/, "", line)
	code = code (line == "" ? "" : "    " line) "\n"
}

END {
	if (failed)
		exit 1
	if (state != "")
		fail("the code block has no end")
	if (names == "")
		fail("there is no example in these files")
	printf "// SPDX-License-Identifier: GPL-2.0\n// Made by examples.awk of doc comments.\n\n"
	printf "#[allow(unused_imports, reason = \"not every example checks both\")]\n"
	printf "use kunit::{ensure as assert, ensure_eq as assert_eq, Outcome};\n\n"
	printf "kunit::suite!(\n    \"%s\",\n    [\n%s    ]\n);\n%s", suite, names, code
}
