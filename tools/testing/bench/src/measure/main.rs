// SPDX-License-Identifier: GPL-2.0
//! What cachefiles.ko costs: loads each module in turn, on each store, and measures the rows of the
//! table. Runs in a test machine of one processor that counts instructions; writes a line of JSON
//! per figure.

mod concurrent;
mod crew;
mod daemon;
mod image;
mod latency;
mod meter;
mod output;
mod pool;
mod raw;
mod rivals;
mod rows;
mod store;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::{sys, task};
use clap::{Parser, Subcommand};

use rustix::process::{Resource, Rlimit};

use output::{Labels, Output};
use rows::{Bench, ROWS};
use store::Store;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures.
    Run(Run),
    /// Measures the time of many readers at once; for a machine of several processors.
    Concurrent(Run),
    /// Measures cold reads with a daemon whose server is far away; for a machine in virtual time.
    Latency(Latency),
    /// Measures the same file through FUSE and through a network block device; for a machine in
    /// virtual time.
    Rivals(Rivals),
    /// Writes what the image of the latency rows holds; on the host.
    Files {
        /// The files of the image, but for the program.
        files: PathBuf,
        /// The sources of the program and its libraries.
        sources: PathBuf,
    },
    /// The other process of a row.
    #[command(subcommand)]
    Part(rows::Part),
}

#[derive(clap::Args)]
struct Run {
    /// The modules in the order of a round: NAME=FILE.
    #[arg(long = "module", value_name = "NAME=FILE", required = true)]
    modules: Vec<String>,
    /// What lies under the cache.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "overlay")]
    stores: Vec<Store>,
    /// The rows, by default all.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// How often every module has its turn.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Number of this boot: what is laid out differently from one to the next follows it.
    #[arg(long, default_value_t = 0)]
    boot: u32,
    /// Requests of the rows that have no sizes.
    #[arg(long, default_value_t = 256)]
    requests: usize,
    /// Numbers of requests in flight.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024,4096")]
    sizes: Vec<usize>,
    /// Numbers of small images.
    #[arg(long, value_delimiter = ',', default_value = "100")]
    images: Vec<usize>,
    /// A plugin of the emulator counts, and wants marks.
    #[arg(long)]
    marks: bool,
    /// The virtio disk.
    #[arg(long, default_value = "/dev/vdb")]
    disk: PathBuf,
    /// An empty ext4, to be copied to memory.
    #[arg(long, default_value = "/data/ram.img")]
    ram_image: PathBuf,
}

#[derive(clap::Args)]
struct Latency {
    #[command(flatten)]
    run: Run,
    /// The images: NAME=FILE.
    #[arg(long = "image", value_name = "NAME=FILE", required = true)]
    image: Vec<String>,
    /// Of the daemon's server, in milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "1,5,20,100")]
    latencies: Vec<usize>,
}

#[derive(clap::Args)]
struct Rivals {
    #[command(flatten)]
    run: Run,
    /// The image, not compressed.
    #[arg(long)]
    image: PathBuf,
    /// Of the server, in milliseconds.
    #[arg(long, default_value_t = 20)]
    latency: u64,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Concurrent(run) => run.concurrent(),
        Command::Latency(latency) => latency.measure(),
        Command::Rivals(rivals) => rivals.measure(),
        Command::Files { files, sources } => latency::content::write(&files, &sources),
        Command::Part(part) => part.play(),
    }
}

