// SPDX-License-Identifier: GPL-2.0

#include <linux/cred.h>
#include <linux/sched.h>
#include <linux/security.h>

const struct cred *cfh_get_cred(const struct cred *cred)
{
	return get_cred(cred);
}

void cfh_put_cred(const struct cred *cred)
{
	put_cred(cred);
}

const struct cred *cfh_current_cred(void)
{
	return current_cred();
}

u32 cfh_current_euid(void)
{
	return __kuid_val(current_euid());
}

/*
 * The length of the current task's security context, which is copied if it
 * fits; 0 where no security module has one.
 */
u32 cfh_current_secctx(char *to, u32 room)
{
	u32 secid, len;
	char *context;

	security_current_getsecid_subj(&secid);
	if (security_secid_to_secctx(secid, &context, &len))
		return 0;
	if (len <= room)
		memcpy(to, context, len);
	security_release_secctx(context, len);
	return len;
}

struct cred *cfh_prepare_kernel_cred(void)
{
	return prepare_kernel_cred(current);
}

int cfh_security_secctx_to_secid(const char *secdata, u32 seclen, u32 *secid)
{
	return security_secctx_to_secid(secdata, seclen, secid);
}
