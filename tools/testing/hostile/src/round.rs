// SPDX-License-Identifier: GPL-2.0
//! One round: a fresh world, a while of hostility, a good end, and the world taken apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::context::TAG;
use cachefiles_harness::kmsg::{KernelLog, splats};
use cachefiles_harness::runner::{clean_up, prepare};
use cachefiles_harness::session::{Mount, Session};
use cachefiles_harness::settings::Settings as World;
use cachefiles_harness::share::end_lingering;
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use cachefiles_protocol::{Device, Errno};

use crate::dice::Dice;
use crate::images::{DOMAINS, IMAGES, Images, NAMES, is_sure};
use crate::injection::Injection;
use crate::mounter::{Strict, options};
use crate::plan::Plan;
use crate::processes::{Policy, Processes, Role};
use crate::sleepers;
use crate::successor::Successor;

/// The sysctl by which the module makes its own disk I/O fail.
const DISK_ERRORS: &str = "/proc/sys/cachefiles/error_injection";

/// Lines of the kernel log that a failure shows at most.
const LINES: usize = 200;

/// How a round ended.
#[derive(Default)]
pub struct Ended {
    /// What was wrong.
    pub faults: Vec<String>,
    /// How much was done.
    pub notes: Vec<String>,
    /// What everybody did last.
    pub last_steps: String,
    /// Why no further round can be run.
    pub broken: Option<String>,
}

/// A round under way.
pub struct Round {
    plan: Plan,
    /// The module's file.
    module: PathBuf,
    dice: Dice,
    processes: Processes,
    images: Images,
    mounts: PathBuf,
    /// In a round in which the director keeps it.
    device: Option<Arc<Device>>,
    log: KernelLog,
    lines: Vec<String>,
    notes: Vec<String>,
}

impl Round {
    /// Plays it. An error means that it could not even begin.
    pub fn play(world: &World, seed: u64, plan: Plan, time: Duration) -> Result<Ended> {
        let work = Path::new("/tmp/cachefiles-hostile").join(format!("{seed:x}"));
        // Left by the same round, if it is replayed.
        let _ = std::fs::remove_dir_all(&work);
        let log = KernelLog::from_now().context("opening the kernel log")?;
        prepare(world, &work).context("preparing")?;
        let mut round = Self {
            dice: Dice::new(seed, u64::MAX - 1),
            processes: Processes::new(seed, &work, policy(&plan))?,
            images: Images::make(),
            mounts: work.join("mnt"),
            device: None,
            plan,
            module: world.module_path.clone(),
            log,
            lines: Vec::new(),
            notes: Vec::new(),
        };
        let mut ended = Ended::default();
        if let Err(error) = round.run(time) {
            ended.faults.push(format!("{error:#}"));
        }
        round.quiet();
        ended.faults.append(&mut round.processes.faults);
        // Whatever went wrong, nobody may be left that could go on.
        if let Err(error) = round.kill_everybody() {
            ended.broken = Some(format!("{error:#}\n{}", sleepers::describe()));
        }
        round.device = None;
        round.processes.drain_exchange()?;
        if ended.broken.is_none()
            && let Err(error) = clean_up(ended.faults.is_empty(), &mut ended.faults)
        {
            ended.broken = Some(format!("{error:#}\n{}", sleepers::describe()));
        }
        round.listen()?;
        let complaints: Vec<String> = splats(&round.lines)
            .iter()
            .map(|line| format!("kernel log: {line}"))
            .collect();
        if !complaints.is_empty() {
            ended.faults.extend(complaints);
            let from = round.lines.len().saturating_sub(LINES);
            ended
                .faults
                .extend(round.lines.drain(from..).map(|line| format!("| {line}")));
        }
        if let Some(reason) = &ended.broken {
            ended.faults.push(reason.clone());
        }
        ended.last_steps = round.processes.last_steps();
        ended.notes = round.notes;
        // Not an error: it lies in memory, and the next round has another.
        let _ = std::fs::remove_dir_all(&work);
        Ok(ended)
    }

