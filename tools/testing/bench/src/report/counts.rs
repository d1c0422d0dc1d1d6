// SPDX-License-Identifier: GPL-2.0
//! What the plugin of the emulator counted: instructions inside the module and of the kernel's code
//! for Rust, and calls of some functions of the kernel, for each request of a section of the run;
//! and where the instructions went, by function.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::data::Line;

/// How often a block was begun: address, instructions in it, count.
type Block = (u64, u64, u64);

/// The figure of a module's own instructions, with those of the kernel's code for Rust: its C
/// helpers, and what it has of the language's library. These do for a module in Rust what in C is
/// inlined.
pub const OWN: &str = "own and the kernel's for Rust";

/// Whose a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Module,
    KernelForRust,
    Others,
}

impl Owner {
    fn in_kernel(name: &str) -> Self {
        if name.starts_with("rust_helper_") || name.starts_with("_R") {
            Self::KernelForRust
        } else {
            Self::Others
        }
    }
}

/// Functions by address. Those of modules come with every load of one.
struct Symbols {
    sorted: Vec<(u64, String, Owner)>,
}

/// A section that the guest has marked.
#[derive(Deserialize)]
struct Section {
    section: u32,
    module: String,
    store: String,
    boot: u32,
    round: u32,
    row: String,
    metric: String,
    per: f64,
}

#[derive(Deserialize)]
struct Loaded {
    symbols: Vec<(String, String, String)>,
}

/// What is counted by the first instruction of functions: the figure's name, and the functions.
const CALLS: &[(&str, &[&str])] = &[
    (
        "allocations",
        &[
            "__kmalloc_noprof",
            "__kmalloc_node_noprof",
            "__kmalloc_node_track_caller_noprof",
            "__kmalloc_cache_noprof",
            "__kmalloc_cache_node_noprof",
            "__kmalloc_large_noprof",
            "__kmalloc_large_node_noprof",
            "kmem_cache_alloc_noprof",
            "kmem_cache_alloc_lru_noprof",
            "kmem_cache_alloc_node_noprof",
        ],
    ),
    ("system calls", &["entry_SYSCALL_64"]),
    ("wake-ups", &["ttwu_do_activate"]),
    ("task switches", &["__switch_to_asm"]),
    ("seeks", &["vfs_llseek"]),
    ("statfs", &["vfs_statfs"]),
];

/// Of those, what is of interest where nobody is asked.
const WARM: &[&str] = &["allocations", "seeks"];

impl Symbols {
    fn parse(system_map: &str) -> Result<Vec<(u64, String)>> {
        system_map
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                let (address, kind, name) = (fields.next()?, fields.next()?, fields.next()?);
                kind.eq_ignore_ascii_case("t")
                    .then(|| Ok((hexadecimal(address)?, name.to_owned())))
            })
            .collect()
    }

    fn new(kernel: &[(u64, String)], modules: &[(String, String, String)]) -> Result<Self> {
        let mut sorted: Vec<_> = kernel
            .iter()
            .map(|(address, name)| (*address, name.clone(), Owner::in_kernel(name)))
            .collect();
        for (address, name, module) in modules {
            let name = format!("{:#}", rustc_demangle::demangle(name));
            let owner = if module == "cachefiles" {
                Owner::Module
            } else {
                Owner::Others
            };
            sorted.push((hexadecimal(address)?, name, owner));
        }
        sorted.sort();
        Ok(Self { sorted })
    }

    /// The function at an address.
    fn at(&self, address: u64) -> Option<&(u64, String, Owner)> {
        let after = self.sorted.partition_point(|symbol| symbol.0 <= address);
        self.sorted.get(after.checked_sub(1)?)
    }
}

fn hexadecimal(text: &str) -> Result<u64> {
    u64::from_str_radix(text, 16).with_context(|| format!("not an address: {text}"))
}

/// What the plugin wrote: the blocks that ran before each mark.
fn blocks(text: &str) -> Result<Vec<Vec<Block>>> {
    let (mut all, mut current) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            ["mark", _] => all.push(std::mem::take(&mut current)),
            [address, instructions, count] => {
                current.push((hexadecimal(address)?, instructions.parse()?, count.parse()?))
            }
            _ => bail!("not a count: {line}"),
        }
    }
    Ok(all)
}

/// A row, its store, and the module.
type Key = (String, String, String);

/// Instructions by function, for each request of a row: the number of sections, and the sum of
/// them.
#[derive(Default)]
pub struct Functions(BTreeMap<Key, (u32, HashMap<String, f64>)>);

impl Functions {
    fn add(&mut self, section: &Section, costs: HashMap<String, f64>) {
        let title = format!("{}: {}", section.row, section.metric);
        let key = (title, section.store.clone(), section.module.clone());
        let (turns, sum) = self.0.entry(key).or_default();
        *turns += 1;
        for (name, cost) in costs {
            *sum.entry(name).or_default() += cost;
        }
    }

    /// The dearest of each row, those of the module marked.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for ((title, store, module), (turns, costs)) in &self.0 {
            let _ = writeln!(
                text,
                "{title} ({store}), {module}: instructions of a request"
            );
            let mut costs: Vec<_> = costs.iter().collect();
            costs.sort_by(|a, b| b.1.total_cmp(a.1));
            let mine = costs.iter().filter(|cost| cost.0.starts_with('*')).take(30);
            for (name, cost) in costs.iter().take(30).chain(mine) {
                let _ = writeln!(text, "{:>9.1}  {name}", **cost / f64::from(*turns));
            }
            text.push('\n');
        }
        text
    }
}

