//! Runs plugins: WebAssembly components from strangers, each call behind walls of its own.
//!
//! A plugin is a pure function, and this crate makes sure of it: it can import nothing but a bounded log, it gets a
//! fresh instance for every call, and fuel, time, memory, tables, stack and output are limited before its first
//! instruction. Whatever it does, the caller gets an answer that was checked or a typed fault, and the next call is
//! served as if nothing had happened.
//!
//! The way of a component: [`admission`] looks at the bytes without compiling, [`foundry`] finds its code in the
//! [`cache`] or has it compiled in a child process ([`compiler`]) and links it for its version of the contract
//! ([`world`]), `describe` says who it is. The way of a call: [`pace`] says whether it runs at once, [`pool`] queues it
//! fairly if not, [`walls`] builds its store, [`call`] asks, [`output`] believes nothing of the answer, and [`fault`] says in one line what went wrong.

mod admission;
mod cache;
mod call;
mod compiler;
mod engine;
mod fault;
mod foundry;
mod load;
mod log;
mod output;
mod pace;
mod pool;
mod revive;
mod text;
mod ticker;
mod walls;
mod world;

#[cfg(test)]
#[path = "../tests/guests/mod.rs"]
mod guests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::available_parallelism;
use std::time::Instant;

use async_trait::async_trait;
use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answered, Call, Fault, Limits, Runtime};
use tokio::sync::{OnceCell, Semaphore, oneshot};

pub use crate::cache::CacheSettings;
pub use crate::compiler::child::compile_child;
pub use crate::compiler::{Bounds, Child, Compiler};

use crate::cache::Cache;
use crate::call::Host;
use crate::foundry::{Cast, Foundry};
use crate::load::Plugin;
use crate::pool::{Pool, Question, Shares, Task};
use crate::ticker::{Running, Ticker};

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
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Where compiled code is kept between starts; nowhere when absent.
    pub cache: Option<CacheSettings>,
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
            compiler: Compiler::Here,
            cache: None,
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
    /// The folder of the compile cache.
    #[error("cannot keep compiled plugins in {}: {source}", folder.display())]
    Cache {
        /// Which.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Runs components with wasmtime. Dropping it ends its threads, after the calls they are in.
pub struct Sandbox {
    // Dropped in this order: guests that still run need the epoch to advance.
    pool: Pool,
    _ticker: Ticker,
    running: Running,
    /// Calls that may run at once at the same time; each needs an instance of the pool.
    at_once: Semaphore,
    host: Arc<Host>,
    foundry: Foundry,
    loaded: RwLock<HashMap<Digest, Slot>>,
}

/// A component's place. It is empty until the component is admitted; whoever else asks for it meanwhile waits, and
/// tries again when it was refused.
type Slot = Arc<OnceCell<Loaded>>;

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
        let at_once = available_parallelism().map_or(1, usize::from);
        let instances = u32::try_from(shares.threads + at_once).unwrap_or(u32::MAX);
        let memory_bytes = usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX);
        let engine = engine::start(instances, memory_bytes)
            .map_err(|error| StartError::Engine(fault::reason(&error)))?;
        let ticker = Ticker::start(engine.clone())?;
        let open = |settings: &CacheSettings| {
            Cache::open(settings.clone(), &engine).map_err(|source| StartError::Cache {
                folder: settings.folder.clone(),
                source,
            })
        };
        let cache = settings.cache.as_ref().map(open).transpose()?;
        let foundry = Foundry::new(
            engine.clone(),
            settings.compiler.clone(),
            settings.component_bytes,
            cache,
        );
        let host = Arc::new(Host { engine, settings });
        Ok(Self {
            pool: Pool::start(&host, &ticker.running(), shares)?,
            running: ticker.running(),
            _ticker: ticker,
            at_once: Semaphore::new(at_once),
            host,
            foundry,
            loaded: RwLock::default(),
        })
    }

    fn plugin(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get(digest)?.get()?;
        Some(Arc::clone(&loaded.plugin))
    }

    fn slot(&self, digest: Digest) -> Slot {
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loaded.entry(digest).or_default())
    }

    /// Puts a call on the calling thread, past the queue and its fairness: for tools that have nothing else to do.
    ///
    /// # Errors
    /// As [`Runtime::call`].
    pub fn call_here(
        &self,
        component: &Digest,
        limits: Limits,
        call: Call,
    ) -> Result<Answered, Fault> {
        let plugin = self.plugin(component).ok_or(Fault::NotLoaded)?;
        self.run(&plugin, &self.within(limits), &call)
    }

    fn run(&self, plugin: &Plugin, limits: &Limits, call: &Call) -> Result<Answered, Fault> {
        let _ticking = self.running.enter();
        pool::caught(|| self.host.call(plugin, limits, call)).and_then(|said| said)
    }

    /// Puts a call on the calling thread, if it is one for it; see [`pace`].
    fn run_at_once(
        &self,
        plugin: &Plugin,
        limits: &Limits,
        call: &Call,
    ) -> Option<Result<Answered, Fault>> {
        if !plugin.pace.is_quick() {
            return None;
        }
        let _place = self.at_once.try_acquire().ok()?;
        let began = Instant::now();
        match self.run(plugin, &pace::at_once(limits), call) {
            Err(fault) if pace::is_too_long(&fault, limits) => {
                plugin.pace.took_too_long();
                None
            }
            said => {
                plugin.pace.took(began.elapsed());
                Some(said)
            }
        }
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
        let Cast {
            plugin,
            initial_memory_bytes,
        } = self.foundry.cast(digest, component, limits).await?;
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
        let digest = load::apart(move || Digest::of(&bytes)).await?;
        let slot = self.slot(digest);
        let load = || self.load(digest, component, limits);
        let loaded = slot.get_or_try_init(load).await?;
        admission::check_memory(loaded.initial_memory_bytes, &limits)?;
        Ok(loaded.description.clone())
    }

    async fn call(
        &self,
        component: &Digest,
        limits: Limits,
        call: Call,
    ) -> Result<Answered, Fault> {
        let plugin = self.plugin(component).ok_or(Fault::NotLoaded)?;
        let limits = self.within(limits);
        if let Some(said) = self.run_at_once(&plugin, &limits, &call) {
            return said;
        }
        let (reply, answer) = oneshot::channel();
        let question = Question::Call(call, reply);
        self.pool.submit(
            *component,
            Task {
                plugin,
                limits,
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
