//! Models of what callers and a shard do together: real `Call`s and real `Bulk`s against the real inbox, slab, cells, bell and
//! room, explored by loom (every interleaving up to a bound) or by shuttle (schedules drawn at random).
//!
//! Only the shard's loop is the models' own. `echo` has one that answers at once, small enough for loom; `full` one with the
//! real desk and exchange before a server that answers in any order, for shuttle. Both keep the order of `runner/mod.rs`: read the
//! claims counted, take commands, take calls, feed jobs, hand out, look once more, sleep.
//!
//! What is modelled and how far is tabled in `docs/proofs.md`. The stand-ins for crossbeam, parking_lot and event-listener are in
//! `base/modelled.rs`. Always: a model ends, or loom and shuttle report a deadlock: somebody slept over something.

mod echo;
#[cfg(volley_shuttle)]
mod full;
#[cfg(volley_shuttle)]
mod histories;
#[cfg(volley_loom)]
mod interleavings;

use std::sync::Arc;

#[cfg(volley_loom)]
pub(crate) use loom::{
    future::block_on,
    sync::{Condvar, Mutex as Lock},
    thread,
};
#[cfg(volley_shuttle)]
pub(crate) use shuttle::{
    future::block_on,
    sync::{Condvar, Mutex as Lock},
    thread,
};

use crate::{
    api::call::{Call, Request},
    base::sync::Mutex,
    config::Config,
    decode::answer::RawAnswer,
    engine::Engine,
    error::Error,
    model::body::Body,
    proto::event::Patience,
    queue::{completion::Cell, room::Room},
    shard::{
        alarm::Alarm,
        inbox::{ShardHandle, Standing},
    },
    slab::{
        Slab,
        key::{Key, KeyLayout},
    },
};

/// A poll that somebody sleeps in, and the file descriptor that ends it.
#[derive(Default)]
pub(crate) struct Sleeper {
    rung: Lock<bool>,
    woken: Condvar,
}

impl Sleeper {
    fn ring(&self) {
        *self.rung.lock().expect("no panic") = true;
        self.woken.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.rung.lock().expect("no panic");
        while !*rung {
            rung = self.woken.wait(rung).expect("no panic");
        }
        *rung = false;
    }
}

/// An engine of one shard that nobody runs yet.
pub(crate) struct Model {
    pub(crate) engine: Arc<Engine>,
    pub(crate) handle: Arc<ShardHandle>,
    pub(crate) sleeper: Arc<Sleeper>,
    #[cfg(volley_shuttle)]
    pub(crate) layout: KeyLayout,
    /// Slots of the exchange.
    #[cfg(volley_shuttle)]
    pub(crate) magazine: Option<crate::slab::magazine::Magazine>,
    singles: u32,
}

impl Model {
    /// With `singles` slots for single calls, and as many as `config` has places for bulk jobs.
    pub(crate) fn new(singles: u32, drawn: u32, config: Config) -> Self {
        let slots = 1 + drawn + singles;
        let layout = KeyLayout::for_slots(slots, 0, 1);
        let slab = Slab::new(layout, slots, Cell::new);
        drop(slab.draw(1));
        let drawn = slab.draw(drawn);
        #[cfg(volley_loom)]
        drop(drawn);
        let standing = Standing { slots: 0..0, free: Mutex::new(slab.draw(0)) };
        let room = Arc::new(Room::new());
        let handle = Arc::new(ShardHandle::new(slab, standing, Arc::clone(&room)));
        let sleeper = Arc::new(Sleeper::default());
        let bell = Arc::clone(&sleeper);
        handle.set_alarm(Alarm::Played(Box::new(move || bell.ring())));
        let engine = Arc::new(Engine::of_handles(vec![Arc::clone(&handle)], config, room));
        Self {
            engine,
            handle,
            sleeper,
            #[cfg(volley_shuttle)]
            layout,
            #[cfg(volley_shuttle)]
            magazine: Some(drawn),
            singles,
        }
    }

    /// After all is over: every slot of single calls can be had again, and no more than these.
    pub(crate) fn check_slots(&self) {
        let keys: Vec<Key> = std::iter::from_fn(|| self.handle.slab.reserve()).collect();
        assert_eq!(keys.len(), self.singles as usize, "slots that were given back");
        assert!(!self.handle.slab.is_exhausted());
    }
}

/// A call with an argument of its own.
pub(crate) fn call(engine: &Arc<Engine>, body: &str) -> Call<RawAnswer> {
    let request =
        Request { body: Body::of(body.as_bytes().to_vec()), patience: patience(engine), mailbox: None };
    Call::make(engine, 0, Ok(request))
}

fn patience(engine: &Engine) -> Patience {
    engine.config.patience()
}

/// Waits for a call and looks whether the answer is its own.
pub(crate) fn end(call: Call<RawAnswer>, body: &str) -> Result<(), Error> {
    let answer = block_on(call)?;
    let bytes = answer.frame.to_vec();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains(body), "a call with {body} got the answer {text}");
    Ok(())
}
