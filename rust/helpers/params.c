// SPDX-License-Identifier: GPL-2.0
/*
 * The module parameter `debug` and, where the kernel is configured for it, the
 * sysctl cachefiles/error_injection. Both are tables of macros in C.
 */

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysctl.h>

#include "params.h"

static unsigned int debug;
module_param(debug, uint, 0644);
MODULE_PARM_DESC(debug, "CacheFiles debugging mask");

unsigned int cfh_debug_mask(void)
{
	return READ_ONCE(debug);
}

void cfh_set_debug_mask(unsigned int mask)
{
	WRITE_ONCE(debug, mask);
}

#ifdef CONFIG_CACHEFILES_ERROR_INJECTION

static unsigned int error_injection_state;
static struct ctl_table_header *error_injection_header;
static struct ctl_table error_injection_table[] = {
	{
		.procname	= "error_injection",
		.data		= &error_injection_state,
		.maxlen		= sizeof(unsigned int),
		.mode		= 0644,
		.proc_handler	= proc_douintvec,
	},
};

int cfh_register_error_injection(void)
{
	if (error_injection_header)
		return -EBUSY;
	error_injection_header =
		register_sysctl("cachefiles", error_injection_table);
	return error_injection_header ? 0 : -ENOMEM;
}

void cfh_unregister_error_injection(void)
{
	unregister_sysctl_table(error_injection_header);
	error_injection_header = NULL;
}

unsigned int cfh_error_injection_state(void)
{
	return READ_ONCE(error_injection_state);
}

#else

int cfh_register_error_injection(void)
{
	return 0;
}

void cfh_unregister_error_injection(void)
{
}

unsigned int cfh_error_injection_state(void)
{
	return 0;
}

#endif
