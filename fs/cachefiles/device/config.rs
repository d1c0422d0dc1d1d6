// SPDX-License-Identifier: GPL-2.0

//! What a daemon says of its cache, before `bind` and after.

use super::args::{non_empty, to_cstring};
use super::Device;
use crate::cache::ondemand::Engine;
use crate::cache::Behaviour;
use crate::format::command::{self, Command};
use crate::format::limits::{BadLimit, Limits};
use kernel::prelude::*;
use kernel::str::CString;
use kernel_ext::errno::EOPNOTSUPP;

/// What the daemon sets up before `bind`.
pub(super) struct Config {
    pub(super) dir: Option<CString>,
    pub(super) tag: Option<CString>,
    pub(super) limits: Limits,
    pub(super) security_id: Option<u32>,
    pub(super) behaviour: Behaviour,
    /// Some of it was set.
    pub(super) is_begun: bool,
}

impl Config {
    pub(super) fn new() -> Self {
        Self {
            dir: None,
            tag: None,
            limits: Limits::DEFAULT,
            security_id: None,
            behaviour: Behaviour::DEFAULT,
            is_begun: false,
        }
    }
}

impl Device {
    /// Executes a command that says what the cache is to be like.
    pub(super) fn set_up(&self, config: &mut Config, command: Command<'_>) -> Result {
        match command {
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
            Command::Timeout(args) => self.set_timeout(config, args),
            Command::Linger(args) => self.set_linger(config, args),
            Command::Daemonless(args) => {
                config.behaviour.daemonless = self.switch("daemonless", args)?;
                Ok(())
            }
            Command::Readahead(args) => self.set_readahead(config, args),
            Command::Mixed(args) => {
                config.behaviour.mixed = self.switch("mixed", args)?;
                Ok(())
            }
            // Executed elsewhere.
            Command::Bind(_)
            | Command::Attach(_)
            | Command::Cull(_)
            | Command::InUse(_)
            | Command::Debug(_)
            | Command::Copen(_)
            | Command::Cfail(_)
            | Command::Restore => Ok(()),
        }
    }

    /// Executes `timeout`. Errors: EOPNOTSUPP in the original mode; EINVAL.
    fn set_timeout(&self, config: &mut Config, args: &[u8]) -> Result {
        let engine = match self.cache() {
            Some(cache) => Some(cache.engine().ok_or(EOPNOTSUPP)?),
            None => None,
        };
        config.behaviour.timeout = command::parse_seconds(args).map_err(|_| {
            kernel_ext::log::error!(
                "The timeout command takes seconds: 0 for none, or up to a day"
            );
            EINVAL
        })?;
        if let Some(engine) = engine {
            Engine::set_timeout(engine, config.behaviour.timeout);
        }
        Ok(())
    }

    /// Executes `linger`. Errors: EOPNOTSUPP in the original mode; EINVAL.
    fn set_linger(&self, config: &mut Config, args: &[u8]) -> Result {
        let cache = self.cache();
        if cache.is_some_and(|cache| cache.engine().is_none()) {
            return Err(EOPNOTSUPP);
        }
        let seconds = command::parse_seconds(args).map_err(|_| {
            kernel_ext::log::error!("The linger command takes seconds: 0 for none, or up to a day");
            EINVAL
        })?;
        config.behaviour.linger = Some(seconds);
        if let Some(cache) = cache {
            cache.patience.set(config.behaviour.linger);
        }
        Ok(())
    }

    /// Reads the argument of a command that switches something on or off before `bind`. Errors:
    /// EBUSY the cache is bound; EINVAL.
    fn switch(&self, name: &str, args: &[u8]) -> Result<bool> {
        if self.cache().is_some() {
            kernel_ext::log::error!("The {} command comes before bind", name);
            return Err(EBUSY);
        }
        command::parse_switch(args).map_err(|_| {
            kernel_ext::log::error!("The {name} command takes 0 or 1");
            EINVAL
        })
    }

    /// Executes `readahead`. Errors: EOPNOTSUPP in the original mode; EINVAL.
    fn set_readahead(&self, config: &mut Config, args: &[u8]) -> Result {
        let engine = match self.cache() {
            Some(cache) => Some(cache.engine().ok_or(EOPNOTSUPP)?),
            None => None,
        };
        let kib = command::parse_readahead(args).map_err(|_| {
            kernel_ext::log::error!("The readahead command takes KiB: 0 for none, or up to 16384");
            EINVAL
        })?;
        config.behaviour.readahead = Some(kib);
        if let Some(engine) = engine {
            engine.set_readahead(config.behaviour.readahead);
        }
        Ok(())
    }
}
