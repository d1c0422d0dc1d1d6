// SPDX-License-Identifier: GPL-2.0
//! The file with the credentials for registries, and the helpers that it names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Verdict;
use crate::backend::oci::helpers;

const FILE_WAY: &str = "`docker login` writes such a file; `docker_config` says where it is";
const HELPER_WAY: &str = "install it for the daemon: the unit looks in /usr/local/bin and /usr/bin";
const MODE_WAY: &str = "it may have passwords in it: `chmod 600` it";

/// Looks at the file, and for the helpers in the directories of a PATH.
pub fn look(path: &Path, search: &OsStr) -> Verdict {
    let helpers = match helpers(path) {
        Ok(helpers) => helpers,
        Err(error) => return Verdict::Missing(error.to_string(), FILE_WAY),
    };
    let is_there =
        |program: &str| std::env::split_paths(search).any(|it| it.join(program).exists());
    let mut programs: Vec<String> = helpers
        .iter()
        .map(|name| format!("docker-credential-{name}"))
        .collect();
    programs.sort();
    programs.dedup();
    let absent: Vec<&str> = programs
        .iter()
        .map(String::as_str)
        .filter(|program| !is_there(program))
        .collect();
    if !absent.is_empty() {
        return Verdict::Missing(format!("{} in no PATH", absent.join(", ")), HELPER_WAY);
    }
    let mode = fs::metadata(path).map(|about| about.permissions().mode() & 0o777);
    let place = path.display();
    match mode {
        Ok(mode) if mode & 0o077 != 0 => {
            Verdict::Doubtful(format!("{place} has the mode {mode:o}"), MODE_WAY)
        }
        _ if programs.is_empty() => Verdict::Good(place.to_string()),
        _ => Verdict::Good(format!("{place}, with {}", programs.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_or_names_what_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let put = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = || look(&path, dir.path().as_os_str());
        assert!(matches!(found(), Verdict::Missing(_, FILE_WAY)));
        put("{\"auths\"", 0o600);
        assert!(matches!(found(), Verdict::Missing(_, FILE_WAY)));
        put("{\"auths\":{}}", 0o600);
        assert!(matches!(found(), Verdict::Good(_)));
        put("{\"auths\":{}}", 0o640);
        assert!(matches!(found(), Verdict::Doubtful(_, MODE_WAY)));
        put(
            r#"{"credsStore":"b","credHelpers":{"h":"a","i":"a"}}"#,
            0o600,
        );
        let both = "docker-credential-a, docker-credential-b in no PATH".to_owned();
        assert_eq!(found(), Verdict::Missing(both, HELPER_WAY));
        fs::write(dir.path().join("docker-credential-a"), "").unwrap();
        assert!(matches!(found(), Verdict::Missing(it, _) if !it.contains("-a")));
        fs::write(dir.path().join("docker-credential-b"), "").unwrap();
        assert!(matches!(found(), Verdict::Good(it) if it.contains("-a, docker-credential-b")));
    }
}