impl Run {
    fn run(self) -> Result<()> {
        for name in self.rows.iter().filter(|name| !name.is_empty()) {
            ensure!(
                ROWS.iter().any(|row| row.name == name),
                "no such row: {name}"
            );
        }
        for (limit, value) in [
            ("vm/max_map_count", 1 << 20),
            ("kernel/pid_max", 1 << 19),
            ("kernel/threads-max", 1 << 18),
        ] {
            std::fs::write(Path::new("/proc/sys").join(limit), format!("{value}\n"))
                .context(limit)?;
        }
        let files = Some(1 << 18);
        rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files,
                maximum: files,
            },
        )?;
        // Everything that is under way takes longer in emulation.
        task::be_patient(5.0);
        vary(self.boot);
        let mut bench = Bench {
            meter: meter::Meter::start()?,
            pool: pool::Pool::default(),
            output: self.output(),
            store: Store::Overlay,
            requests: self.requests,
            sizes: self.sizes.clone(),
            images: self.images.clone(),
        };
        for round in 0..self.rounds {
            for module in &self.modules {
                let (name, file) = module.split_once('=').context("a module is NAME=FILE")?;
                bench.output.labels.module = name.to_owned();
                bench.output.labels.round = round;
                self.turn(&mut bench, Path::new(file))
                    .with_context(|| format!("module {name}"))?;
            }
        }
        Ok(())
    }

    /// Of nothing yet.
    fn output(&self) -> Output {
        Output {
            labels: Labels {
                module: String::new(),
                store: String::new(),
                boot: self.boot,
                round: 0,
            },
            marks: self.marks.then_some(0),
        }
    }

    /// The row of many readers: no other is measured in time.
    fn concurrent(self) -> Result<()> {
        task::be_patient(5.0);
        let mut output = self.output();
        for round in 0..self.rounds {
            for module in &self.modules {
                let (name, file) = module.split_once('=').context("a module is NAME=FILE")?;
                sys::load_module(file.as_ref())?;
                for store in &self.stores {
                    output.labels = Labels {
                        module: name.to_owned(),
                        store: store.name().to_owned(),
                        boot: self.boot,
                        round,
                    };
                    store.set_up(&self.disk, &self.ram_image)?;
                    concurrent::run(&output, self.requests)
                        .with_context(|| format!("module {name}"))?;
                    store.tear_down()?;
                    eprintln!(
                        "# boot {} round {round}: {name}, {}, concurrent",
                        self.boot,
                        store.name()
                    );
                }
                sys::remove_unused_module(task::soon())?;
            }
        }
        Ok(())
    }

    /// All rows on all stores with one module.
    fn turn(&self, bench: &mut Bench, module: &Path) -> Result<()> {
        sys::load_module(module)?;
        bench.output.symbols()?;
        for store in &self.stores {
            bench.store = *store;
            bench.output.labels.store = store.name().to_owned();
            for row in ROWS {
                let wanted = self.rows.is_empty() || self.rows.iter().any(|name| name == row.name);
                if !wanted || (*store == Store::Ram && !row.ram) {
                    continue;
                }
                let begun = std::time::Instant::now();
                store.set_up(&self.disk, &self.ram_image)?;
                (row.run)(bench)
                    .with_context(|| format!("row {} on {}", row.name, store.name()))?;
                store.tear_down()?;
                let labels = &bench.output.labels;
                eprintln!(
                    "# boot {} round {}: {}, {}, {}: {:.1} G instructions",
                    labels.boot,
                    labels.round,
                    labels.module,
                    labels.store,
                    row.name,
                    begun.elapsed().as_secs_f64()
                );
            }
        }
        sys::remove_unused_module(task::soon())
    }
}

impl Latency {
    fn measure(self) -> Result<()> {
        task::be_patient(5.0);
        vary(self.run.boot);
        let images = self
            .image
            .iter()
            .map(|image| {
                let (name, file) = image.split_once('=').context("an image is NAME=FILE")?;
                Ok(latency::Image {
                    name: name.to_owned(),
                    file: file.into(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut output = self.run.output();
        for round in 0..self.run.rounds {
            for module in &self.run.modules {
                let (name, file) = module.split_once('=').context("a module is NAME=FILE")?;
                output.labels = Labels {
                    module: name.to_owned(),
                    store: Store::Overlay.name().to_owned(),
                    boot: self.run.boot,
                    round,
                };
                let latencies = latency::Latencies {
                    output: &output,
                    store: Store::Overlay,
                    latencies: &self.latencies,
                    images: &images,
                };
                latency::of_module(file.as_ref(), &latencies)
                    .with_context(|| format!("module {name}"))?;
                eprintln!("# boot {} round {round}: {name}, latency", self.run.boot);
            }
        }
        Ok(())
    }
}

impl Rivals {
    fn measure(self) -> Result<()> {
        task::be_patient(5.0);
        vary(self.run.boot);
        let modules = self
            .run
            .modules
            .iter()
            .map(|module| {
                let (name, file) = module.split_once('=').context("a module is NAME=FILE")?;
                Ok((name.to_owned(), file.into()))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut output = self.run.output();
        output.labels.store = Store::Ram.name().to_owned();
        for round in 0..self.run.rounds {
            output.labels.round = round;
            rivals::Rivals {
                output: &mut output,
                modules: &modules,
                image: &self.image,
                ram_image: &self.run.ram_image,
                latency: std::time::Duration::from_millis(self.latency),
            }
            .run()?;
        }
        Ok(())
    }
}

/// Makes this boot unlike others: memory and the timer tick lie elsewhere.
fn vary(boot: u32) {
    let pages: Vec<Vec<u8>> = (0..boot * 37)
        .map(|number| vec![number as u8; 4096 + number as usize])
        .collect();
    std::mem::forget(pages);
    let end = raw::ticks() + u64::from(boot) * 137_911;
    while raw::ticks() < end {
        std::hint::spin_loop();
    }
}
