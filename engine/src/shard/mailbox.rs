//! Mailboxes: the bounded streams in which readers find the server's notifications.
//!
//! Nothing here ever holds up a call. What does not fit is dropped and counted (`Stats::notifications_dropped`), and a stream
//! that fell behind is told how much it missed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    base::{
        limits::{INBOUND_BYTES_MAX, INBOUND_QUEUE_MAX},
        sync::{ArrayQueue, AtomicBool, AtomicU64, AtomicUsize, Event, EventListener, Ordering},
        wake::contained,
    },
    model::inbound::Notification,
};

/// The notifications that wait for one reader.
pub(crate) struct Mailbox {
    wants: Wants,
    queue: ArrayQueue<Notification>,
    /// Bytes of the messages in `queue`.
    bytes: AtomicUsize,
    missed: AtomicU64,
    arrived: Event,
    closed: AtomicBool,
}

/// What comes into a mailbox.
enum Wants {
    Everything,
    /// What names the request of this id; nothing while it is 0, which is nobody's id.
    Subscription(AtomicU64),
}

impl Mailbox {
    /// A mailbox for everything.
    pub(crate) fn new() -> Self {
        Self::wanting(Wants::Everything)
    }

    /// A mailbox for one subscription; nothing comes before [`Self::watch`].
    pub(crate) fn of_subscription() -> Self {
        Self::wanting(Wants::Subscription(AtomicU64::new(0)))
    }

    /// From now on the subscription's request has this id.
    pub(crate) fn watch(&self, id: u64) {
        if let Wants::Subscription(watched) = &self.wants {
            watched.store(id, Ordering::Release);
        }
    }

    /// Is a notification, that belongs to this subscription or to none, for this reader?
    pub(crate) fn wants(&self, subscription: Option<u64>) -> bool {
        match &self.wants {
            Wants::Everything => true,
            Wants::Subscription(watched) => subscription == Some(watched.load(Ordering::Acquire)),
        }
    }

    fn wanting(wants: Wants) -> Self {
        Self {
            wants,
            queue: ArrayQueue::new(INBOUND_QUEUE_MAX),
            bytes: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            arrived: Event::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// `false` if it was full: the notification is gone, and the reader will be told.
    pub(crate) fn post(&self, notification: Notification) -> bool {
        let bytes = notification.raw().len();
        let waiting = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = waiting == 0 || waiting + bytes <= INBOUND_BYTES_MAX;
        let posted = fits && self.queue.push(notification).is_ok();
        if !posted {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
        contained(|| self.arrived.notify(1));
        posted
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        contained(|| self.arrived.notify(usize::MAX));
    }
}

/// What [`Notifications`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Inbound {
    /// A notification.
    Notification(Notification),
    /// So many notifications were dropped since the last item because the reader was too slow.
    Missed(u64),
    /// Only of a [`Subscription`](crate::Subscription): it was interrupted and stands again. Whatever changed in between, nobody
    /// told of it: look for yourself.
    Interrupted,
}

/// A bounded stream of the server's notifications; made by [`Client::notifications`](crate::Client::notifications).
///
/// # Cancel safety
/// Dropping a pending poll loses nothing.
pub struct Notifications {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) listener: Option<EventListener>,
}

impl Notifications {
    /// The next item, or `None` once the client is closed and everything has been read.
    pub async fn next(&mut self) -> Option<Inbound> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next_item(cx)).await
    }

    pub(crate) fn poll_next_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        loop {
            let missed = self.mailbox.missed.swap(0, Ordering::Relaxed);
            if missed > 0 {
                return Poll::Ready(Some(Inbound::Missed(missed)));
            }
            if let Some(notification) = self.mailbox.queue.pop() {
                self.mailbox.bytes.fetch_sub(notification.raw().len(), Ordering::AcqRel);
                return Poll::Ready(Some(Inbound::Notification(notification)));
            }
            if self.mailbox.closed.load(Ordering::Acquire) && self.mailbox.queue.is_empty() {
                return Poll::Ready(None);
            }
            match &mut self.listener {
                // Listen first, then look once more: what arrives in between is not slept over.
                None => self.listener = Some(self.mailbox.arrived.listen()),
                Some(listener) => {
                    std::task::ready!(Pin::new(listener).poll(cx));
                    self.listener = None;
                }
            }
        }
    }
}

impl futures_core::Stream for Notifications {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.poll_next_item(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;
    use crate::base::buffer::Frame;

    proptest! {
        /// However slow the reader, what it reads and what it is told that it missed are together all that was posted, in
        /// the order in which it was posted.
        #[test]
        fn notifications_are_never_dropped_silently(bursts in proptest::collection::vec((0usize..3000, 0usize..3000), 1..20)) {
            let mailbox = Arc::new(Mailbox::new());
            let mut reader = Notifications { mailbox: Arc::clone(&mailbox), listener: None };
            let mut cx = Context::from_waker(Waker::noop());
            let (mut posted, mut read, mut missed, mut refused) = (0_u64, 0_u64, 0, 0);
            let mut last = None;
            for (posts, reads) in bursts {
                for _ in 0..posts {
                    let message = Frame::from_vec(posted.to_be_bytes().to_vec());
                    refused += u64::from(!mailbox.post(Notification { method: "n".into(), message }));
                    posted += 1;
                }
                for _ in 0..reads {
                    match reader.poll_next_item(&mut cx) {
                        Poll::Ready(Some(Inbound::Notification(notification))) => {
                            let number = u64::from_be_bytes(notification.raw().try_into().unwrap());
                            prop_assert!(last < Some(number), "{number} came after {last:?}");
                            (last, read) = (Some(number), read + 1);
                        }
                        Poll::Ready(Some(Inbound::Missed(n))) => missed += n,
                        _ => break,
                    }
                }
                prop_assert_eq!(refused, posted - read - mailbox.queue.len() as u64);
            }
            mailbox.close();
            while let Poll::Ready(Some(item)) = reader.poll_next_item(&mut cx) {
                match item {
                    Inbound::Notification(_) => read += 1,
                    Inbound::Missed(n) => missed += n,
                    Inbound::Interrupted => unreachable!("nobody posts that"),
                }
            }
            prop_assert_eq!(posted, read + missed);
            prop_assert_eq!(missed, refused);
        }
    }

    /// Long ones are bounded by their bytes, and one that is longer than the bound is taken where nothing else waits.
    #[test]
    fn what_waits_is_bounded_in_bytes() {
        const MIB: usize = 1 << 20;
        let mailbox = Arc::new(Mailbox::new());
        let mut reader = Notifications { mailbox: Arc::clone(&mailbox), listener: None };
        let post = |bytes| {
            let message = Frame::from_vec(vec![b'x'; bytes]);
            mailbox.post(Notification { method: "n".into(), message })
        };
        assert!((0..INBOUND_BYTES_MAX / MIB).all(|_| post(MIB)));
        assert!(!post(MIB) && !post(1), "full");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(reader.poll_next_item(&mut cx), Poll::Ready(Some(Inbound::Missed(2)))));
        assert!(matches!(reader.poll_next_item(&mut cx), Poll::Ready(Some(Inbound::Notification(_)))));
        assert!(post(MIB) && !post(1), "a place for one");
        while let Poll::Ready(Some(_)) = reader.poll_next_item(&mut cx) {}
        assert!(post(INBOUND_BYTES_MAX + 1) && !post(1), "alone");
    }
}
