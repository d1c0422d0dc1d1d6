// SPDX-License-Identifier: GPL-2.0
/*
 * The module parameter `debug` and, where the kernel is configured for it, the
 * sysctl cachefiles/error_injection. Both are tables of macros in C.
 */

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysctl.h>

#include "params.h"

unsigned int cfh_debug;
module_param_named(debug, cfh_debug, uint, 0644);
MODULE_PARM_DESC(debug, "CacheFiles debugging mask");

unsigned int cfh_error_injection;

#ifdef CONFIG_CACHEFILES_ERROR_INJECTION

static struct ctl_table_header *error_injection_header;
static struct ctl_table error_injection_table[] = {
	{
		.procname	= "error_injection",
		.data		= &cfh_error_injection,
		.maxlen		= sizeof(cfh_error_injection),
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

#else

int cfh_register_error_injection(void)
{
	return 0;
}

void cfh_unregister_error_injection(void)
{
}

#endif
