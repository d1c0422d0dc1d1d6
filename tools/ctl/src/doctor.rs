// SPDX-License-Identifier: GPL-2.0
//! What the machine lacks: the daemon's findings, for people or for programs.

use std::process::ExitCode;

use anyhow::Result;
use cachefiles_daemon::doctor::{Finding, Verdict, findings, missing};
use serde_json::{Value, json};

use crate::settings::Settings;

/// Prints what was found; fails if something is missing.
pub fn run(settings: &Settings, as_json: bool) -> Result<ExitCode> {
    let findings = findings(settings.dir.as_deref(), settings.docker_config.as_deref());
    if as_json {
        println!("{:#}", to_json(&findings));
    } else {
        for finding in &findings {
            println!("{finding}");
        }
    }
    Ok(match missing(&findings) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn to_json(findings: &[Finding]) -> Value {
    let all: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let (state, found, remedy) = match &finding.verdict {
                Verdict::Good(found) => ("ok", Some(found), None),
                Verdict::Doubtful(found, remedy) => ("note", Some(found), Some(remedy)),
                Verdict::Missing(found, remedy) => ("missing", Some(found), Some(remedy)),
                Verdict::Unknown(remedy) => ("unknown", None, Some(remedy)),
            };
            json!({"what": finding.what, "state": state, "found": found, "remedy": remedy})
        })
        .collect();
    json!({"ok": missing(findings) == 0, "findings": all})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_state_finding_and_remedy() {
        let finding = |what, verdict| Finding { what, verdict };
        let mut all = vec![
            finding("a", Verdict::Good("good".into())),
            finding("b", Verdict::Doubtful("odd".into(), "do this")),
            finding("c", Verdict::Unknown("try that")),
        ];
        let json = to_json(&all);
        assert_eq!(json["ok"], true);
        assert_eq!(json["findings"][1]["state"], "note");
        assert_eq!(json["findings"][1]["remedy"], "do this");
        assert_eq!(json["findings"][0]["remedy"], Value::Null);
        assert_eq!(json["findings"][2]["found"], Value::Null);
        all.push(finding("d", Verdict::Missing("none".into(), "get one")));
        let json = to_json(&all);
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][3]["state"], "missing");
    }
}
