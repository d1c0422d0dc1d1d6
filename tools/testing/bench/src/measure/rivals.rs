// SPDX-License-Identifier: GPL-2.0
//! What a user would take in place of on-demand EROFS: the same file with the same latency of its
//! server, through a FUSE file system and through EROFS on a network block device, beside the
//! modules. First nothing of it is in the cache, and the time is measured, which is that of a
//! machine in virtual time; then all that is read is there, but not in the page cache, and the
//! instructions are counted.

mod fuse;
mod local;
mod mounted;
mod nbd;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::image::BLOCK;
use cachefiles_harness::sys;
use cachefiles_harness::task::soon;
use rustix::fs::{Advice, fadvise};

use crate::latency::access::{self, random_pages};
use crate::latency::content;
use crate::meter::Meter;
use crate::output::{Output, median};
use crate::store::Store;
use mounted::{Ahead, Mounted, Way};

/// How often the pages of a warm row are read, after once to find the code warm; an odd number.
const PASSES: usize = 9;

/// What is measured.
pub struct Rivals<'a> {
    /// Takes the figures.
    pub output: &'a mut Output,
    /// The modules: names and files.
    pub modules: &'a [(String, PathBuf)],
    /// The image.
    pub image: &'a Path,
    /// An empty ext4, to be copied to memory.
    pub ram_image: &'a Path,
    /// Of the server.
    pub latency: Duration,
}

impl Rivals<'_> {
    /// Measures all.
    pub fn run(&mut self) -> Result<()> {
        mounted::load()?;
        let image = fs::read(self.image).context("reading the image")?;
        for (name, file) in self.modules {
            sys::load_module(file)?;
            self.one(name, Way::OnDemand, &image)?;
            sys::remove_unused_module(soon())?;
        }
        self.one("fuse", Way::Fuse, &image)?;
        self.one("nbd", Way::Nbd, &image)
    }

    /// One of the ways, as it is and with readahead that goes far.
    fn one(&mut self, name: &str, way: Way, image: &[u8]) -> Result<()> {
        let modes = [
            ("", Ahead::Default),
            (", read_ahead_kb 1024", Ahead::Kernel),
            (", readahead 1024", Ahead::Module),
        ];
        for (mode, ahead) in modes {
            if ahead == Ahead::Module && !(way == Way::OnDemand && mounted::is_ours()) {
                continue;
            }
            self.output.labels.module = format!("{name}{mode}");
            for cold in ["sequential", "random, 1 reader", "random, 16 readers"] {
                Store::Ram.set_up(Path::new(""), self.ram_image)?;
                let mut mounted = way.mount(image, ahead, self.latency)?;
                let measured = self.cold(&mut mounted, cold).and_then(|()| match cold {
                    "sequential" => self.complete(&mut mounted),
                    "random, 1 reader" => self.incomplete(&mut mounted),
                    _ => Ok(()),
                });
                measured.with_context(|| format!("{name}{mode}, {cold}"))?;
                mounted.unmount()?;
                Store::Ram.tear_down()?;
            }
            eprintln!("# {name}{mode}, rivals");
        }
        Ok(())
    }

    /// What was never read.
    fn cold(&self, mounted: &mut Mounted, name: &str) -> Result<()> {
        let Some(access) = access::ALL.iter().find(|access| access.name == name) else {
            bail!("no such access");
        };
        let (_, mounting) = mounted.fetches()?;
        let time = mounted.during(access.run)?;
        let (most, all) = mounted.fetches()?;
        let put = |metric: String, value: f64, unit: &str| {
            self.output.put("rivals", &metric, None, value, unit);
        };
        put(format!("cold, {name}"), time.as_secs_f64() * 1e3, "ms");
        put(
            format!("cold, {name}: most in flight"),
            most as f64,
            "READs",
        );
        put(
            format!("cold, {name}: in all"),
            (all - mounting) as f64,
            "READs",
        );
        Ok(())
    }

    /// What is in the cache, of a file of which all is there.
    fn complete(&self, mounted: &mut Mounted) -> Result<()> {
        let size = content::LARGE_SIZE;
        let (pages, passed) = (random_pages(size).collect(), mounted.passed());
        self.warm(mounted, "random, complete", Advice::Random, pages)?;
        let all = (0..size / BLOCK).collect();
        self.warm(mounted, "sequential, complete", Advice::Normal, all)?;
        ensure!(
            mounted.passed() == passed.map(|count| count + 2),
            "the kernel did not read the file by itself"
        );
        Ok(())
    }

    /// The same of one of which only the pages are there that are read.
    fn incomplete(&self, mounted: &mut Mounted) -> Result<()> {
        let pages = random_pages(content::LARGE_SIZE).collect();
        self.warm(mounted, "random, incomplete", Advice::Random, pages)
    }

    fn warm(
        &self,
        mounted: &mut Mounted,
        name: &str,
        advice: Advice,
        pages: Vec<usize>,
    ) -> Result<()> {
        let count = pages.len();
        let passes = mounted.undisturbed(move |root| {
            let file = File::open(root.join(content::LARGE))?;
            fadvise(&file, 0, None, advice)?;
            let expected = content::large();
            let mut data = vec![0; pages.len() * BLOCK];
            let meter = Meter::start()?;
            let mut passes = Vec::new();
            for pass in 0..=PASSES {
                data.fill(0);
                fs::write("/proc/sys/vm/drop_caches", "1")?;
                meter.quiesce();
                let start = meter.mark();
                for (page, part) in pages.iter().zip(data.chunks_mut(BLOCK)) {
                    file.read_exact_at(part, (page * BLOCK) as u64)?;
                }
                if pass > 0 {
                    passes.push(meter.since(start));
                }
                let same =
                    |(page, part): (&usize, &[u8])| *part == expected[page * BLOCK..][..BLOCK];
                ensure!(pages.iter().zip(data.chunks(BLOCK)).all(same), "wrong data");
            }
            Ok(passes)
        })?;
        self.output.instructions(
            "rivals",
            &format!("warm, {name}"),
            None,
            median(passes) / count as f64,
        );
        Ok(())
    }
}
