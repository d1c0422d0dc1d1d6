// SPDX-License-Identifier: GPL-2.0

//! `/dev/cachefiles`: the daemon's side of a cache.

mod args;
mod bind;
mod config;
mod cull;

use self::args::{check_name, non_empty, number_error, to_cstring};
use self::bind::{Got, Mode, Settings};
use self::config::Config;
use crate::cache::claim::Claim;
use crate::cache::ondemand::Engine;
use crate::cache::{linger, Cache, Pin};
use crate::format::command::{self, Command, NotACommand};
use core::mem::MaybeUninit;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, ArcBorrow, Mutex, UniqueArc};
use kernel::uaccess::{UserSliceReader, UserSliceWriter};
use kernel_ext::errno::EOPNOTSUPP;
use kernel_ext::global::Global;
use kernel_ext::miscdevice::MiscDevice;
use kernel_ext::sync::{poll, SetOnce, WaitQueue};

/// The wait queue of the device's pollers, whichever cache is bound. One for all that open it, of
/// whom there is one at a time: a kept cache knows it from the daemon before.
static WAITERS: Global<Option<Arc<WaitQueue>>> = Global::new(None);

/// Returns the queue, and makes it before the first use. Error: ENOMEM.
fn waiters() -> Result<Arc<WaitQueue>> {
    let mut place = WAITERS.lock();
    match &*place {
        Some(waiters) => Ok(waiters.clone()),
        None => {
            let waiters = Arc::pin_init(WaitQueue::new(), GFP_KERNEL)?;
            *place = Some(waiters.clone());
            Ok(waiters)
        }
    }
}

/// Frees it. The module goes, so there is no device.
pub(crate) fn unload() {
    let waiters = WAITERS.lock().take();
    drop(waiters);
}

/// An open device.
#[pin_data]
pub(crate) struct Device {
    /// Set by `bind`, once.
    bound: SetOnce<Arc<Pin>>,
    waiters: Arc<WaitQueue>,
    /// Held by commands that set up and bind; never by those that answer requests, nor by those
    /// that cull, which wait for the disk.
    #[pin]
    config: Mutex<Config>,
    /// Goes last.
    claim: Claim,
}

impl MiscDevice for Device {
    type Data = Self;

    /// Opens the device. Errors: EPERM without CAP_SYS_ADMIN, EBUSY when it's open already.
    fn open() -> Result<Arc<Self>> {
        if !kernel_ext::cred::capable_sys_admin() {
            return Err(EPERM);
        }
        let claim = Claim::take()?;
        let waiters = waiters()?;
        Arc::pin_init(
            pin_init!(Self {
                bound: SetOnce::new(),
                waiters,
                config <- new_mutex!(Config::new(), "cachefiles_config"),
                claim,
            }),
            GFP_KERNEL,
        )
    }

    fn release(device: Arc<Self>) {
        if let Some(pin) = device.bound.as_ref() {
            if !linger::begin(pin) {
                pin.cache().kill();
            }
        }
        // The pin goes with the device, and with the last pin the daemon's part of the cache.
        drop(device);
    }

    /// Reads one message in on-demand mode, and the state of the cache in the original mode.
    /// Returns 0 when there is no message, and before `bind`. Error: EIO there will never be a
    /// message again.
    #[inline]
    fn read(device: ArcBorrow<'_, Self>, out: UserSliceWriter) -> Result<usize> {
        let Some(pin) = device.bound.as_ref() else {
            return Ok(0);
        };
        match pin.cache().ondemand() {
            Some(_) if pin.cache().is_dead() => Err(EIO),
            Some(engine) => engine.read_message(pin, out),
            None => pin.cache().read_state(out),
        }
    }

    fn write(device: ArcBorrow<'_, Self>, input: UserSliceReader) -> Result<usize> {
        device.check_alive()?;
        let len = input.len();
        if len >= kernel::page::PAGE_SIZE {
            return Err(EOPNOTSUPP);
        }
        let mut written = KVec::new();
        input.read_all(&mut written, GFP_KERNEL)?;
        let command = command::parse(&written).map_err(|error| match error {
            NotACommand::Malformed => EINVAL,
            NotACommand::Unknown => EOPNOTSUPP,
        })?;
        device.execute(command)?;
        Ok(len)
    }

    fn wait_queue(device: &Self) -> &WaitQueue {
        &device.waiters
    }

    fn poll(device: ArcBorrow<'_, Self>) -> u32 {
        let mut mask = 0;
        let Some(cache) = device.cache() else {
            return mask;
        };
        if cache.notifier.is_culling() {
            mask |= poll::OUT;
        }
        let Some(engine) = cache.ondemand() else {
            if cache.notifier.is_state_changed() {
                mask |= poll::IN;
            }
            return mask;
        };
        if engine.has_ready() {
            mask |= poll::IN;
        } else if cache.is_dead() {
            // Nothing will ever come again. A read says so, too.
            mask |= poll::IN | poll::ERR;
        }
        mask
    }
}

impl Device {
    fn cache(&self) -> Option<&Arc<Cache>> {
        self.bound.as_ref().map(|pin| pin.cache())
    }

