//! The threads that run guests: few, their own, and shared fairly.
//!
//! A guest may keep a thread for its whole deadline, so guests never run on the threads that serve requests. The
//! queue is bounded: a caller hears that the host is busy at once instead of waiting without end. Each plugin has a
//! lane in which its calls wait; threads take from the lanes in turn, and a plugin may hold only a share of the
//! threads and of the queue, so one that burns its deadline in every call slows itself and not the others.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use lucius_domain::id::Digest;
use lucius_domain::plugin::Description;
use lucius_ports::plugin::{AdmissionError, Answered, Call, Fault, Limits};
use tokio::sync::oneshot;

use crate::call::Host;
use crate::load::Plugin;
use crate::ticker::Running;

/// A guest has 512 KiB of its own; the host's code around it must fit into the rest.
const STACK_BYTES: usize = 4 << 20;

/// A question and where its answer goes.
pub(crate) enum Question {
    /// What are you?
    Describe(oneshot::Sender<Result<Description, AdmissionError>>),
    /// A call.
    Call(Call, oneshot::Sender<Result<Answered, Fault>>),
}

/// Work for a thread.
pub(crate) struct Task {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) limits: Limits,
    pub(crate) question: Question,
}

/// How the threads are shared.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    /// How many threads there are.
    pub(crate) threads: usize,
    /// How many of them one plugin may hold.
    pub(crate) threads_of_one: usize,
    /// How many calls may wait.
    pub(crate) queue: usize,
    /// How many of them one plugin's.
    pub(crate) queue_of_one: usize,
}

/// The threads; they end when this is dropped, after the calls they are in.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    shares: Shares,
    lanes: Mutex<Lanes>,
    work: Condvar,
}

#[derive(Default)]
struct Lanes {
    of: HashMap<Digest, Lane>,
    /// Lanes that have work and may have another thread, each once.
    turn: VecDeque<Digest>,
    waiting: usize,
    /// Threads that sleep; waking is a system call, so nobody is woken in vain.
    idle: usize,
    stopped: bool,
}

#[derive(Default)]
struct Lane {
    tasks: VecDeque<Task>,
    running: usize,
    in_turn: bool,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        host: &Arc<Host>,
        running: &Running,
        shares: Shares,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            shares,
            lanes: Mutex::default(),
            work: Condvar::new(),
        });
        let mut pool = Self {
            shared,
            threads: Vec::with_capacity(shares.threads),
        };
        for number in 0..shares.threads {
            let (shared, host) = (Arc::clone(&pool.shared), Arc::clone(host));
            let running = running.clone();
            let thread = std::thread::Builder::new()
                .name(format!("lucius-plugin-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    while let Some((lane, task)) = shared.take() {
                        run(&host, &running, task);
                        shared.done(&lane);
                    }
                })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues a task in its plugin's lane.
    ///
    /// # Errors
    /// [`Fault::Busy`] when the queue, or the plugin's part of it, is full.
    pub(crate) fn submit(&self, lane: Digest, task: Task) -> Result<(), Fault> {
        self.shared.submit(lane, task)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut lanes = self.shared.lock();
        lanes.stopped = true;
        // Dropping what waits tells the callers.
        lanes.of.clear();
        drop(lanes);
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a plugin thread panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        // Nothing that can panic runs under the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, digest: Digest, task: Task) -> Result<(), Fault> {
        let mut lanes = self.lock();
        let full = |whose: &str| Fault::Busy(format!("{whose} queue is full, try again"));
        if lanes.waiting >= self.shares.queue {
            return Err(full("the plugin"));
        }
        let lane = lanes.of.entry(digest).or_default();
        if lane.tasks.len() >= self.shares.queue_of_one {
            return Err(full("this plugin's"));
        }
        lane.tasks.push_back(task);
        lanes.waiting += 1;
        let wake = self.queue_up(&mut lanes, digest) && lanes.idle > 0;
        drop(lanes);
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Puts a lane in turn if it has work and may have a thread; says whether it did.
    fn queue_up(&self, lanes: &mut Lanes, digest: Digest) -> bool {
        let Some(lane) = lanes.of.get_mut(&digest) else {
            return false;
        };
        let ready =
            !lane.in_turn && !lane.tasks.is_empty() && lane.running < self.shares.threads_of_one;
        if ready {
            lane.in_turn = true;
            lanes.turn.push_back(digest);
        }
        ready
    }

    /// Waits for work; nothing once the pool stops.
    fn take(&self) -> Option<(Digest, Task)> {
        let mut lanes = self.lock();
        loop {
            if lanes.stopped {
                return None;
            }
            if let Some(taken) = self.next(&mut lanes) {
                return Some(taken);
            }
            lanes.idle += 1;
            lanes = self
                .work
                .wait(lanes)
                .unwrap_or_else(PoisonError::into_inner);
            lanes.idle -= 1;
        }
    }

    fn next(&self, lanes: &mut Lanes) -> Option<(Digest, Task)> {
        let digest = lanes.turn.pop_front()?;
        let lane = lanes.of.get_mut(&digest)?;
        lane.in_turn = false;
        let task = lane.tasks.pop_front()?;
        lane.running += 1;
        lanes.waiting = lanes.waiting.saturating_sub(1);
        if self.queue_up(lanes, digest) && lanes.idle > 0 {
            self.work.notify_one();
        }
        Some((digest, task))
    }

    fn done(&self, digest: &Digest) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.of.get_mut(digest) else {
            return;
        };
        lane.running = lane.running.saturating_sub(1);
        if lane.running == 0 && lane.tasks.is_empty() {
            lanes.of.remove(digest);
        } else {
            // This very thread looks for work next, so nobody needs to be woken.
            self.queue_up(&mut lanes, *digest);
        }
    }
}

fn run(host: &Host, running: &Running, task: Task) {
    let Task {
        plugin,
        limits,
        question,
    } = task;
    let _ticking = running.enter();
    // A receiver that is gone means that nobody wants the answer any more.
    match question {
        Question::Describe(reply) if !reply.is_closed() => {
            let described = caught(|| host.describe(&plugin, &limits));
            let _ = reply.send(described.unwrap_or_else(|fault| Err(fault.into())));
        }
        Question::Call(call, reply) if !reply.is_closed() => {
            let answered = caught(|| {
                let began = Instant::now();
                let answered = host.call(&plugin, &limits, &call);
                plugin.pace.took(began.elapsed());
                answered
            });
            let _ = reply.send(answered.unwrap_or_else(Err));
        }
        Question::Describe(_) | Question::Call(..) => {}
    }
}

/// A panic of the host's own code on hostile values ends that call alone; its store is gone with it.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        tracing::error!("the host panicked while it ran a plugin; the call is dropped");
        Fault::Trap("the host broke down while it ran it".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w24_a_panic_of_the_host_ends_that_call_alone() {
        let broken: Result<(), Fault> = caught(|| panic!("on a hostile value"));
        let line = "trapped: the host broke down while it ran it";
        assert_eq!(
            broken.map_err(|fault| fault.to_string()),
            Err(line.to_owned())
        );
        assert_eq!(caught(|| 7), Ok(7));
    }
}
