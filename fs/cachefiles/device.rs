// SPDX-License-Identifier: GPL-2.0

//! `/dev/cachefiles`: the daemon's side of a cache.

mod bind;
mod cull;

use self::bind::{Mode, Settings};
use crate::cache::claim::Claim;
use crate::cache::ondemand::Engine;
use crate::cache::{Cache, Pin};
use crate::format::command::{self, BadNumber, Command, NotACommand};
use crate::format::limits::{BadLimit, Limits};
use kernel::prelude::*;
use kernel::str::{CStr, CString};
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

/// What the daemon sets up before `bind`.
struct Config {
    dir: Option<CString>,
    tag: Option<CString>,
    limits: Limits,
    security_id: Option<u32>,
    /// Seconds; 0 is for ever.
    timeout: u32,
}

/// An open device.
#[pin_data]
pub(crate) struct Device {
    /// Set by `bind`, once.
    bound: SetOnce<Arc<Pin>>,
    waiters: Arc<WaitQueue>,
    /// Held by commands that set up, bind and cull; never by those that answer requests.
    #[pin]
    config: Mutex<Config>,
    claim: Arc<Claim>,
}

impl MiscDevice for Device {
    type Data = Self;

    /// Opens the device. Errors: EPERM without CAP_SYS_ADMIN, EBUSY when it's open already.
    fn open() -> Result<Arc<Self>> {
        if !kernel_ext::cred::capable_sys_admin() {
            return Err(EPERM);
        }
        let claim = Arc::new(Claim::take()?, GFP_KERNEL)?;
        let waiters = waiters()?;
        let config = Config {
            dir: None,
            tag: None,
            limits: Limits::DEFAULT,
            security_id: None,
            timeout: 0,
        };
        Arc::pin_init(
            pin_init!(Self {
                bound: SetOnce::new(),
                waiters,
                config <- new_mutex!(config, "cachefiles_config"),
                claim,
            }),
            GFP_KERNEL,
        )
    }

    fn release(device: Arc<Self>) {
        if let Some(cache) = device.cache() {
            cache.kill();
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
            // Answers to requests take no lock here, so that none waits for another command.
            Command::Copen(args) => return self.copen(args),
            Command::Cfail(args) => return self.cfail(args),
            Command::Restore => {
                self.ondemand()?.restore();
                return Ok(());
            }
            _ => {}
        }
        let mut config = self.config.lock();
        // The cache may have died while we waited.
        self.check_alive()?;
        match command {
            Command::Bind(args) => self.bind(&mut config, args),
            Command::Limit(limit, args) => config.limits.set(limit, args).map_err(|error| {
                if error == BadLimit::OutOfRange {
                    kernel_ext::log::error!(
                        "Limits must be in the order 0% <= stop < cull < run < 100%"
                    );
                }
                EINVAL
            }),
            Command::Dir(args) => {
                let dir = non_empty(args, "directory")?;
                if config.dir.is_some() {
                    kernel_ext::log::error!("The cache directory is set already");
                    return Err(EEXIST);
                }
                config.dir = Some(to_cstring(dir)?);
                Ok(())
            }
            Command::Tag(args) => {
                let tag = non_empty(args, "tag")?;
                if config.tag.is_some() {
                    return Err(EEXIST);
                }
                config.tag = Some(to_cstring(tag)?);
                Ok(())
            }
            Command::SecCtx(args) => {
                let context = non_empty(args, "security context")?;
                if config.security_id.is_some() {
                    kernel_ext::log::error!("The security context is set already");
                    return Err(EINVAL);
                }
                config.security_id =
                    Some(kernel_ext::cred::secctx_to_secid(&to_cstring(context)?)?);
                Ok(())
            }
            Command::Debug(args) => {
                let mask = command::parse_debug_mask(args).map_err(|_| {
                    kernel_ext::log::error!("The debug command takes a mask");
                    EINVAL
                })?;
                kernel_ext::params::set_debug_mask(mask);
                Ok(())
            }
            Command::Timeout(args) => self.set_timeout(&mut config, args),
            Command::Cull(name) => {
                check_name(name, "cull")?;
                cull::cull(self.live_cache("cull")?, name)
            }
            Command::InUse(name) => {
                check_name(name, "inuse")?;
                cull::check_in_use(self.live_cache("inuse")?, name)
            }
            Command::Copen(_) | Command::Cfail(_) | Command::Restore => Ok(()),
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
        };
        // Before there is a cache: once there is one, somebody may wait for the daemon, who would
        // wait here for it to be withdrawn.
        let place = UniqueArc::new_uninit(GFP_KERNEL)?;
        let cache = bind::bind(&settings, &self.waiters)?;
        let pin = place.write(Pin::new(cache, self.claim.clone()));
        if let Some(engine) = pin.cache().engine() {
            Engine::set_timeout(engine, config.timeout);
        }
        // `config` is locked, so nobody else can have bound in between.
        self.bound.populate(pin.into());
        Ok(())
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

    /// Executes `timeout`. Errors: EOPNOTSUPP in the original mode; EINVAL.
    fn set_timeout(&self, config: &mut Config, args: &[u8]) -> Result {
        let engine = match self.cache() {
            Some(cache) => Some(cache.engine().ok_or(EOPNOTSUPP)?),
            None => None,
        };
        config.timeout = command::parse_timeout(args).map_err(|_| {
            kernel_ext::log::error!(
                "The timeout command takes seconds: 0 for none, or up to a day"
            );
            EINVAL
        })?;
        if let Some(engine) = engine {
            Engine::set_timeout(engine, config.timeout);
        }
        Ok(())
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

fn number_error(error: BadNumber) -> Error {
    match error {
        BadNumber::Malformed => EINVAL,
        BadNumber::TooLarge => ERANGE,
    }
}

fn non_empty<'a>(args: &'a [u8], what: &str) -> Result<&'a [u8]> {
    if args.is_empty() {
        kernel_ext::log::error!("Empty {} specified", what);
        return Err(EINVAL);
    }
    Ok(args)
}

fn check_name(name: &[u8], command: &str) -> Result {
    if name.is_empty() || name.contains(&b'/') {
        kernel_ext::log::error!(
            "The {} command takes the name of a file in the working directory",
            command
        );
        return Err(EINVAL);
    }
    Ok(())
}

/// Copies an argument. The parser let no NUL through, so this fails only for lack of memory.
fn to_cstring(text: &[u8]) -> Result<CString> {
    let mut buf = KVec::with_capacity(text.len() + 1, GFP_KERNEL)?;
    buf.extend_from_slice(text, GFP_KERNEL)?;
    buf.extend_from_slice(&[0], GFP_KERNEL)?;
    let text = CStr::from_bytes_with_nul(&buf).map_err(|_| EINVAL)?;
    Ok(text.to_cstring()?)
}
