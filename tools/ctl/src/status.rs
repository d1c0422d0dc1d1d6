// SPDX-License-Identifier: GPL-2.0
//! What there is: the cache, its daemon, what is mounted.

use std::path::Path;

use anyhow::{Context as _, Result};
use cachefiles_daemon::borrow;
use cachefiles_daemon::holders::Holders;
use cachefiles_protocol::{Device, Errno};
use rustix::fs::statvfs;
use serde_json::{Value, json};

use crate::images::{self, Image};
use crate::metrics::Metrics;
use crate::objects::{self, Object};
use crate::settings::Settings;
use crate::size;

/// What was found.
struct Status {
    holders: Holders,
    /// Or why there are none.
    metrics: Result<Metrics, String>,
    images: Vec<Image>,
    cache: Option<Cache>,
}

/// A cache directory.
struct Cache {
    dir: String,
    /// In percent: of the blocks, and of the files where their number is limited.
    free: (u64, Option<u64>),
    objects: Vec<Row>,
    /// Why it is not known which of them are in use.
    unknown: Option<String>,
}

struct Row {
    object: Object,
    is_in_use: Option<bool>,
}

/// Prints it.
pub fn run(settings: &Settings, as_json: bool) -> Result<()> {
    let status = Status::look(settings)?;
    if as_json {
        println!("{:#}", status.to_json());
    } else {
        print!("{}", status.to_text());
    }
    Ok(())
}

impl Status {
    fn look(settings: &Settings) -> Result<Self> {
        let metrics = match &settings.metrics {
            Some(socket) => Metrics::read(socket).map_err(|error| format!("{error:#}")),
            None => Err(
                "no socket of metrics: start the daemon with --metrics PATH, and give \
                         this the same, or the daemon's --config"
                    .into(),
            ),
        };
        let cache = settings.dir.as_deref().map(Cache::look).transpose()?;
        Ok(Self {
            holders: borrow::holders(),
            metrics,
            images: images::mounted(Path::new("/proc"))?,
            cache,
        })
    }

    fn to_json(&self) -> Value {
        let holders = self.holders.found.iter();
        let holders: Vec<Value> = holders
            .map(|holder| json!({"pid": holder.pid, "command": holder.command}))
            .collect();
        let metrics = self.metrics.as_ref().ok().map(|metrics| {
            let pairs = metrics.all().iter();
            let pairs = pairs.map(|(name, value)| (name.clone(), json!(value)));
            Value::Object(pairs.collect())
        });
        let images = self.images.iter();
        let images: Vec<Value> = images
            .map(|image| {
                json!({
                    "target": image.target.to_string_lossy(),
                    "fsid": image.fsid,
                    "domain_id": image.domain,
                })
            })
            .collect();
        json!({
            "holders": holders,
            "metrics": metrics,
            "images": images,
            "cache": self.cache.as_ref().map(Cache::to_json),
        })
    }

    fn to_text(&self) -> String {
        let mut text = self.holders_text();
        text += &format!("daemon   {}\n", self.daemon());
        if let Some(settings) = self.settings() {
            text += &format!("settings {settings}\n");
        }
        for image in &self.images {
            let domain = image.domain.as_ref();
            let domain = domain.map_or_else(String::new, |it| format!(", domain {it}"));
            let target = image.target.display();
            text += &format!("image    {}{domain}: at {target}\n", image.fsid);
        }
        match &self.cache {
            Some(cache) => text + &cache.to_text(),
            None => text + "cache    not given: --dir DIR, or the daemon's --config FILE\n",
        }
    }

    /// A line for each, as command lines are long.
    fn holders_text(&self) -> String {
        let mut lines: Vec<String> = self
            .holders
            .found
            .iter()
            .map(|holder| format!("process {}: {}", holder.pid, holder.command))
            .collect();
        match (lines.is_empty(), self.holders.hidden) {
            (true, false) => lines.push("no daemon has it, as far as can be seen from here".into()),
            (true, true) => lines.push("only root can see which daemon has it".into()),
            (false, true) => lines.push("and perhaps others, which only root can see".into()),
            (false, false) => {}
        }
        format!("device   {}\n", lines.join("\n         "))
    }

