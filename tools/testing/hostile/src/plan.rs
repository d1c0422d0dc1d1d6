// SPDX-License-Identifier: GPL-2.0
//! What a round is made of: all of it follows from the round's seed.

use std::fmt;

use crate::dice::Dice;
use crate::injection::Injection;
use crate::step_log::THREADS;

/// The parts of a round.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Hostile processes, by the number of their threads.
    pub hostiles: Vec<usize>,
    /// Processes that lose their fds.
    pub careless: usize,
    /// Processes that mount.
    pub mounters: usize,
    /// Processes that read.
    pub readers: usize,
    /// The director binds the cache and keeps the device, so that a good daemon can take over in
    /// the end. Otherwise the device is the hostile processes' own: they bind it, and it is closed
    /// with the last of them.
    pub held: bool,
    /// The good daemon writes `restore` before it begins. Without, what the dead left unanswered
    /// comes back all the same, as their fds are closed.
    pub restored: bool,
    /// Percentage of events at which a hostile process is killed, and of those at which all are.
    pub kills: (u32, u32),
    /// Percentage of events at which the disk fails for a moment.
    pub disk_errors: u32,
    /// What memory is refused.
    pub injection: Injection,
    /// The daemons only do what a daemon may do: they dawdle, lose fds and die, but refuse nothing,
    /// and write and complete nothing but what is right.
    pub honest: bool,
    /// Readers are killed, now and then. Others who wait for the same compressed block may see that
    /// as an error, since EROFS ends what it began for all of them at once.
    pub reader_kills: bool,
}

impl Plan {
    /// The plan of the round with this seed. `can_inject`: the kernel can refuse memory on demand.
    /// `honest`: the daemons are to be honest in any case, and nothing is to fail.
    pub fn new(seed: u64, can_inject: bool, honest: bool) -> Self {
        let mut dice = Dice::new(seed, u64::MAX);
        let count = dice.between(2, 3) as usize;
        let mut plan = Self {
            hostiles: (0..count)
                .map(|_| dice.between(1, THREADS as u64 - 1) as usize)
                .collect(),
            careless: usize::from(dice.chance(40)),
            mounters: dice.between(2, 4) as usize,
            readers: dice.between(2, 4) as usize,
            held: dice.chance(55),
            kills: (dice.between(0, 25) as u32, dice.between(0, 4) as u32),
            disk_errors: if dice.chance(30) {
                dice.between(2, 15) as u32
            } else {
                0
            },
            injection: Injection::choose(&mut dice),
            restored: dice.chance(50),
            honest: dice.chance(40) || honest,
            reader_kills: true,
        };
        if plan.honest {
            // It is the director's device: while he has it the cache does not die.
            plan.held = true;
            plan.careless = 0;
            plan.reader_kills = dice.chance(50);
            if dice.chance(60) || honest {
                plan.disk_errors = 0;
                plan.injection = Injection::NONE;
            }
        }
        if !can_inject {
            // Chosen all the same, so that the other choices are those of every kernel.
            plan.injection = Injection::NONE;
        }
        plan
    }

    /// Whether any error that a mounter or reader sees is one too many.
    pub fn is_strict(&self) -> bool {
        self.honest && self.disk_errors == 0 && !self.injection.is_any()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} processes with {} threads, {} careless, {} mounters, {} readers, \
             device {}, killed at {} % / all at {} % \
             of the moments, disk errors at {} %, {}",
            self.hostiles.len(),
            match (self.honest, self.is_strict()) {
                (false, _) => "hostile",
                (true, false) => "honest",
                (true, true) => "honest (no error is excused)",
            },
            self.hostiles.iter().sum::<usize>(),
            self.careless,
            self.mounters,
            self.readers,
            match (self.held, self.restored) {
                (false, _) => "their own",
                (true, true) => "held and restored",
                (true, false) => "held",
            },
            self.kills.0,
            self.kills.1,
            self.disk_errors,
            self.injection
        )
    }
}
