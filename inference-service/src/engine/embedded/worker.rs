//! The one thread that runs models, off the async threads, and the queue in front of it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use shared::essential::Essentials;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::loaded_model::{LoadedModel, Request};
use crate::engine::{AnswerEvent, EngineError};

/// What a stream of an answer receives.
pub(super) type Item = Result<AnswerEvent, EngineError>;

/// A prompt that waits. Its caller has gone when the receiver of its pieces is gone.
pub(super) struct Job {
    pub(super) gguf: PathBuf,
    pub(super) request: Request,
    /// Told once, when the model is loaded and the prompt fits, or why not.
    pub(super) accepted: oneshot::Sender<Result<(), EngineError>>,
    pub(super) pieces: mpsc::Sender<Item>,
}

/// Owns the thread: it ends, and is waited for, when this is dropped.
pub(super) struct Worker {
    queue: Arc<Queue>,
    stopped: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

struct Queue {
    /// Prompts that may wait besides the one that is answered.
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    answering: bool,
    closed: bool,
}

enum Next {
    Job(Box<Job>),
    /// Nobody came until the model's time was over.
    Idle,
    Closed,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(limit: usize, essentials: &Essentials) -> io::Result<Self> {
        let queue = Arc::new(Queue { limit, state: Mutex::default(), changed: Condvar::new() });
        let stopped = CancellationToken::new();
        // Only to wait for room in a channel and for the engine's end at once. It has no threads.
        let runtime = Builder::new_current_thread().build()?;
        let runner = Runner { runtime, stopped: stopped.clone(), loaded: None, unload_at: None };
        let thread = thread::Builder::new().name("embedded-engine".to_owned()).spawn({
            let (queue, guard) = (Arc::clone(&queue), essentials.guard("the thread that runs models"));
            move || {
                runner.run(&queue);
                // The engine is closed.
                guard.release();
            }
        })?;
        Ok(Self { queue, stopped, thread: Some(thread) })
    }

    /// Puts a prompt at the queue's end; [`EngineError::Busy`] when it is full.
    pub(super) fn submit(&self, job: Job) -> Result<(), EngineError> {
        let mut state = self.queue.lock();
        let limit = self.queue.limit + usize::from(!state.answering);
        if state.waiting.len() >= limit {
            // Who has gone takes no room.
            state.waiting.retain(|job| !job.pieces.is_closed());
        }
        if state.closed || state.waiting.len() >= limit {
            return Err(EngineError::Busy);
        }
        state.waiting.push_back(job);
        self.queue.changed.notify_one();
        Ok(())
    }
}

impl Drop for Worker {
    /// Takes as long as one token, or one chunk of a prompt, or the loading of a model does.
    fn drop(&mut self) {
        self.stopped.cancel();
        let waiting = {
            let mut state = self.queue.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.queue.changed.notify_one();
        drop(waiting);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told where it happened.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, idle_at: Option<Instant>) -> Next {
        let mut state = self.lock();
        state.answering = false;
        loop {
            if state.closed {
                return Next::Closed;
            }
            // First: a model whose time is over goes, also when somebody waits for it already.
            let left = idle_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Next::Idle;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.answering = true;
                return Next::Job(Box::new(job));
            }
            state = match left {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

/// What lives on the thread.
struct Runner {
    runtime: Runtime,
    stopped: CancellationToken,
    loaded: Option<LoadedModel>,
    /// `None`: it stays loaded until another one is asked for.
    unload_at: Option<Instant>,
}

impl Runner {
    fn run(mut self, queue: &Queue) {
        loop {
            match queue.next(self.unload_at) {
                Next::Closed => return,
                Next::Idle => (self.loaded, self.unload_at) = (None, None),
                Next::Job(job) => {
                    let keep_alive = job.request.prompt.keep_alive;
                    // A damaged file can make candle panic. That ends its answer, not the thread: the job's channels close.
                    if catch_unwind(AssertUnwindSafe(|| self.answer(*job))).is_err() {
                        tracing::error!("the embedded engine panicked; the model is loaded anew for the next prompt");
                        self.loaded = None;
                    }
                    self.unload_at = keep_alive.and_then(|keep| Instant::now().checked_add(keep)).filter(|_| self.loaded.is_some());
                }
            }
        }
    }

    fn answer(&mut self, job: Job) {
        let Job { gguf, request, accepted, pieces } = job;
        let stopped = self.stopped.clone();
        let cancelled = || pieces.is_closed() || stopped.is_cancelled();
        if cancelled() {
            return;
        }
        let begin = Instant::now();
        let ready = loaded(&mut self.loaded, &gguf).and_then(|model| {
            let load = begin.elapsed();
            Ok((model, load, model.prepare(&request)?))
        });
        let (model, load, prepared) = match ready {
            Ok(ready) => ready,
            // When nobody waits for it any more, there is nobody to tell.
            Err(error) => return drop(accepted.send(Err(error))),
        };
        if accepted.send(Ok(())).is_err() {
            return;
        }
        let runtime = &self.runtime;
        // Waits for a slow reader, as long as it reads at all: whoever owns the stream drops it when that takes too long.
        let send = |item: Item| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => false,
                    sent = pieces.send(item) => sent.is_ok(),
                }
            })
        };
        if let Err(error) = model.generate(&request, &prepared, load, cancelled, |event| send(Ok(event))) {
            send(Err(error));
        }
    }
}

/// The model of a file: the one that is there, or it takes that one's place.
fn loaded<'a>(slot: &'a mut Option<LoadedModel>, gguf: &Path) -> Result<&'a LoadedModel, EngineError> {
    let kept = slot.take().filter(|model| model.is(gguf));
    // The other one's memory is free by now.
    let model = match kept {
        Some(model) => model,
        None => {
            let begin = Instant::now();
            let model = LoadedModel::load(gguf)?;
            tracing::info!(file = %gguf.display(), took_ms = begin.elapsed().as_millis(), "loaded a model");
            model
        }
    };
    Ok(slot.insert(model))
}
