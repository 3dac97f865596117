//! Where callers wait for a free slot, and where those who free one tell them.
//!
//! A slot is freed at the end of every call, and hardly ever waits somebody for it. So whoever frees one looks at a number first:
//! the event behind it has a lock, which would otherwise be taken once a call by every caller of the client.
//!
//! | field | who may touch it | when |
//! |---|---|---|
//! | `waiting` | a caller counts itself in before it listens, and out after it has gone; not those of `standing` | always |
//! | `told` | who has told somebody counts that; who was told counts itself out when it looks or goes, which may be before: so it is never more than there are | always |
//! | `looks` | who was told and looks | always |
//! | `freed` | callers listen; who frees a slot tells | while somebody waits |
//! | `first` | callers listen who were told in vain; who frees a slot tells them before all others | while somebody waits |
//! | `standing` | those who wait for a slot of a standing call; who frees one tells | always |
//!
//! | store | ordering | pairs with | publishes |
//! |---|---|---|---|
//! | `waiting += 1`, then the fence in `listen`, then the caller's second look for a slot | SeqCst fence | the fence in `tell_one`, after the slot was freed (on x86-64 the step that freed it) | either the caller finds the slot, or it is told |
//! | the fence in `listen`, then a load of `told` | SeqCst fence | `told -= 1`, then the fence in `pass_on` or in the telling of the next | either the caller sees that nobody is about to look, and looks, or who has looked last sees that it waits |
//!
//! Each freed slot tells one *more*: with `notify(1)`, which counts those who have been told and have not looked yet, ten slots
//! that came free in one turn woke one caller, and the other nine slept beside free slots until calls ended, one by one. (The
//! model `loom_two_slots_wake_two` found it.) Whoever was told and goes away without having looked passes it on, to whoever is next.
//!
//! **Turns.** A slot belongs to nobody before it is taken, so that it never lies idle for a caller who does not look. But a task that makes one
//! call after the other would take, in the same poll, the slot that it has freed, before whoever was told of it can look: of ten
//! thousand tasks on a hundred slots a hundred kept the slots to themselves for a second on end. So while anybody waits a new call goes to the
//! end of the line, and while anybody was told and has not looked it does not even look. Then there may be more free slots than callers who were told of one; whoever
//! looks last of these tells the next of what is left. If they do not look, for want of being polled, the shard tells another after a while (`look_after_the_line` in
//! `shard/runner`); whoever comes first to an empty line rings, so that it is awake to see to that.
//!
//! Who was told and finds nothing all the same, because of a `try_call` or because all were told at once, stands before all others from then on.
//!
//! Unit: slots. Cost: a load for each slot that is freed (and a fence, but on x86-64), a load for each call. Owner: one for each engine, shared by its shards and callers.
//! Proof: `loom_*_room*`, `loom_two_slots_wake_two` and `loom_who_comes_later_is_not_left_behind` in `models`, `nobody_sleeps_beside_a_free_slot`, below, and `tests/integration/fairness.rs`.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use crate::base::{
    sync::{
        AtomicIsize, AtomicU64, AtomicUsize, Event, EventListener, IntoNotification, Listener, Ordering,
        fence, fence_after_step,
    },
    wake::contained,
};

/// See the module.
#[derive(Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    told: AtomicIsize,
    looks: AtomicU64,
    freed: Event,
    first: Event,
    standing: Event,
}

