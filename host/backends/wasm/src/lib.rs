//! Runs plugins: WebAssembly components from strangers, each call behind walls of its own.
//!
//! A plugin is a pure function, and this crate makes sure of it: it can import nothing but a bounded log, it gets a
//! fresh instance for every call, and fuel, time, memory, tables, stack and output are limited before its first
//! instruction. Whatever it does, the caller gets an answer that was checked or a typed fault, and the next call is
//! served as if nothing had happened.
//!
//! The way of a component: [`admission`] looks at the bytes without compiling, [`compile`] makes a linked, ready
//! [`compile::Plugin`] of them on a thread of its own, `describe` says who it is. The way of a call: [`pool`] queues
//! it fairly, [`walls`] builds its store, [`call`] asks, [`convert`] believes nothing of the answer, and [`fault`]
//! says in one line what went wrong.

mod admission;
mod bindings;
mod call;
mod compile;
mod convert;
mod engine;
mod fault;
mod log;
mod pool;
mod text;
mod ticker;
mod walls;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::available_parallelism;

use async_trait::async_trait;
use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answered, Call, Fault, Limits, Runtime};
use tokio::sync::{Semaphore, oneshot};

use crate::call::Host;
use crate::compile::Plugin;
use crate::pool::{Pool, Question, Shares, Task};
use crate::ticker::Ticker;

/// What the operator sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Threads that run guests. One plugin may hold half of them.
    pub threads: usize,
    /// Calls that may wait for a thread; more are refused as busy. One plugin may fill half of it.
    pub queue: usize,
    /// The largest component that is taken, in bytes.
    pub component_bytes: u64,
    /// The most memory any instance may have, in bytes, whatever a call's own limit says.
    pub memory_bytes: u64,
    /// Log lines of one call that are shown.
    pub log_lines: u32,
    /// Characters of a log line that are shown.
    pub log_line_chars: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: available_parallelism().map_or(2, usize::from).clamp(2, 16) + 2,
            queue: 4_096,
            component_bytes: 32 << 20,
            memory_bytes: 512 << 20,
            log_lines: 32,
            log_line_chars: 1_000,
        }
    }
}

/// Why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// wasmtime refuses, for example because address space is limited.
    #[error("the WebAssembly engine does not start: {0}; lift limits on address space (ulimit -v)")]
    Engine(String),
    /// No thread.
    #[error("the system gives no thread for plugins: {0}; raise its limit on threads")]
    Thread(#[from] std::io::Error),
}

/// Runs components with wasmtime. Dropping it ends its threads, after the calls they are in.
pub struct Sandbox {
    // Dropped in this order: guests that still run need the epoch to advance.
    pool: Pool,
    _ticker: Ticker,
    host: Arc<Host>,
    loaded: RwLock<HashMap<Digest, Loaded>>,
    compiling: Semaphore,
}

#[derive(Clone)]
struct Loaded {
    plugin: Arc<Plugin>,
    description: Description,
    initial_memory_bytes: u64,
}

impl Sandbox {
    /// Starts the engine and its threads.
    ///
    /// # Errors
    /// When this machine gives neither address space nor threads.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let shares = Shares {
            threads: settings.threads.max(1),
            threads_of_one: (settings.threads / 2).max(1),
            queue: settings.queue.max(1),
            queue_of_one: (settings.queue / 2).max(1),
        };
        let instances = u32::try_from(shares.threads).unwrap_or(u32::MAX);
        let memory_bytes = usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX);
        let engine = engine::start(instances, memory_bytes)
            .map_err(|error| StartError::Engine(fault::reason(&error)))?;
        let ticker = Ticker::start(engine.clone())?;
        let host = Arc::new(Host { engine, settings });
        Ok(Self {
            pool: Pool::start(&host, &ticker.running(), shares)?,
            _ticker: ticker,
            host,
            loaded: RwLock::default(),
            compiling: Semaphore::new(1),
        })
    }

    fn find(&self, digest: &Digest) -> Option<Loaded> {
        self.loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    fn plugin(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(digest).map(|loaded| Arc::clone(&loaded.plugin))
    }

    fn within(&self, limits: Limits) -> Limits {
        Limits {
            memory_bytes: limits.memory_bytes.min(self.host.settings.memory_bytes),
            ..limits
        }
    }

    async fn describe(
        &self,
        digest: Digest,
        plugin: Arc<Plugin>,
        limits: Limits,
    ) -> Result<Description, AdmissionError> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Describe(reply);
        self.pool.submit(
            digest,
            Task {
                plugin,
                limits,
                question,
            },
        )?;
        answer.await.unwrap_or_else(|_| Err(stopping().into()))
    }

    async fn load(
        &self,
        digest: Digest,
        component: Arc<[u8]>,
        limits: Limits,
    ) -> Result<Loaded, AdmissionError> {
        let host = Arc::clone(&self.host);
        let (plugin, initial_memory_bytes) = compile::apart(move || {
            let max_bytes = host.settings.component_bytes;
            let memory = admission::inspect(&component, &limits, max_bytes)?;
            compile::compile(&host.engine, &component, &digest).map(|plugin| (plugin, memory))
        })
        .await??;
        let plugin = Arc::new(plugin);
        let description = self.describe(digest, Arc::clone(&plugin), limits).await?;
        let name = description.id.as_str().into();
        let plugin = Arc::new(Plugin {
            name,
            ..Plugin::clone(&plugin)
        });
        Ok(Loaded {
            plugin,
            description,
            initial_memory_bytes,
        })
    }
}

#[async_trait]
impl Runtime for Sandbox {
    async fn admit(
        &self,
        component: Arc<[u8]>,
        limits: Limits,
    ) -> Result<Description, AdmissionError> {
        let limits = self.within(limits);
        let bytes = Arc::clone(&component);
        let size = u64::try_from(component.len()).unwrap_or(u64::MAX);
        let limit = self.host.settings.component_bytes;
        if size > limit {
            return Err(AdmissionError::TooLarge { bytes: size, limit });
        }
        let digest = compile::apart(move || Digest::of(&bytes)).await?;
        // One at a time; who waited may find that the one before has done the work.
        let _permit = match self.find(&digest) {
            Some(_) => None,
            None => Some(self.compiling.acquire().await.map_err(|_| stopping())?),
        };
        if let Some(loaded) = self.find(&digest) {
            admission::check_memory(loaded.initial_memory_bytes, &limits)?;
            return Ok(loaded.description);
        }
        let loaded = self.load(digest, component, limits).await?;
        let description = loaded.description.clone();
        self.loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, loaded);
        Ok(description)
    }

    async fn call(
        &self,
        component: &Digest,
        limits: Limits,
        call: Call,
    ) -> Result<Answered, Fault> {
        let plugin = self.plugin(component).ok_or(Fault::NotLoaded)?;
        let (reply, answer) = oneshot::channel();
        let question = Question::Call(call, reply);
        self.pool.submit(
            *component,
            Task {
                plugin,
                limits: self.within(limits),
                question,
            },
        )?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn drop_component(&self, component: &Digest) {
        self.loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(component);
    }
}

fn stopping() -> Fault {
    Fault::Busy("this host is stopping".to_owned())
}
