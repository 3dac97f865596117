//! Subscriptions of the modern era: a stream of what the server tells of changes, until one side ends it.
//!
//! A subscription is one standing call (`proto/exchange/standing.rs`) and a mailbox for what names it. When its connection is lost
//! it asks again, under a new id: at once the first time, then with the waits of the configuration's backoff, and no more
//! often in a row without an acknowledgement than a connection is tried. That happens while it is polled.
//!
//! Unit: notifications. Bounds: the mailbox's, and [`ConfigBuilder::subscriptions_max`](crate::ConfigBuilder) subscriptions of one
//! client. Owner: the reader. Always: what came before an end or a loss is read before it is heard of.
//! Proof: `tests/integration/subscriptions.rs`. Follows: MCP 2026-07-28, subscriptions.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use serde_json::json;

use super::{
    call::{Call, Request},
    client::Client,
    pause::pause,
    rounds::protocol,
};
use crate::{
    decode::answer::RawAnswer,
    engine::Engine,
    error::{Error, ErrorKind},
    model::{
        body::Body,
        subscription::{Acknowledged, SubscriptionFilter},
    },
    policy::backoff::Backoff,
    proto::event::{ACKNOWLEDGED, Patience},
    shard::mailbox::{Inbound, Notifications},
};

/// What the server tells of changes; made by [`Client::listen`], and a [`Stream`](futures_core::Stream).
///
/// # Cancel safety
/// Dropping it ends the subscription, and the server is told. Dropping a pending [`Self::next`] loses nothing.
#[must_use = "a dropped subscription is ended"]
pub struct Subscription {
    state: State,
    reader: Notifications,
    client: Client,
    /// The request, to be made again.
    body: Body,
    accepted: SubscriptionFilter,
    backoff: Backoff,
    /// Times it was lost since something was last told.
    losses: u32,
    /// Times it was lost since it was last acknowledged.
    refusals: u32,
    /// After the call: its slot is on the way back before another may have its place.
    _place: Place,
}

enum State {
    /// Asked for, and perhaps acknowledged.
    Asked(Call<RawAnswer>),
    /// That is over; what was told before is to be read first.
    Ended(Result<(), Error>),
    /// It is to be asked for again.
    Pausing(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
    Over,
}

/// What comes next.
enum Event {
    Acknowledged,
    Item(Inbound),
    /// Nothing more: the server has ended it, or this has.
    Over(Option<Error>),
}

impl Client {
    /// Asks a server of the modern era to tell of changes, and returns when it has acknowledged. Nothing is told before, and
    /// [`Subscription::accepted`] says what will be.
    ///
    /// A subscription takes no place of a call; over HTTP it has a socket of its own. Its time-out is that of a call until it is
    /// acknowledged, then it has none. When its connection is lost it asks again by itself, as long as it is polled, and says
    /// [`Inbound::Interrupted`] when it stands again. [`Client::notifications`] hears what it hears too.
    ///
    /// ```no_run
    /// # async fn example(client: volley::Client) -> Result<(), volley::Error> {
    /// use volley::{Inbound, mcp::SubscriptionFilter};
    ///
    /// let filter = SubscriptionFilter { tools_list_changed: true, ..Default::default() };
    /// let mut changes = client.listen(filter).await?;
    /// while let Some(told) = changes.next().await {
    ///     match told? {
    ///         Inbound::Notification(one) => println!("{}", one.method()),
    ///         // Something may have changed without a word.
    ///         _ => println!("{} tools", client.list_tools().await?.len()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the server is of the handshake era, where [`Client::subscribe`] and
    /// [`Client::notifications`] do this; for the ids of tasks if that extension is not declared; if
    /// [`subscriptions_max`](crate::ConfigBuilder::subscriptions_max) are open already. [`ErrorKind::Timeout`] if nobody
    /// acknowledged it; [`ErrorKind::Protocol`] if it was ended without; those of a request.
    ///
    /// # Cancel safety
    /// Dropping it ends the subscription.
    pub async fn listen(&self, filter: SubscriptionFilter) -> Result<Subscription, Error> {
        if !filter.task_ids.is_empty() && !self.engine().config.values.declared.tasks {
            return Err(Error::input("task_ids are given, and the extension for tasks is not declared"));
        }
        let place = Place::take(self.engine())?;
        let body = Body::new("subscriptions/listen", &json!({"notifications": filter}))?;
        let reader = Notifications { mailbox: self.engine().porter.open_subscription(), listener: None };
        let (base, cap) = self.engine().config.values.backoff;
        let mut subscription = Subscription {
            state: State::Over,
            reader,
            client: self.clone(),
            body,
            accepted: SubscriptionFilter::default(),
            backoff: Backoff::new(base, cap, fastrand::u64(..)),
            losses: 0,
            refusals: 0,
            _place: place,
        };
        subscription.ask();
        poll_fn(|cx| subscription.poll_acknowledged(cx)).await?;
        Ok(subscription)
    }
}

impl Subscription {
    /// What the server tells next. `None` once the server has ended the subscription; an error, once, if it cannot go on.
    pub async fn next(&mut self) -> Option<Result<Inbound, Error>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// What the server said that it will tell: all that was wished, or a part. It may have changed after
    /// [`Inbound::Interrupted`].
    pub fn accepted(&self) -> &SubscriptionFilter {
        &self.accepted
    }

