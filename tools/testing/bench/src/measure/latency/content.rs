// SPDX-License-Identifier: GPL-2.0
//! What the image of the latency rows holds. It is made on the host, by this program; inside the
//! machine the same functions tell what has to be read.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The large file.
pub const LARGE: &str = "large";
/// Bytes in it.
pub const LARGE_SIZE: usize = 6 << 20;
/// The directory of the small ones.
pub const TREE: &str = "tree";
/// How many of them there are.
pub const SMALL: usize = 120;
/// The directory of the program, with all that it needs.
pub const PROGRAM: &str = "program";
/// Libraries that it is linked with.
pub const LIBRARIES: usize = 30;
/// Bytes of constant data in each.
const TABLE: usize = 64 << 10;

/// Text that compresses well: words of no language, in an order that `seed` decides.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Of 16 words one comes once, the others are of 256.
        let word = if state & 15 == 0 {
            state >> 20
        } else {
            (state >> 56).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
        };
        text.extend_from_slice(format!("{word:x} ").as_bytes());
    }
    text.truncate(length);
    text
}

/// The content of the large file.
pub fn large() -> Vec<u8> {
    text(1, LARGE_SIZE)
}

/// The small files: name and content.
pub fn small() -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..SMALL).map(|number| {
        let name = format!("{:02}/{number:03}", number / 10);
        let length = 1 + (number * number * 7919) % 90_000;
        (name, text(2 + number as u64, length))
    })
}

/// Writes the files, and the sources of the program and its libraries, which are to be compiled.
pub fn write(files: &Path, sources: &Path) -> Result<()> {
    let put = |path: &Path, content: &[u8]| {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content).with_context(|| format!("writing {}", path.display()))
    };
    put(&files.join(LARGE), &large())?;
    for (name, content) in small() {
        put(&files.join(TREE).join(name), &content)?;
    }
    let mut calls = String::new();
    let mut sum = 0u64;
    for number in 0..LIBRARIES {
        let table = text(1000 + number as u64, TABLE);
        let mut source = format!("static const unsigned char table[{TABLE}] = {{");
        for byte in &table {
            let _ = write!(source, "{byte},");
        }
        let _ = writeln!(
            source,
            "}};\nunsigned long part{number}(void)\n{{\n\tunsigned long at, sum = 0;\n\n\
             \tfor (at = 0; at < sizeof(table); at += 512)\n\t\tsum += table[at];\n\
             \treturn sum;\n}}"
        );
        put(&sources.join(format!("part{number}.c")), source.as_bytes())?;
        let _ = writeln!(calls, "\tsum += part{number}();");
        sum += table
            .iter()
            .step_by(512)
            .map(|byte| u64::from(*byte))
            .sum::<u64>();
    }
    let mut main = String::new();
    for number in 0..LIBRARIES {
        let _ = writeln!(main, "unsigned long part{number}(void);");
    }
    let _ = writeln!(
        main,
        "int main(void)\n{{\n\tunsigned long sum = 0;\n\n{calls}\treturn sum != {sum}UL;\n}}"
    );
    put(&sources.join("main.c"), main.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_its_length_and_repeats() {
        assert_eq!(text(5, 1001).len(), 1001);
        assert_eq!(text(5, 64), text(5, 64));
        assert_ne!(text(5, 64), text(6, 64));
    }
}
