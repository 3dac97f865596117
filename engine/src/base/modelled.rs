//! Stand-ins for queues, locks and events while a model is being explored (`--cfg volley_loom`, `--cfg volley_shuttle`).
//!
//! Each keeps what the engine may rely on and nothing more, so that a protocol which leans on an accident of the real thing fails
//! here:
//!
//! | stand-in | for | what it keeps | what it leaves out |
//! |---|---|---|---|
//! | `ArrayQueue`, `SegQueue` | crossbeam | one entry to one popper, in order; who pops sees what the pusher did before | that a look which finds nothing orders anything: it is a relaxed load, crossbeam's are SeqCst |
//! | `Mutex` | parking_lot | one at a time, in an order | poisoning, fairness |
//! | `Event`, `EventListener` | event-listener 5 | `notify(n)` counts those already notified, `n.additional()` does not; first come, first told; who goes without having looked passes it on; the fences in `notify` and `listen` | tags |
//!
//! Owner: whoever runs a model. Always: no operation blocks but `Mutex::lock`. Not built otherwise.
#![allow(dead_code, reason = "interfaces are whole, whoever uses them at the moment")]

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

#[cfg(volley_loom)]
use loom::{
    future::block_on,
    sync::{
        Mutex as Lock, MutexGuard,
        atomic::{AtomicUsize, Ordering, fence},
    },
};
#[cfg(volley_shuttle)]
use shuttle::{
    future::block_on,
    sync::{
        Mutex as Lock, MutexGuard,
        atomic::{AtomicUsize, Ordering, fence},
    },
};

/// parking_lot's interface over the model's lock.
#[derive(Default)]
pub(crate) struct Mutex<T>(Lock<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Lock::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a model that panics ends there")
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// A queue without a bound.
pub(crate) struct SegQueue<T> {
    entries: Mutex<VecDeque<T>>,
    /// Changed under the lock, read without: a look that finds nothing must not order anything.
    len: AtomicUsize,
}

impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0) }
    }

    pub(crate) fn push(&self, entry: T) {
        let mut entries = self.entries.lock();
        entries.push_back(entry);
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut entries = self.entries.lock();
        let entry = entries.pop_front()?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

/// A queue with a bound.
pub(crate) struct ArrayQueue<T> {
    queue: SegQueue<T>,
    bound: usize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(bound: usize) -> Self {
        Self { queue: SegQueue::new(), bound }
    }

    pub(crate) fn push(&self, entry: T) -> Result<(), T> {
        let mut entries = self.queue.entries.lock();
        if entries.len() == self.bound {
            return Err(entry);
        }
        entries.push_back(entry);
        self.queue.len.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// Something that happens, and those who wait for it.
#[derive(Default)]
pub(crate) struct Event {
    list: std::sync::Arc<Mutex<List>>,
}

#[derive(Default)]
struct List {
    next: u64,
    waiting: Vec<Entry>,
}

struct Entry {
    number: u64,
    notified: Option<Notification>,
    waker: Option<Waker>,
}

/// How many are told, and whether those told before count.
#[derive(Clone, Copy)]
pub(crate) struct Notification {
    count: usize,
    additional: bool,
}

/// event-listener's words for it.
pub(crate) trait IntoNotification: Sized {
    fn into_notification(self) -> Notification;

    fn additional(self) -> Notification {
        Notification { additional: true, ..self.into_notification() }
    }
}

impl IntoNotification for usize {
    fn into_notification(self) -> Notification {
        Notification { count: self, additional: false }
    }
}

impl IntoNotification for Notification {
    fn into_notification(self) -> Notification {
        self
    }
}

impl Event {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify(&self, notification: impl IntoNotification) -> usize {
        fence(Ordering::SeqCst);
        let (told, wakers) = self.list.lock().notify(notification.into_notification());
        wakers.into_iter().for_each(Waker::wake);
        told
    }

    pub(crate) fn listen(&self) -> EventListener {
        let mut list = self.list.lock();
        let number = list.next;
        list.next += 1;
        list.waiting.push(Entry { number, notified: None, waker: None });
        drop(list);
        fence(Ordering::SeqCst);
        EventListener { list: std::sync::Arc::clone(&self.list), number }
    }
}

impl List {
    fn notify(&mut self, notification: Notification) -> (usize, Vec<Waker>) {
        let told = self.waiting.iter().filter(|entry| entry.notified.is_some()).count();
        let mut count = notification.count;
        if !notification.additional {
            count = count.saturating_sub(told);
        }
        let (mut now_told, mut wakers) = (0, Vec::new());
        for entry in self.waiting.iter_mut().filter(|entry| entry.notified.is_none()).take(count) {
            entry.notified = Some(notification);
            now_told += 1;
            wakers.extend(entry.waker.take());
        }
        (now_told, wakers)
    }
}

/// One who waits.
pub(crate) struct EventListener {
    list: std::sync::Arc<Mutex<List>>,
    number: u64,
}

impl Future for EventListener {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut list = self.list.lock();
        let place = list.waiting.iter().position(|entry| entry.number == self.number);
        let place = place.expect("a listener is not polled after its end");
        if list.waiting[place].notified.is_some() {
            list.waiting.remove(place);
            return Poll::Ready(());
        }
        list.waiting[place].waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for EventListener {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut list = self.list.lock();
            if let Some(place) = list.waiting.iter().position(|entry| entry.number == self.number) {
                let entry = list.waiting.remove(place);
                if let Some(notification) = entry.notified {
                    (_, wakers) = list.notify(Notification { count: 1, ..notification });
                }
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Waiting without an executor.
pub(crate) trait Listener {
    /// Waits; in a model time stands still, and nothing ends a wait but the event.
    fn wait_timeout(self, timeout: Duration) -> Option<()>;

    /// Goes without passing anything on. Was it told?
    fn discard(self) -> bool;
}

impl Listener for EventListener {
    fn wait_timeout(self, _timeout: Duration) -> Option<()> {
        block_on(self);
        Some(())
    }

    fn discard(self) -> bool {
        let mut list = self.list.lock();
        let place = list.waiting.iter().position(|entry| entry.number == self.number);
        place.is_some_and(|place| list.waiting.remove(place).notified.is_some())
    }
}