    fn check_alive(&self) -> Result {
        match self.cache() {
            Some(cache) if cache.is_dead() => Err(EIO),
            _ => Ok(()),
        }
    }

    fn execute(&self, command: Command<'_>) -> Result {
        let _span = kernel_ext::log::span!("command", "{command:?}");
        match command {
            // These take no lock here, so that none waits for another command.
            Command::Copen(args) => return self.copen(args),
            Command::Cfail(args) => return self.cfail(args),
            Command::Restore => {
                self.ondemand()?.restore();
                return Ok(());
            }
            Command::Cull(name) => {
                check_name(name, "cull")?;
                return cull::cull(self.live_cache("cull")?, name);
            }
            Command::InUse(name) => {
                check_name(name, "inuse")?;
                return cull::check_in_use(self.live_cache("inuse")?, name);
            }
            _ => {}
        }
        let mut config = self.config.lock();
        // The cache may have died while we waited.
        self.check_alive()?;
        match command {
            Command::Bind(args) => self.bind(&mut config, args),
            Command::Attach(tag) => self.attach(&config, tag),
            Command::Debug(args) => {
                let mask = command::parse_debug_mask(args).map_err(|_| {
                    kernel_ext::log::error!("The debug command takes a mask");
                    EINVAL
                })?;
                kernel_ext::params::set_debug_mask(mask);
                Ok(())
            }
            _ => {
                self.set_up(&mut config, command)?;
                config.is_begun = true;
                Ok(())
            }
        }
    }

    fn bind(&self, config: &mut Config, args: &[u8]) -> Result {
        let Some(dir) = &config.dir else {
            kernel_ext::log::error!("No cache directory specified");
            return Err(EINVAL);
        };
        if self.bound.as_ref().is_some() {
            kernel_ext::log::error!("The cache is bound already");
            return Err(EBUSY);
        }
        let mode = match args {
            b"" => Mode::Original,
            b"ondemand" => Mode::OnDemand,
            _ => {
                kernel_ext::log::error!("Invalid argument to the 'bind' command");
                return Err(EINVAL);
            }
        };
        // From here on the tag is set, as if the daemon had named it.
        let tag = match &mut config.tag {
            Some(tag) => tag,
            none => none.insert(kernel::c_str!("CacheFiles").to_cstring()?),
        };
        let settings = Settings {
            dir,
            tag,
            limits: config.limits,
            security_id: config.security_id,
            mode,
            behaviour: config.behaviour,
        };
        // Before there is a cache: once there is one, somebody may wait for the daemon, who would
        // wait here for it to be withdrawn.
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        self.occupy(place, bind::bind(&settings, &self.waiters)?);
        Ok(())
    }

    /// Executes `attach`. Errors: EBUSY something was set up on this device; EINVAL; as for
    /// [`bind::attach`].
    fn attach(&self, config: &Config, tag: &[u8]) -> Result {
        let tag = to_cstring(non_empty(tag, "tag")?)?;
        if config.is_begun || self.bound.as_ref().is_some() {
            kernel_ext::log::error!("The attach command has to be the first");
            return Err(EBUSY);
        }
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        self.occupy(place, bind::attach(&tag)?);
        Ok(())
    }

    /// Makes a cache that of this device. `config` is locked, and nothing is bound yet.
    fn occupy(&self, place: UniqueArc<MaybeUninit<Pin>>, got: Got) {
        let cache = got.cache().clone();
        match got {
            Got::Unpinned(cache) => {
                let pin = place.write(Pin::new(cache, &self.claim));
                self.bound.populate(pin.into());
            }
            Got::Pinned(pin) => {
                pin.renew_claim(&self.claim);
                self.bound.populate(pin);
            }
        }
        // Pollers that looked before it was ours saw nothing, and a request may have come since.
        cache.notifier.wake_all();
    }

    fn copen(&self, args: &[u8]) -> Result {
        let engine = self.ondemand()?;
        let copen = command::parse_copen(args).map_err(|error| {
            kernel_ext::log::error!("The copen command takes an id and a size");
            number_error(error)
        })?;
        engine.copen(copen.id, copen.size.map_err(number_error))
    }

    fn cfail(&self, args: &[u8]) -> Result {
        let engine = self.ondemand()?;
        let cfail = command::parse_cfail(args).map_err(|error| {
            kernel_ext::log::error!("The cfail command takes an id and a negative errno");
            number_error(error)
        })?;
        engine.cfail(cfail.id, cfail.errno)
    }

    /// Returns the engine, for answers to requests. Errors: EOPNOTSUPP not in on-demand mode; EIO
    /// dead.
    fn ondemand(&self) -> Result<&Engine> {
        self.check_alive()?;
        self.cache()
            .and_then(|cache| cache.ondemand())
            .ok_or(EOPNOTSUPP)
    }

    fn live_cache(&self, command: &str) -> Result<&Arc<Cache>> {
        self.cache()
            .filter(|cache| !cache.is_dead())
            .ok_or_else(|| {
                kernel_ext::log::error!(
                    "The {} command needs a bound cache that is alive",
                    command
                );
                EIO
            })
    }
}