    fn ask(&mut self) {
        let engine = self.client.engine();
        let timeout = engine.config.timeout();
        let patience = Patience { timeout, at_most: timeout, progress: false, standing: true };
        let mailbox = Some(Arc::clone(&self.reader.mailbox));
        let request = Request { body: self.body.clone(), patience, mailbox };
        self.state = State::Asked(Call::make(engine, self.client.next_shard(), Ok(request)));
    }

    fn poll_acknowledged(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(match ready!(self.poll_event(cx)) {
            // Nothing is told before the acknowledgement, so it comes first.
            Event::Acknowledged | Event::Item(_) => Ok(()),
            Event::Over(Some(error)) => Err(error),
            Event::Over(None) => Err(protocol("the server ended the subscription without acknowledging it")),
        })
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Inbound, Error>>> {
        Poll::Ready(match ready!(self.poll_event(cx)) {
            Event::Acknowledged => Some(Ok(Inbound::Interrupted)),
            Event::Item(item) => Some(Ok(item)),
            Event::Over(error) => error.map(Err),
        })
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Poll::Ready(Some(item)) = self.reader.poll_next_item(cx) {
                return Poll::Ready(self.hear(item));
            }
            match &mut self.state {
                State::Asked(call) => {
                    let ended = ready!(Pin::new(call).poll(cx));
                    // Once more to the mailbox: what was told meanwhile came before the end.
                    self.state = State::Ended(ended.map(drop));
                }
                State::Ended(ended) => {
                    let ended = std::mem::replace(ended, Ok(()));
                    match self.lost(ended) {
                        Ok(Duration::ZERO) => self.ask(),
                        Ok(wait) => self.state = State::Pausing(Box::pin(pause(wait))),
                        Err(error) => {
                            self.state = State::Over;
                            return Poll::Ready(Event::Over(error));
                        }
                    }
                }
                State::Pausing(over) => match ready!(over.as_mut().poll(cx)) {
                    Ok(()) => self.ask(),
                    Err(error) => {
                        self.state = State::Over;
                        return Poll::Ready(Event::Over(Some(error)));
                    }
                },
                State::Over => return Poll::Ready(Event::Over(None)),
            }
        }
    }

    fn hear(&mut self, item: Inbound) -> Event {
        match item {
            Inbound::Notification(one) if one.method() == ACKNOWLEDGED => {
                match one.params::<Acknowledged>() {
                    Ok(acknowledged) => {
                        self.accepted = acknowledged.notifications;
                        self.refusals = 0;
                        Event::Acknowledged
                    }
                    Err(error) => {
                        // Dropping the call tells the server.
                        self.state = State::Over;
                        Event::Over(Some(error))
                    }
                }
            }
            item => {
                (self.losses, self.refusals) = (0, 0);
                self.backoff.reset();
                Event::Item(item)
            }
        }
    }

    /// The call has ended. How long to wait before it is made again; or why it is not, if it is not because the server
    /// wished so.
    fn lost(&mut self, ended: Result<(), Error>) -> Result<Duration, Option<Error>> {
        let Err(error) = ended else { return Err(None) };
        match error.kind() {
            // Nobody cancels here, so the server has.
            ErrorKind::Cancelled => Err(None),
            ErrorKind::ConnectionLost if self.refusals < self.client.engine().config.values.attempts_max => {
                (self.losses, self.refusals) = (self.losses + 1, self.refusals + 1);
                Ok(if self.losses == 1 { Duration::ZERO } else { self.backoff.next() })
            }
            _ => Err(Some(error)),
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<Inbound, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

/// One of the subscriptions that a client may have.
struct Place(Arc<Engine>);

impl Place {
    fn take(engine: &Arc<Engine>) -> Result<Self, Error> {
        let max = engine.config.values.subscriptions_max;
        let more = |open: u32| (open < max).then_some(open + 1);
        match engine.subscriptions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(Arc::clone(engine))),
            Err(open) => Err(Error::input(format!(
                "{open} subscriptions are open, and there may be {max}: name more in one, or raise subscriptions_max"
            ))),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}