/// Where a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Behind those who came before.
    Last,
    /// Before all of `Last`: it was told, and found nothing.
    First,
    /// Apart: a standing call has slots of its own. (In one line with the others, it was told of a call's slot, had no use for it, and told nobody.)
    Standing,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            told: AtomicIsize::new(0),
            looks: AtomicU64::new(0),
            freed: Event::new(),
            first: Event::new(),
            standing: Event::new(),
        }
    }

    /// Waits for a slot from now on. Unless [`Waiting::may_sleep`] says otherwise, look for one before polling this.
    fn listen(self: &Arc<Self>, line: Line, begins_line: impl FnOnce()) -> Waiting {
        let is_first = line != Line::Standing && self.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        // The fence is in here.
        let listener = self.event(line).listen();
        if is_first {
            begins_line();
        }
        Waiting { listener: Some(listener), line, room: Arc::clone(self) }
    }

    fn event(&self, line: Line) -> &Event {
        match line {
            Line::Last => &self.freed,
            Line::First => &self.first,
            Line::Standing => &self.standing,
        }
    }

    /// A slot became free, by an atomic step.
    #[inline]
    pub(crate) fn tell_one(&self) {
        fence_after_step();
        if self.is_anybody_waiting() {
            self.tell_next();
        }
    }

    /// Tells one more, whether a slot is free or not. `false`: nobody is left who could be told.
    pub(crate) fn tell_next(&self) -> bool {
        let tell = |line| self.event(line).notify(1.additional()) > 0;
        // Whose waker panicked was told.
        let told = contained(|| tell(Line::First) || tell(Line::Last)).unwrap_or(true);
        if told {
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        told
    }

    /// A slot of a standing call became free.
    pub(crate) fn tell_standing(&self) {
        contained(|| self.standing.notify(1.additional()));
    }

    /// Everybody should look.
    pub(crate) fn tell_all(&self) {
        fence(Ordering::SeqCst);
        contained(|| self.standing.notify(usize::MAX));
        // Those who come meanwhile look by themselves, or are told by who looks last.
        for _ in 0..self.waiting.load(Ordering::Relaxed) {
            if !self.tell_next() {
                return;
            }
        }
    }

    /// Whoever was told has looked, and taken what it found: is it for others to look at what is left?
    fn pass_on(&self, has_room: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.is_anybody_waiting() && !self.is_anybody_told() && has_room() {
            self.tell_next();
        }
    }

    /// Would a new call take the place of somebody who waits?
    #[inline]
    pub(crate) fn is_anybody_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Was anybody told who has not looked yet?
    pub(crate) fn is_anybody_told(&self) -> bool {
        self.told.load(Ordering::Relaxed) > 0
    }

    /// Changes whenever somebody looks who was told.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}

/// A caller who looks for a slot and waits for one if there is none.
pub(crate) struct Seeker {
    waiting: Option<Waiting>,
    standing: bool,
}

impl Seeker {
    pub(crate) fn new(standing: bool) -> Self {
        Self { waiting: None, standing }
    }

    /// What `look` has found, which is called when it is this caller's turn. `has_room`: would others find something too? `begins_line`: it is
    /// the first to wait, and the shards have to know.
    ///
    /// With a waker that wakes nobody it looks, and does not stand in line: a slot that is told to it would be told to nobody.
    pub(crate) fn poll<T>(
        &mut self,
        room: &Arc<Room>,
        cx: &mut Context<'_>,
        mut look: impl FnMut() -> Option<T>,
        has_room: impl Fn() -> bool,
        begins_line: impl Fn(),
    ) -> Poll<T> {
        let may_wait = !cx.waker().will_wake(Waker::noop());
        let (mut was_told, mut looks_again) = (false, false);
        loop {
            let mut comes_after_others = false;
            match &mut self.waiting {
                Some(_) if std::mem::take(&mut looks_again) => {}
                Some(waiting) => {
                    ready!(Pin::new(waiting).poll(cx));
                    (self.waiting, was_told) = (None, true);
                }
                None => comes_after_others = !was_told && !self.standing && room.is_anybody_waiting(),
            }
            if !(comes_after_others && may_wait) {
                let found = look();
                if was_told {
                    room.pass_on(&has_room);
                }
                match found {
                    Some(found) => return Poll::Ready(found),
                    // That was the look after it had begun to listen.
                    None if self.waiting.is_some() => continue,
                    None if !may_wait => return Poll::Pending,
                    None => {}
                }
            }
            let line = match was_told {
                _ if self.standing => Line::Standing,
                true => Line::First,
                false => Line::Last,
            };
            // Listen first, then look once more: a slot freed in between is not slept over.
            looks_again = !self.waiting.insert(room.listen(line, &begins_line)).may_sleep();
        }
    }
}

/// A caller who waits. Ready once, then it has to be dropped.
struct Waiting {
    /// `None` once it has looked, and while it is dropped.
    listener: Option<EventListener>,
    line: Line,
    room: Arc<Room>,
}

impl Waiting {
    /// May it be polled without a look? Others were told of what there is, and the last of them tells it of what is left.
    fn may_sleep(&self) -> bool {
        self.line == Line::Last && self.room.is_anybody_told()
    }

    fn has_looked(&self) {
        if self.line != Line::Standing {
            self.room.looks.fetch_add(1, Ordering::Relaxed);
            self.room.told.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(listener) = &mut self.listener {
            ready!(Pin::new(listener).poll(cx));
            self.listener = None;
            self.has_looked();
        }
        Poll::Ready(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let was_told = self.listener.take().is_some_and(|listener| listener.discard());
        if was_told {
            // It goes without having looked. Who comes while it still counts as told does not look either: so it is out before the next is told.
            self.has_looked();
            match self.line {
                Line::Standing => self.room.tell_standing(),
                Line::First | Line::Last => _ = self.room.tell_next(),
            }
        }
        if self.line != Line::Standing {
            self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(any(volley_loom, volley_shuttle))))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize as StdUsize, Ordering::SeqCst},
        task::Wake,
    };

    use super::*;

    struct Count(StdUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Slots that come free before anybody whom they woke has looked wake as many callers: it was one, whatever their number.
    #[test]
    fn nobody_sleeps_beside_a_free_slot() {
        let room = Arc::new(Room::new());
        let count = Arc::new(Count(StdUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let mut waiting: Vec<_> = (0..5).map(|_| room.listen(Line::Last, || {})).collect();
        for one in &mut waiting {
            assert!(Pin::new(one).poll(&mut cx).is_pending());
        }
        (0..3).for_each(|_| room.tell_one());
        assert_eq!(count.0.load(SeqCst), 3);
        // One of those told goes without having looked.
        drop(waiting.remove(0));
        assert_eq!(count.0.load(SeqCst), 4, "it is passed on");
        room.tell_all();
        assert_eq!(count.0.load(SeqCst), 5);
        drop(waiting);
        assert_eq!(room.waiting.load(Ordering::Relaxed), 0);
    }
}
