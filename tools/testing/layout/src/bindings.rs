// SPDX-License-Identifier: GPL-2.0
//! Reads the checks that bindgen writes beside each type, for their numbers:
//! `["Size of a"][size_of::<a>() - 8usize]` and `["Offset of field: a::b"][... - 4usize]`.

use std::collections::BTreeMap;

use crate::Record;

/// All records that `text` checks, by name.
pub fn records(text: &str) -> BTreeMap<String, Record> {
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    for (name, number) in checks(text, "\"Size of ") {
        records.entry(name.to_owned()).or_default().size = number;
    }
    for (field, number) in checks(text, "\"Offset of field: ") {
        if let Some((name, member)) = field.split_once("::")
            && !member.starts_with("_bitfield_")
            && !member.starts_with("__bindgen_")
        {
            let record = records.entry(name.to_owned()).or_default();
            record.offsets.insert(member.to_owned(), number);
        }
    }
    records
}

/// What follows `kind` up to the next quote, and the number that is checked. Where bindgen breaks
/// lines does not matter.
fn checks<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    text.split(kind).skip(1).filter_map(|check| {
        let (what, rest) = check.split_once('"')?;
        Some((what, number(rest)?))
    })
}

/// The number in ` - 8usize]`, which is the first such thing behind the name of a check.
fn number(rest: &str) -> Option<u64> {
    let (before, _) = rest.split_once("usize]")?;
    before.rsplit_once("- ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_over_line_breaks() {
        let text = r#"
            const _: () = {
                ["Size of a"][::core::mem::size_of::<a>() - 24usize];
                ["Alignment of a"][::core::mem::align_of::<a>() - 8usize];
                ["Offset of field: a::type_"]
                    [::core::mem::offset_of!(a, type_) - 16usize];
                [
                    "Offset of field: a::b",
                ][::core::mem::offset_of!(a, b) - 8usize];
                ["Offset of field: a::_bitfield_1"][::core::mem::offset_of!(a, _bitfield_1) - 1usize];
            };"#;
        let records = records(text);
        assert_eq!(records.len(), 1);
        assert_eq!(records["a"].size, 24);
        let offsets = [("type_".to_owned(), 16), ("b".to_owned(), 8)];
        assert_eq!(records["a"].offsets, offsets.into());
    }
}
