// SPDX-License-Identifier: GPL-2.0
//! Numbers of bytes, for people.

/// With a unit, three digits at least where there are as many.
pub fn text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    match tenths {
        0..1000 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        _ => format!("{} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_grow_with_the_number() {
        let texts = [0, 1023, 1024, 1536, 150 << 10, 5 << 30, u64::MAX].map(text);
        let wanted = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1.5 KiB",
            "150 KiB",
            "5.0 GiB",
            "16383 PiB",
        ];
        assert_eq!(texts, wanted);
    }
}
