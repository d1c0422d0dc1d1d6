/* SPDX-License-Identifier: GPL-2.0 */
/* Module parameters and the error injection sysctl; see params.c. */
#ifndef CFH_PARAMS_H
#define CFH_PARAMS_H

unsigned int cfh_debug_mask(void);
void cfh_set_debug_mask(unsigned int mask);

int cfh_register_error_injection(void);
void cfh_unregister_error_injection(void);
unsigned int cfh_error_injection_state(void);

#endif
