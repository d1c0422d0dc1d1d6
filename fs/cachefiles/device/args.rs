// SPDX-License-Identifier: GPL-2.0

//! What the arguments of commands have in common.

use crate::format::command::BadNumber;
use kernel::prelude::*;
use kernel::str::{CStr, CString};

pub(super) fn number_error(error: BadNumber) -> Error {
    match error {
        BadNumber::Malformed => EINVAL,
        BadNumber::TooLarge => ERANGE,
    }
}

pub(super) fn non_empty<'a>(args: &'a [u8], what: &str) -> Result<&'a [u8]> {
    if args.is_empty() {
        kernel_ext::log::error!("Empty {} specified", what);
        return Err(EINVAL);
    }
    Ok(args)
}

pub(super) fn check_name(name: &[u8], command: &str) -> Result {
    if name.is_empty() || name.contains(&b'/') {
        kernel_ext::log::error!(
            "The {} command takes the name of a file in the working directory",
            command
        );
        return Err(EINVAL);
    }
    Ok(())
}

/// Copies an argument. The parser let no NUL through, so this fails only for lack of memory.
pub(super) fn to_cstring(text: &[u8]) -> Result<CString> {
    let mut buf = KVec::with_capacity(text.len() + 1, GFP_KERNEL)?;
    buf.extend_from_slice(text, GFP_KERNEL)?;
    buf.extend_from_slice(&[0], GFP_KERNEL)?;
    let text = CStr::from_bytes_with_nul(&buf).map_err(|_| EINVAL)?;
    Ok(text.to_cstring()?)
}
