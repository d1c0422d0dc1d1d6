// SPDX-License-Identifier: GPL-2.0
//! `Documentation/faults.rst` and the tests agree: the same faults, and for each the same tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::registry::{Expect, Test};

const PAGE: &str = include_str!("../../../../../Documentation/faults.rst");

/// The faults that were to be guarded against.
const CVES: &[&str] = &[
    "2022-48989",
    "2022-49062",
    "2022-49064",
    "2022-49655",
    "2023-52982",
    "2024-26612",
    "2024-26840",
    "2024-39510",
    "2024-40899",
    "2024-40900",
    "2024-40913",
    "2024-40935",
    "2024-41050",
    "2024-41051",
    "2024-41057",
    "2024-41058",
    "2024-41074",
    "2024-41075",
    "2024-42250",
    "2024-45000",
    "2024-46748",
    "2024-46786",
    "2024-49870",
    "2024-56549",
    "2024-56755",
];
const LATER: usize = 3;
const STILL_WRONG: usize = 18;
const WALKED: usize = 4;

/// Which fault, and its tests with the outcome on either module.
type Rows = BTreeMap<String, BTreeMap<String, [String; 2]>>;

fn all_faults() -> BTreeSet<String> {
    let cves = CVES.iter().map(|number| format!("CVE-{number}"));
    let later = (1..=LATER).map(|number| format!("LATER {number}"));
    let wrong = (1..=STILL_WRONG).map(|number| format!("FAULTS {number}"));
    let walked = (1..=WALKED).map(|number| format!("WALK {number}"));
    cves.chain(later).chain(wrong).chain(walked).collect()
}

/// A cell in one line.
fn words(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of the page, put together: a row without a fault goes on with the one above.
fn rows() -> Rows {
    let mut rows = Rows::new();
    let mut faults = Vec::new();
    for row in PAGE.split("\n   * -").skip(1) {
        let cells: Vec<&str> = row.split("\n     -").collect();
        let [fault, what, test, on_c, on_rust] = cells[..] else {
            panic!("not five cells: {row}");
        };
        if fault.trim() == "fault" {
            continue;
        }
        // Behind the last row of a table comes the next heading.
        let on_rust = on_rust.split("\n\n").next().unwrap_or(on_rust);
        if !fault.trim().is_empty() {
            assert!(
                !what.trim().is_empty(),
                "{fault}: it does not say what happens"
            );
            faults = fault.trim().split(", ").collect();
            for fault in &faults {
                let new = rows.insert((*fault).to_owned(), BTreeMap::new());
                assert!(new.is_none(), "{fault} has two rows");
            }
        }
        let name = test.trim().trim_matches('`').to_owned();
        for fault in &faults {
            let tests = rows.get_mut(*fault);
            let outcome = [on_c, on_rust].map(words);
            tests.and_then(|tests| tests.insert(name.clone(), outcome));
        }
    }
    rows
}

/// The faults that a test says it guards against: the words before the colon, where they are such.
fn guarded(test: &Test) -> Vec<&'static str> {
    let labels = test
        .guards
        .split_once(": ")
        .map_or("", |(labels, _)| labels);
    let is_fault = |label: &&str| {
        ["CVE-", "FAULTS ", "LATER ", "WALK "]
            .iter()
            .any(|kind| label.starts_with(kind))
    };
    labels.split(", ").filter(is_fault).collect()
}

#[test]
fn every_fault_has_a_row() {
    let listed: BTreeSet<String> = rows().into_keys().collect();
    assert_eq!(listed, all_faults());
}

#[test]
fn every_row_has_the_tests_that_name_its_fault() {
    let mut guards: BTreeMap<String, BTreeSet<String>> = all_faults()
        .into_iter()
        .map(|fault| (fault, BTreeSet::new()))
        .collect();
    for test in super::all() {
        for fault in guarded(test) {
            let tests = guards.get_mut(fault);
            let tests = tests.unwrap_or_else(|| panic!("{}: {fault} is unknown", test.name));
            tests.insert(test.name.to_owned());
        }
    }
    for (fault, tests) in rows() {
        let listed: BTreeSet<String> = tests.into_keys().collect();
        assert_eq!(listed, guards[&fault], "{fault}");
    }
}

#[test]
fn every_row_has_a_test() {
    for (fault, tests) in rows() {
        assert!(!tests.is_empty(), "{fault}");
    }
}

#[test]
fn rows_tell_the_outcome_on_both_modules() {
    let told = |expected: Expect| match expected {
        Expect::Pass => "passes".to_owned(),
        Expect::Fail(reason) => format!("fails: {}", reason.replace('`', "``")),
        Expect::Skip(reason) => format!("not run: {}", reason.replace('`', "``")),
    };
    for tests in rows().into_values() {
        for (name, outcome) in tests {
            let Some(test) = super::all().find(|test| test.name == name) else {
                panic!("there is no test {name}");
            };
            assert_eq!(outcome, [told(test.on_c), told(test.on_rust)], "{name}");
        }
    }
}