    fn daemon(&self) -> String {
        let metrics = match &self.metrics {
            Ok(metrics) => metrics,
            Err(why) => return why.clone(),
        };
        let get = |name: &str| metrics.get(name).unwrap_or_default();
        let waiting = match get("reads_in_flight") {
            0.0 => "no READ in flight".to_owned(),
            count => format!(
                "{count} READs in flight, the oldest for {:.1} s",
                get("reads_oldest_seconds")
            ),
        };
        let bytes = get("bytes_fetched_total").max(0.0) as u64;
        format!(
            "{waiting}; {} READs completed, {} failed, {} fetched",
            get("reads_answered_total{outcome=\"completed\"}"),
            get("reads_answered_total{outcome=\"failed\"}"),
            size::text(bytes)
        )
    }
}

impl Status {
    /// What the daemon has told the kernel of the cache.
    fn settings(&self) -> Option<String> {
        let metrics = self.metrics.as_ref().ok()?;
        let seconds = |name: &str, value: f64| match value {
            0.0 => format!("no {name}"),
            value => format!("{name} {value} s"),
        };
        let linger = metrics.get("linger_seconds");
        let ahead = metrics.get("readahead_bytes").map(|bytes| match bytes {
            0.0 => "no readahead".to_owned(),
            bytes => format!("readahead {}", size::text(bytes.max(0.0) as u64)),
        });
        let told = [
            Some(seconds("timeout", metrics.get("timeout_seconds")?)),
            linger.map(|value| seconds("linger", value)),
            ahead,
        ];
        Some(told.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Cache {
    fn look(dir: &Path) -> Result<Self> {
        let objects = objects::find(dir)?;
        let disk = statvfs(dir).with_context(|| format!("looking at {}", dir.display()))?;
        let percent = |free: u64, all: u64| free.saturating_mul(100).checked_div(all);
        let device = borrow::device();
        let is_in_use = |object: &Object| {
            let device = device.as_ref().ok()?;
            ask(device, object).ok()
        };
        let objects = objects
            .into_iter()
            .map(|object| Row {
                is_in_use: is_in_use(&object),
                object,
            })
            .collect();
        Ok(Self {
            dir: dir.to_string_lossy().into_owned(),
            free: (
                percent(disk.f_bavail, disk.f_blocks).unwrap_or_default(),
                percent(disk.f_ffree, disk.f_files),
            ),
            objects,
            unknown: device.err().map(|error| format!("{error:#}")),
        })
    }

    fn to_json(&self) -> Value {
        let objects = self.objects.iter();
        let objects: Vec<Value> = objects
            .map(|Row { object, is_in_use }| {
                json!({
                    "volume": object.volume,
                    "key": object.key,
                    "path": object.path().to_string_lossy(),
                    "bytes": object.size,
                    "bytes_present": object.present,
                    "complete": object.is_complete(),
                    "in_use": is_in_use,
                })
            })
            .collect();
        json!({
            "dir": self.dir,
            "free_blocks_percent": self.free.0,
            "free_files_percent": self.free.1,
            "objects": objects,
        })
    }

    fn to_text(&self) -> String {
        let count = self.objects.len();
        let present = self.objects.iter().map(|row| row.object.present).sum();
        let files = self.free.1;
        let files = files.map_or_else(String::new, |it| format!(", {it} % of the files"));
        let mut text = format!(
            "cache    {}: {count} objects, {} present; free are {} % of the blocks{files}\n",
            self.dir,
            size::text(present),
            self.free.0
        );
        if let Some(why) = &self.unknown {
            text += &format!("         which are in use is not known: {why}\n");
        }
        if count > 0 {
            let heads = ["IN USE", "PRESENT", "OF", "", "VOLUME", "KEY"].map(str::to_owned);
            let rows = self.objects.iter().map(Row::cells);
            text.push('\n');
            text += &table(std::iter::once(heads).chain(rows).collect());
        }
        text
    }
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let object = &self.object;
        let percent = u128::from(object.present) * 100 / u128::from(object.size.max(1));
        let share = match object.is_complete() {
            true => "all".to_owned(),
            false => format!("{percent} %"),
        };
        let is_in_use = match self.is_in_use {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        [
            is_in_use.to_owned(),
            size::text(object.present),
            size::text(object.size),
            share,
            object.volume.clone(),
            object.key.clone(),
        ]
    }
}

/// Columns as wide as they need to be; numbers stand to the right.
fn table(rows: Vec<[String; 6]>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(width);
    rows.iter()
        .map(|[used, present, size, share, volume, key]| {
            format!("{used:a$}  {present:>b$}  {size:>c$}  {share:>d$}  {volume:e$}  {key}\n")
        })
        .collect()
}

/// Whether a file is in use. The kernel looks for it in the working directory, which is changed.
fn ask(device: &Device, object: &Object) -> Result<bool, Errno> {
    rustix::process::chdir(&object.folder)?;
    device.is_in_use(&object.name)
}

#[cfg(test)]
mod tests {
    use cachefiles_daemon::holders::Holder;

    use super::*;

    fn status() -> Status {
        let object = |key: &str, present, is_in_use| Row {
            object: Object {
                folder: "/c/cache/Ierofs,app/@01".into(),
                name: format!("D{key}").into(),
                volume: "erofs,app".into(),
                key: key.into(),
                size: 1 << 20,
                present,
            },
            is_in_use,
        };
        let holder = |pid, command: &str| Holder {
            pid,
            command: command.into(),
        };
        Status {
            holders: Holders {
                found: vec![holder(7, "nydusd"), holder(9, "systemd")],
                hidden: false,
            },
            metrics: Err("nobody tells".into()),
            images: vec![Image {
                target: "/mnt".into(),
                fsid: "app".into(),
                domain: Some("d".into()),
            }],
            cache: Some(Cache {
                dir: "/c".into(),
                free: (42, None),
                objects: vec![
                    object("app", 1 << 20, Some(true)),
                    object("layer", 4096, None),
                ],
                unknown: None,
            }),
        }
    }

    #[test]
    fn the_table_is_read_at_a_glance() {
        let wanted = "\
device   process 7: nydusd
         process 9: systemd
daemon   nobody tells
image    app, domain d: at /mnt
cache    /c: 2 objects, 1.0 MiB present; free are 42 % of the blocks

IN USE  PRESENT       OF       VOLUME     KEY
yes     1.0 MiB  1.0 MiB  all  erofs,app  app
?       4.0 KiB  1.0 MiB  0 %  erofs,app  layer
";
        assert_eq!(status().to_text(), wanted);
    }

    #[test]
    fn what_the_kernel_was_told_has_a_line() {
        let mut status = status();
        assert!(!status.to_text().contains("settings"));
        let told = "cachefiles_ondemandd_timeout_seconds 0\n\
                    cachefiles_ondemandd_linger_seconds 60\n\
                    cachefiles_ondemandd_readahead_bytes 1048576\n";
        status.metrics = Ok(Metrics::parse(told));
        let said = status.to_text();
        let wanted = "\nsettings no timeout, linger 60 s, readahead 1.0 MiB\n";
        assert!(said.contains(wanted), "{said}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let mut status = status();
        (status.cache, status.images) = (None, Vec::new());
        status.holders.found.clear();
        let said = status.to_text();
        assert!(said.starts_with("device   no daemon has it"), "{said}");
        assert!(said.ends_with("cache    not given: --dir DIR, or the daemon's --config FILE\n"));
        status.holders.hidden = true;
        assert!(status.to_text().starts_with("device   only root can see"));
    }

    #[test]
    fn programs_get_the_same() {
        let json = status().to_json();
        assert_eq!(json["holders"][0]["pid"], 7);
        assert_eq!(json["metrics"], Value::Null);
        assert_eq!(json["images"][0]["domain_id"], "d");
        let objects = &json["cache"]["objects"];
        assert_eq!(objects[0]["complete"], true);
        assert_eq!(objects[1]["bytes_present"], 4096);
        assert_eq!(objects[1]["in_use"], Value::Null);
        assert_eq!(json["cache"]["free_files_percent"], Value::Null);
    }
}