/// The figures of all sections in `marked`, the guest's output, by the plugin's counts.
pub fn figures(marked: &str, counts: &str, system_map: &str) -> Result<(Vec<Line>, Functions)> {
    let kernel = Symbols::parse(system_map)?;
    let counts = blocks(counts)?;
    let mut symbols = None;
    let (mut lines, mut functions) = (Vec::new(), Functions::default());
    for line in marked.lines() {
        if let Ok(loaded) = serde_json::from_str::<Loaded>(line) {
            symbols = Some(Symbols::new(&kernel, &loaded.symbols)?);
        } else if let Ok(section) = serde_json::from_str::<Section>(line) {
            let symbols = symbols.as_ref().context("a section before any module")?;
            let blocks = counts
                .get(section.section as usize)
                .with_context(|| format!("mark {} was not reached", section.section))?;
            lines.extend(measure(&section, blocks, symbols));
            functions.add(&section, by_function(&section, blocks, symbols));
        }
    }
    Ok((lines, functions))
}

fn by_function(section: &Section, blocks: &[Block], symbols: &Symbols) -> HashMap<String, f64> {
    let mut costs = HashMap::new();
    for (address, instructions, count) in blocks {
        let name = match symbols.at(*address) {
            Some((_, name, Owner::Module)) => format!("* {name}"),
            Some((_, name, _)) => format!("  {name}"),
            None => continue,
        };
        *costs.entry(name).or_default() += (instructions * count) as f64 / section.per;
    }
    costs
}

fn measure(section: &Section, blocks: &[Block], symbols: &Symbols) -> Vec<Line> {
    let warm = section.row == "warm";
    let line = |what: &str, value: f64, unit: &str| Line {
        module: section.module.clone(),
        store: section.store.clone(),
        boot: section.boot,
        round: section.round,
        row: section.row.clone(),
        metric: if warm {
            format!("{what}, {}", section.metric)
        } else {
            what.to_owned()
        },
        n: None,
        value: value / section.per,
        unit: unit.to_owned(),
    };
    // A floor has nothing to do with the module.
    if section.metric.starts_with("floor") {
        return Vec::new();
    }
    let own: u64 = blocks
        .iter()
        .filter(|(address, ..)| {
            symbols
                .at(*address)
                .is_some_and(|(_, _, owner)| *owner != Owner::Others)
        })
        .map(|(_, instructions, count)| instructions * count)
        .sum();
    let mut lines = vec![line(OWN, own as f64, "instructions")];
    for (what, names) in CALLS {
        if warm && !WARM.contains(what) {
            continue;
        }
        let calls: u64 = blocks
            .iter()
            .filter(|(address, ..)| {
                symbols.at(*address).is_some_and(|(start, name, _)| {
                    start == address && names.contains(&name.as_str())
                })
            })
            .map(|(.., count)| count)
            .sum();
        lines.push(line(what, calls as f64, "calls"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "ffffffff81000000 T vfs_llseek\nffffffff81000100 D data\nffffffff81000180 T rust_helper_get_file\nffffffff81000200 t other\n";
    const MARKED: &str = r#"# progress
{"symbols":[["ffffffffa0000000","read_page","cachefiles"],["ffffffffa0001000","map","erofs"]]}
{"section":1,"module":"c","store":"ram","boot":0,"round":2,"row":"warm","metric":"random","per":10}
{"symbols":[["ffffffffb0000000","other_page","cachefiles"],["ffffffffa0001000","map","erofs"]]}
{"section":2,"module":"rust","store":"ram","boot":0,"round":2,"row":"warm","metric":"random","per":10}
"#;
    // A block in the midst of vfs_llseek is no call of it.
    const COUNTS: &str = "ffffffffa0000000 5 1\nmark 0\nffffffffa0000010 5 20\nffffffff81000000 3 10
ffffffff81000008 3 10\nffffffffa0001010 1 100\nmark 1\nffffffffb0000000 4 20\nffffffffa0000000 9 10\nffffffff81000180 2 10\nmark 2\n";

    #[test]
    fn instructions_in_the_module_and_calls_are_told_by_address() {
        let (lines, functions) = figures(MARKED, COUNTS, MAP).unwrap();
        let find = |module: &str, metric: &str| {
            let line = lines
                .iter()
                .find(|line| line.module == module && line.metric == metric);
            line.unwrap().value
        };
        assert_eq!(find("c", "own and the kernel's for Rust, random"), 10.0);
        assert_eq!(find("c", "seeks, random"), 1.0);
        // What lies where the other module was is not the module's any more.
        // And what the kernel has for Rust is its own part too.
        assert_eq!(find("rust", "own and the kernel's for Rust, random"), 10.0);
        assert_eq!(find("rust", "seeks, random"), 0.0);
        assert!(functions.text().contains("10.0  * read_page"));
    }

    #[test]
    fn a_mark_that_was_not_reached_is_an_error() {
        assert!(figures(MARKED, "mark 0\n", MAP).is_err());
        assert!(blocks("one two\n").is_err());
    }
}
