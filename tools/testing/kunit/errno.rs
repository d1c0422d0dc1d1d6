// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::errno`: numbers that C and user space know, too.

use kernel::prelude::*;
use kernel_ext::errno;
use kunit::{ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_errno",
    [
        errors_have_the_numbers_of_the_abi,
        a_negative_number_is_its_error,
        what_is_no_error_number_is_einval,
    ]
);

fn errors_have_the_numbers_of_the_abi() -> Outcome {
    for (error, number) in [
        (errno::ENAMETOOLONG, 36),
        (errno::ENODATA, 61),
        (errno::EBADFD, 77),
        (errno::EMSGSIZE, 90),
        (errno::EOPNOTSUPP, 95),
        (errno::ENOBUFS, 105),
        (errno::ETIMEDOUT, 110),
        (errno::EALREADY, 114),
        (errno::ESTALE, 116),
    ] {
        ensure_eq!(error.to_errno(), -number);
        ensure_eq!(errno::error(-number), error);
    }
    Ok(())
}

fn a_negative_number_is_its_error() -> Outcome {
    for (number, error) in [(-1, EPERM), (-2, ENOENT), (-22, EINVAL), (-28, ENOSPC)] {
        ensure_eq!(errno::error(number), error);
    }
    // The last one that fits in a pointer.
    ensure_eq!(errno::error(-4095).to_errno(), -4095);
    Ok(())
}

fn what_is_no_error_number_is_einval() -> Outcome {
    for number in [0, 1, 22, 4095, i32::MAX, -4096, i32::MIN + 1, i32::MIN] {
        ensure_eq!((number, errno::error(number)), (number, EINVAL));
    }
    Ok(())
}
