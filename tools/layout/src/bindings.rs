// SPDX-License-Identifier: GPL-2.0
//! Reads the checks that bindgen writes beside each type, for their numbers:
//! `["Size of a"][size_of::<a>() - 8usize]` and `["Offset of field: a::b"][... - 4usize]`.

use std::collections::BTreeMap;

use crate::Record;

/// All records that `text` checks, by name.
pub fn records(text: &str) -> BTreeMap<String, Record> {
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    for check in text.split("[\"").skip(1) {
        let Some((what, rest)) = check.split_once("\"]") else {
            continue;
        };
        let Some(number) = number(rest) else { continue };
        if let Some(name) = what.strip_prefix("Size of ") {
            records.entry(name.to_owned()).or_default().size = number;
        } else if let Some(field) = what.strip_prefix("Offset of field: ")
            && let Some((name, member)) = field.split_once("::")
            && !member.starts_with("_bitfield_")
            && !member.starts_with("__bindgen_")
        {
            let record = records.entry(name.to_owned()).or_default();
            record.offsets.insert(member.to_owned(), number);
        }
    }
    records
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
                ["Offset of field: a::_bitfield_1"][::core::mem::offset_of!(a, _bitfield_1) - 1usize];
            };"#;
        let records = records(text);
        assert_eq!(records.len(), 1);
        assert_eq!(records["a"].size, 24);
        assert_eq!(records["a"].offsets, [("type_".to_owned(), 16)].into());
    }
}
