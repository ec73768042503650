//! From a component's bytes to a plugin: looked at, found in the cache or compiled, linked.
//!
//! Nothing here runs on the threads that serve requests. Compiling is the only slow part, so only it needs a permit;
//! as many run at once as the machine has processors, in children that give way to everything else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use lucius_domain::id::Digest;
use lucius_ports::plugin::{AdmissionError, Limits};
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::admission::{self, Seen};
use crate::cache::{Cache, Entry, Verdict};
use crate::compiler::{Compiler, Failure};
use crate::load::{self, Plugin, apart};
use crate::revive::Trusted;
use crate::world::World;

/// Makes plugins.
#[derive(Clone)]
pub(crate) struct Foundry {
    engine: Engine,
    compiler: Arc<Compiler>,
    component_bytes: u64,
    cache: Option<Arc<Cache>>,
    compiling: Arc<Semaphore>,
    /// Components whose compilation was stopped, also where no cache remembers it.
    stopped: Arc<Mutex<HashMap<Digest, Verdict>>>,
}

/// A plugin that nobody has asked what it is.
pub(crate) struct Cast {
    pub(crate) plugin: Plugin,
    pub(crate) initial_memory_bytes: u64,
}

impl Foundry {
    pub(crate) fn new(
        engine: Engine,
        compiler: Compiler,
        component_bytes: u64,
        cache: Option<Cache>,
    ) -> Self {
        let at_once = available_parallelism().map_or(1, usize::from);
        Self {
            engine,
            compiler: Arc::new(compiler),
            component_bytes,
            cache: cache.map(Arc::new),
            compiling: Arc::new(Semaphore::new(at_once)),
            stopped: Arc::default(),
        }
    }

    /// Makes a plugin of a component.
    ///
    /// # Errors
    /// What is wrong with the component, or why it cannot be had now.
    pub(crate) async fn cast(
        &self,
        digest: Digest,
        component: Arc<[u8]>,
        limits: Limits,
    ) -> Result<Cast, AdmissionError> {
        let (this, bytes) = (self.clone(), Arc::clone(&component));
        let (seen, ready) = apart(move || {
            let seen = admission::inspect(&bytes, &limits, this.component_bytes)?;
            let ready = this.ready(&digest, seen.world)?;
            Ok::<_, AdmissionError>((seen, ready))
        })
        .await??;
        let plugin = match ready {
            Some(plugin) => plugin,
            None => self.compiled(digest, component, seen.world).await?,
        };
        let Seen { memory_bytes, .. } = seen;
        Ok(Cast {
            plugin,
            initial_memory_bytes: memory_bytes,
        })
    }

    /// What the cache has.
    fn ready(&self, digest: &Digest, world: World) -> Result<Option<Plugin>, AdmissionError> {
        let remembered = self.lock().get(digest).cloned().map(Entry::Stopped);
        let kept = || self.cache.as_ref().and_then(|cache| cache.find(digest));
        match remembered.or_else(kept) {
            Some(Entry::Code(code)) => match code.revive(&self.engine) {
                Ok(component) => load::link(&self.engine, &component, world, digest).map(Some),
                Err(error) => {
                    tracing::warn!(%digest, "compiled code is of no use: {}", crate::fault::reason(&error));
                    Ok(None)
                }
            },
            Some(Entry::Stopped(verdict)) if self.stands(&verdict) => Err(quarantined(verdict)),
            Some(Entry::Stopped(_)) | None => Ok(None),
        }
    }

    /// More room than last time is worth another try.
    fn stands(&self, verdict: &Verdict) -> bool {
        match &*self.compiler {
            Compiler::Here => false,
            Compiler::Child(child) => child.bounds.within(verdict.bounds),
        }
    }

    async fn compiled(
        &self,
        digest: Digest,
        component: Arc<[u8]>,
        world: World,
    ) -> Result<Plugin, AdmissionError> {
        let permit = self.compiling.acquire().await;
        let _permit = permit.map_err(|_| AdmissionError::Compile("the host is stopping".into()))?;
        let compiled = self.compiler.compile(&self.engine, component).await;
        let this = self.clone();
        match compiled {
            Ok(code) => apart(move || this.keep_and_link(&digest, world, code)).await?,
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Stopped { why, bounds }) => {
                let verdict = Verdict { why, bounds };
                tracing::warn!(%digest, "compiling was stopped: {}", verdict.why);
                apart(move || this.keep_verdict(digest, verdict)).await?
            }
        }
    }

    fn keep_and_link(
        &self,
        digest: &Digest,
        world: World,
        code: Vec<u8>,
    ) -> Result<Plugin, AdmissionError> {
        let code = Trusted::made(code);
        let component = code.revive(&self.engine).map_err(|error| {
            AdmissionError::Compile(format!(
                "the compiler is another version than this host: {}",
                crate::fault::reason(&error)
            ))
        })?;
        let plugin = load::link(&self.engine, &component, world, digest)?;
        if let Some(cache) = &self.cache {
            cache.keep_code(digest, &code);
        }
        Ok(plugin)
    }

    fn keep_verdict(&self, digest: Digest, verdict: Verdict) -> Result<Plugin, AdmissionError> {
        if let Some(cache) = &self.cache {
            cache.keep_verdict(&digest, &verdict);
        }
        self.lock().insert(digest, verdict.clone());
        Err(quarantined(verdict))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Verdict>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn quarantined(verdict: Verdict) -> AdmissionError {
    AdmissionError::Quarantined(verdict.why)
}
