// SPDX-License-Identifier: GPL-2.0
/*
 * printk for Rust, on kernels whose printk does not know Rust's arguments (%pA).
 */

#include <linux/minmax.h>
#include <linux/printk.h>

/*
 * In rust/kernel/print.rs: writes as much as there is room for, and returns
 * where all of it would end.
 */
char *rust_fmt_argument(char *buf, char *end, const void *arguments);

int cfh_private_printk(const char *fmt, ...);

/*
 * Stands in for _printk() in the Rust objects, which call it with one of two
 * formats: a level and "%s: %pA", or KERN_CONT and "%pA". The line is put
 * together here and cut off at 511 bytes. Any context.
 */
int cfh_private_printk(const char *fmt, ...)
{
	char line[512];
	char level[3] = { KERN_SOH_ASCII, '6', '\0' };
	const char *prefix = NULL;
	va_list args;
	char *end;

	if (printk_get_level(fmt))
		level[1] = fmt[1];
	va_start(args, fmt);
	if (level[1] != 'c')
		prefix = va_arg(args, const char *);
	end = rust_fmt_argument(line, line + sizeof(line) - 1,
				va_arg(args, const void *));
	va_end(args);
	*min(end, line + sizeof(line) - 1) = '\0';

	if (prefix)
		return _printk("%s%s: %s", level, prefix, line);
	return _printk("%s%s", level, line);
}