    fn run(&mut self, time: Duration) -> Result<()> {
        if self.plan.held {
            self.device = Some(Arc::new(bind()?));
        }
        self.plan.injection.switch_on()?;
        for threads in self.plan.hostiles.clone() {
            self.start(Role::Hostile { threads })?;
        }
        for (role, count) in [
            (Role::Careless, self.plan.careless),
            (Role::Mounter, self.plan.mounters),
            (Role::Reader, self.plan.readers),
        ] {
            for _ in 0..count {
                self.start(role)?;
            }
        }
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::sleep(self.dice.pause(300));
            self.event()?;
            self.listen()?;
        }
        self.quiet();
        self.finish()
    }

    /// For when all else has failed: nobody is left to wait for.
    fn kill_everybody(&mut self) -> Result<()> {
        self.processes.kill_all(|_| true)?;
        ensure!(self.processes.reap_exited(soon())?, "somebody does not die");
        Ok(())
    }

    /// Starts a process; a daemon with the device, where the director has it to give.
    fn start(&mut self, role: Role) -> Result<()> {
        let device = self.device.clone();
        if role == Role::Careless && device.is_none() {
            return Ok(());
        }
        // Some daemons are left to come by it by themselves.
        let device = device.filter(|_| role == Role::Careless || self.dice.chance(75));
        self.processes.start(role, device.as_deref())
    }

    /// Something that only the director can do.
    fn event(&mut self) -> Result<()> {
        let (one, all) = self.plan.kills;
        if self.dice.chance(all) {
            self.processes.kill_all(Role::is_daemon)?;
            for threads in self.plan.hostiles.clone() {
                self.start(Role::Hostile { threads })?;
            }
        } else if self.dice.chance(one) {
            let place = self.dice.below(100);
            if let Some(role) = self.processes.kill(place, Role::is_daemon)? {
                self.start(role)?;
            }
        }
        if self.dice.chance(15) && self.plan.reader_kills {
            let place = self.dice.below(100);
            self.processes.kill(place, |role| role == Role::Reader)?;
            self.start(Role::Reader)?;
        }
        if self.dice.chance(self.plan.disk_errors) {
            let kind = if self.dice.chance(50) { "1" } else { "2" };
            // Not on every kernel.
            if std::fs::write(DISK_ERRORS, kind).is_ok() {
                std::thread::sleep(self.dice.pause(60));
                std::fs::write(DISK_ERRORS, "0")?;
            }
        }
        if self.dice.chance(5) {
            let place = self.dice.below(100);
            self.processes.freeze(place, |_| true);
            std::thread::sleep(self.dice.pause(300));
            self.processes.thaw();
        }
        if self.dice.chance(5) {
            self.remove_module()?;
        }
        for role in self.processes.missing()? {
            self.start(role)?;
        }
        Ok(())
    }

    /// Tries to remove the module, which only succeeds at a moment at which nobody has anything of
    /// it.
    fn remove_module(&mut self) -> Result<()> {
        if sys::remove_module().is_ok() {
            self.notes
                .push("the module was removed, and inserted again".into());
            sys::load_module(&self.module)?;
            // It lies somewhere else now.
            self.plan.injection.switch_on()?;
        }
        Ok(())
    }

    /// Nothing is made to fail any more.
    fn quiet(&mut self) {
        Injection::switch_off();
        // Not on every kernel.
        let _ = std::fs::write(DISK_ERRORS, "0");
    }

    /// Takes what the kernel has logged, before it is overwritten.
    fn listen(&mut self) -> Result<()> {
        let lines = self.log.lines().context("reading the kernel log")?;
        self.lines.extend(lines);
        Ok(())
    }

    /// The hostile processes die, and everything has to come to a good end.
    fn finish(&mut self) -> Result<()> {
        self.processes.kill_all(Role::is_daemon)?;
        self.processes.drain_exchange()?;
        // With readers, who would wait for as long as a hostile daemon has said.
        end_lingering()?;
        let limit = soon() * 2;
        let restored = self.plan.restored;
        let successor = self
            .device
            .clone()
            .map(|device| Successor::start(device, self.images.blobs(), restored));
        // Those who have files open first.
        let ended = self.processes.reap_exited(limit)?
            && self.processes.end(|role| role == Role::Reader, limit)?
            && self.processes.end(|role| role == Role::Mounter, limit)?;
        ensure!(ended, "somebody hangs:\n{}", sleepers::describe());
        let [daemons, mounters, readers] = self.processes.done();
        self.notes.push(format!(
            "{} operations ({} taken, {} refused); {} mounts and unmounts ({} failed); {} reads ({} failed)",
            daemons.steps,
            daemons.good,
            daemons.bad,
            mounters.steps,
            mounters.bad,
            readers.steps,
            readers.bad
        ));
        for target in sys::mounts(&self.mounts, Some("erofs"))? {
            let unmounting = Mount::at(target).unmount();
            unmounting
                .finish_within(limit)
                .with_context(sleepers::describe)??;
        }
        sys::wait_for("all cookies and volumes to go", limit, sys::nothing_cached)
            .with_context(sleepers::describe)?;
        let mut dead = false;
        let strict = self.plan.is_strict();
        if let Some(successor) = successor {
            let served = successor.stop()?;
            dead = served.dead;
            self.notes.push(format!(
                "the good daemon: {} messages, {} strays, {} not answered well{}",
                served.messages,
                served.strays,
                served.failures.len(),
                if dead { ", cache dead" } else { "" }
            ));
            for failure in served.failures.iter().take(3) {
                self.notes.push(format!("  {failure}"));
            }
            ensure!(
                !strict || served.failures.is_empty(),
                "the good daemon could not answer all: {:?}",
                served.failures
            );
        }
        let excused = self.plan.disk_errors > 0 || self.plan.injection.is_any();
        ensure!(
            !dead || excused,
            "the cache died, though no disk error was made"
        );
        let device = match self.device.take() {
            Some(device) if !dead && self.dice.chance(50) => device,
            device => {
                drop(device);
                Arc::new(open_patiently(limit).and_then(bind_to)?)
            }
        };
        // A hostile daemon may have said otherwise, and the disk would be in use by what waits.
        // Refused by a module that knows no such thing.
        let _ = device.set_linger(0);
        self.verify(device)
    }

    /// A good daemon serves all images, and all of them are read.
    fn verify(&mut self, device: Arc<Device>) -> Result<()> {
        let mut session = Session::new(device, self.images.blobs());
        for number in 0..IMAGES {
            let domain = DOMAINS[self.dice.below(DOMAINS.len())];
            let options = options(number, self.dice.below(NAMES), domain);
            let image = self.images.image(number).context("no such image")?;
            let what = || format!("afterwards, with a good daemon, {options}");
            let mount = session
                .mount(&self.mounts.join("good"), &options)
                .with_context(what)?;
            for (name, expected) in &image.files {
                let seen = session.read_file(&mount.file(name)).with_context(what)?;
                ensure!(
                    seen == *expected || (!is_sure(name) && seen.len() == expected.len()),
                    "{}: {name} is not what it should be",
                    what()
                );
            }
            session.unmount(mount).with_context(what)?;
        }
        session.settle()
    }
}

fn policy(plan: &Plan) -> Policy {
    Policy {
        fail: plan.injection.is_of_hostiles(),
        honest: plan.honest,
        strict: plan.is_strict().then_some(if plan.reader_kills {
            Strict::Uncompressed
        } else {
            Strict::All
        }),
    }
}

/// The device, opened and bound for a good daemon.
fn bind() -> Result<Device> {
    bind_to(Device::open().context("opening the device")?)
}

fn bind_to(device: Device) -> Result<Device> {
    device
        .bind_ondemand(sys::CACHE.as_ref(), Some(TAG))
        .context("binding the cache")?;
    Ok(device)
}

/// Opens the device, which the dead may still be letting go of.
fn open_patiently(limit: Duration) -> Result<Device> {
    let opening = Task::start("opening the device", move || {
        let end = Instant::now() + limit;
        loop {
            match Device::open() {
                Err(Errno::BUSY) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                result => return result,
            }
        }
    });
    opening
        .finish_within(limit * 2)
        .with_context(sleepers::describe)?
        .with_context(|| {
            format!(
                "opening the device, though nobody has it\n{}",
                sleepers::describe()
            )
        })
}
