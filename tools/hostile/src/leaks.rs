// SPDX-License-Identifier: GPL-2.0
//! kmemleak, where the kernel has it.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

const PATH: &str = "/sys/kernel/debug/kmemleak";

/// What is younger is not reported.
const AGE: Duration = Duration::from_secs(6);

/// Whether there is one that is running.
pub fn is_possible() -> bool {
    Path::new(PATH).exists() && fs::write(PATH, "scan=off").is_ok()
}

/// Forgets what is lost already.
pub fn forget() -> Result<()> {
    if is_possible() {
        fs::write(PATH, "clear").context("clearing kmemleak")?;
    }
    Ok(())
}

/// Looks for what was lost since: its report, which is empty if nothing was.
pub fn find() -> Result<String> {
    if !is_possible() {
        return Ok(String::new());
    }
    sleep(AGE);
    // What is found once may be on its way from one place to another.
    for _ in 0..2 {
        fs::write(PATH, "scan").context("scanning for leaks")?;
    }
    fs::read_to_string(PATH).context("reading the report of kmemleak")
}
