// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::fs`: extended attributes, on real inodes.

use crate::scratch::Scratch;
use kernel::c_str;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel_ext::errno::{ENODATA, EOPNOTSUPP};
use kernel_ext::fs::Dentry;
use kunit::{ensure_eq, Outcome};

kunit::suite!(
    "kernel_ext_xattr",
    [
        what_was_set_is_read,
        a_new_value_takes_the_place_of_the_old_one,
        an_attribute_that_is_not_there_is_enodata,
        an_attribute_that_was_removed_is_enodata,
        an_attribute_longer_than_the_buffer_is_erange,
        an_empty_buffer_is_told_the_length,
        an_empty_value_is_there,
        any_byte_can_be_stored,
        attributes_are_apart,
        a_directory_has_attributes_too,
        a_file_without_a_name_has_attributes_too,
        a_name_without_a_file_is_enoent,
        an_unknown_namespace_is_eopnotsupp,
    ]
);

const NAME: &CStr = c_str!("user.kunit");
const OTHER: &CStr = c_str!("user.kunit.other");

fn set(at: &Scratch, dentry: &Dentry, name: &CStr, value: &[u8]) -> Result {
    let write = at.mount().want_write()?;
    dentry.set_xattr(&write, name, value)
}

fn remove(at: &Scratch, dentry: &Dentry, name: &CStr) -> Result {
    let write = at.mount().want_write()?;
    dentry.remove_xattr(&write, name)
}

/// The value, in front of bytes that are not part of it.
fn get(dentry: &Dentry, name: &CStr) -> Result<(usize, [u8; 8])> {
    let mut buffer = [0xee; 8];
    let len = dentry.get_xattr(name, &mut buffer)?;
    Ok((len, buffer))
}

fn what_was_set_is_read() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, b"hello")?;
        ensure_eq!(get(&file, NAME)?, (5, *b"hello\xee\xee\xee"));
    }
    Ok(())
}

fn a_new_value_takes_the_place_of_the_old_one() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, b"longer")?;
        set(&at, &file, NAME, b"new")?;
        ensure_eq!(get(&file, NAME)?, (3, *b"new\xee\xee\xee\xee\xee"));
        set(&at, &file, NAME, b"longest.")?;
        ensure_eq!(get(&file, NAME)?, (8, *b"longest."));
    }
    Ok(())
}

fn an_attribute_that_is_not_there_is_enodata() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        ensure_eq!(get(&file, NAME), Err(ENODATA));
        ensure_eq!(file.get_xattr(NAME, &mut []), Err(ENODATA));
        ensure_eq!(remove(&at, &file, NAME), Err(ENODATA));
    }
    Ok(())
}

fn an_attribute_that_was_removed_is_enodata() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, b"hello")?;
        remove(&at, &file, NAME)?;
        ensure_eq!(get(&file, NAME), Err(ENODATA));
        ensure_eq!(remove(&at, &file, NAME), Err(ENODATA));
    }
    Ok(())
}

fn an_attribute_longer_than_the_buffer_is_erange() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, b"12345678")?;
        ensure_eq!(get(&file, NAME)?.0, 8);
        set(&at, &file, NAME, b"123456789")?;
        ensure_eq!(get(&file, NAME), Err(ERANGE));
        ensure_eq!(file.get_xattr(NAME, &mut [0]), Err(ERANGE));
    }
    Ok(())
}

fn an_empty_buffer_is_told_the_length() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, &[1; 300])?;
        ensure_eq!(file.get_xattr(NAME, &mut []), Ok(300));
    }
    Ok(())
}

fn an_empty_value_is_there() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, &[])?;
        ensure_eq!(get(&file, NAME)?, (0, [0xee; 8]));
        remove(&at, &file, NAME)?;
        ensure_eq!(get(&file, NAME), Err(ENODATA));
    }
    Ok(())
}

fn any_byte_can_be_stored() -> Outcome {
    let mut value = [0; 256];
    for (place, byte) in value.iter_mut().zip(0..=u8::MAX) {
        *place = byte;
    }
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        set(&at, &file, NAME, &value)?;
        let mut read = [0; 256];
        ensure_eq!(file.get_xattr(NAME, &mut read), Ok(256));
        ensure_eq!(read, value);
    }
    Ok(())
}

fn attributes_are_apart() -> Outcome {
    for at in Scratch::on_each()? {
        let (file, neighbour) = (at.file(b"file")?, at.file(b"neighbour")?);
        set(&at, &file, NAME, b"one")?;
        ensure_eq!(get(&file, OTHER), Err(ENODATA));
        ensure_eq!(get(&neighbour, NAME), Err(ENODATA));
        set(&at, &file, OTHER, b"two")?;
        remove(&at, &file, NAME)?;
        ensure_eq!(get(&file, OTHER)?.0, 3);
    }
    Ok(())
}

fn a_directory_has_attributes_too() -> Outcome {
    for at in Scratch::on_each()? {
        set(&at, at.dir(), NAME, b"dir")?;
        ensure_eq!(get(at.dir(), NAME)?, (3, *b"dir\xee\xee\xee\xee\xee"));
    }
    Ok(())
}

fn a_file_without_a_name_has_attributes_too() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.nameless()?;
        set(&at, file.dentry(), NAME, b"early")?;
        // And keeps them when it gets one.
        let named = at.link(&file, b"file")?;
        ensure_eq!(get(&named, NAME)?.0, 5);
    }
    Ok(())
}

fn a_name_without_a_file_is_enoent() -> Outcome {
    for at in Scratch::on_each()? {
        let nothing = at.name(b"nothing")?;
        ensure_eq!(get(&nothing, NAME), Err(ENOENT));
        ensure_eq!(set(&at, &nothing, NAME, b"hello"), Err(ENOENT));
        ensure_eq!(remove(&at, &nothing, NAME), Err(ENOENT));
    }
    Ok(())
}

fn an_unknown_namespace_is_eopnotsupp() -> Outcome {
    for at in Scratch::on_each()? {
        let file = at.file(b"file")?;
        let name = c_str!("nonsense.kunit");
        ensure_eq!(set(&at, &file, name, b"hello"), Err(EOPNOTSUPP));
        ensure_eq!(get(&file, name), Err(EOPNOTSUPP));
        ensure_eq!(remove(&at, &file, name), Err(EOPNOTSUPP));
    }
    Ok(())
}
