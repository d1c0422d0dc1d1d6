// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::debugfs`: lists, and the files that show them. What is read from a file is checked
//! by the selftests.

use core::fmt::Write;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel_ext::debugfs::{Directory, Line, Listing};
use kunit::{ensure, ensure_eq, flush_closed_files, foreign_module, users_of_this_module, Outcome};

kunit::suite!(
    "kernel_ext_debugfs",
    [
        a_line_takes_what_fits,
        the_directory_of_another_module_is_refused,
        a_file_that_is_open_keeps_the_module,
        a_directory_goes_with_its_files,
    ]
);

struct Nothing;

impl Listing for Nothing {
    const HEADER: &'static str = "# nothing";

    fn next(_position: u64, _line: &mut Line) -> Option<u64> {
        None
    }
}

fn a_line_takes_what_fits() -> Outcome {
    let mut line = Line::new()?;
    ensure!(line.written().is_empty());
    ensure!(write!(line, "{} and two", 1).is_ok());
    ensure_eq!(line.written(), b"1 and two");
    for _ in 0..Line::CAPACITY {
        ensure!(line.write_str("abc").is_ok());
    }
    // There is room for the newline.
    ensure_eq!(line.written().len(), Line::CAPACITY - 1);
    ensure!(line.written().starts_with(b"1 and twoabcabc"));
    Ok(())
}

fn the_directory_of_another_module_is_refused() -> Outcome {
    let directory = Directory::create(kernel::c_str!("kunit-foreign"), foreign_module());
    ensure_eq!(directory.err(), Some(EINVAL));
    Ok(())
}

/// A directory with one file.
fn directory(name: &'static CStr) -> Outcome<Directory> {
    let directory = Directory::create(name, &crate::THIS_MODULE)?;
    directory.add::<Nothing>(kernel::c_str!("nothing"));
    Ok(directory)
}

fn a_file_that_is_open_keeps_the_module() -> Outcome {
    let _directory = directory(kernel::c_str!("kunit-open"))?;
    let before = users_of_this_module();
    let file = kunit::open(kernel::c_str!("/sys/kernel/debug/kunit-open/nothing"))?;
    ensure_eq!(users_of_this_module(), before + 1);
    drop(file);
    flush_closed_files();
    ensure_eq!(users_of_this_module(), before);
    Ok(())
}

fn a_directory_goes_with_its_files() -> Outcome {
    let directory = directory(kernel::c_str!("kunit-gone"))?;
    let name = kernel::c_str!("/sys/kernel/debug/kunit-gone/nothing");
    let open = kunit::open(name)?;
    drop(directory);
    ensure_eq!(kunit::open(name).err(), Some(ENOENT));
    // What is open is closed as ever.
    drop(open);
    flush_closed_files();
    Ok(())
}
