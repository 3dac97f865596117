//! The porter: the thread that carries what the server starts to the caller's handlers, so that no handler can hold up an
//! event loop. It is started only when there is a handler; a mailbox needs none.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crossbeam::channel::{Sender, bounded};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    inbox::{Command, ShardHandle},
    mailbox::Mailbox,
};
use crate::{
    base::{
        buffer::Frame,
        limits::{INBOUND_BYTES_MAX, INBOUND_QUEUE_MAX},
    },
    error::RpcError,
    model::inbound::{Notification, NotificationHandler, RequestHandler, ServerRequest},
    proto::event::Reception,
};

enum Load {
    Notification(Notification),
    Request { request: ServerRequest, handle: Arc<ShardHandle>, connection: u32, epoch: u32 },
}

/// Where the shards bring what the server starts.
pub(crate) struct Porter {
    queue: Option<Sender<Load>>,
    takes_notifications: bool,
    takes_requests: bool,
    mailboxes: RwLock<Vec<Arc<Mailbox>>>,
    closed: AtomicBool,
    /// Bytes of the messages in `queue`.
    bytes: Arc<AtomicUsize>,
}

impl Porter {
    /// Starts the thread if there is anything for it to do.
    pub(crate) fn new(
        on_notification: Option<NotificationHandler>,
        on_request: Option<RequestHandler>,
    ) -> std::io::Result<Self> {
        let (takes_notifications, takes_requests) = (on_notification.is_some(), on_request.is_some());
        let bytes = Arc::new(AtomicUsize::new(0));
        let carried = Arc::clone(&bytes);
        let queue = if takes_notifications || takes_requests {
            let (queue, inbox) = bounded::<Load>(INBOUND_QUEUE_MAX);
            thread::Builder::new().name("volley-porter".to_owned()).spawn(move || {
                for load in inbox {
                    carried.fetch_sub(load.bytes(), Ordering::AcqRel);
                    carry(load, on_notification.as_ref(), on_request.as_ref());
                }
            })?;
            Some(queue)
        } else {
            None
        };
        let (mailboxes, closed) = (RwLock::default(), AtomicBool::new(false));
        Ok(Self { queue, takes_notifications, takes_requests, mailboxes, closed, bytes })
    }

    /// Opens a mailbox for notifications.
    pub(crate) fn open_mailbox(&self) -> Arc<Mailbox> {
        self.open(Mailbox::new())
    }

    /// Opens a mailbox for the notifications of one subscription.
    pub(crate) fn open_subscription(&self) -> Arc<Mailbox> {
        self.open(Mailbox::of_subscription())
    }

    fn open(&self, mailbox: Mailbox) -> Arc<Mailbox> {
        let mailbox = Arc::new(mailbox);
        let mut mailboxes = self.mailboxes.write();
        if self.closed.load(Ordering::Acquire) {
            mailbox.close();
        } else {
            // Where nothing ever comes, those of readers that have gone would be left.
            mailboxes.retain(|mailbox| Arc::strong_count(mailbox) > 1);
            mailboxes.push(Arc::clone(&mailbox));
        }
        drop(mailboxes);
        mailbox
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        let mut mailboxes = self.mailboxes.write();
        self.closed.store(true, Ordering::Release);
        mailboxes.drain(..).for_each(|mailbox| mailbox.close());
    }

    /// Brings a notification, which may belong to a subscription, to everyone who wants it. Returns for how many of them it was
    /// dropped.
    pub(crate) fn bring_notification(
        &self,
        method: &str,
        subscription: Option<u64>,
        message: impl Fn() -> Frame,
    ) -> u64 {
        let mut dropped = 0;
        let notification = || Notification { method: method.into(), message: message() };
        if self.takes_notifications {
            dropped += u64::from(!self.offer(Load::Notification(notification())));
        }
        // Readers that have gone hold no reference any more; their mailboxes are cleared out here.
        let mut gone = false;
        for mailbox in self.mailboxes.read().iter() {
            if Arc::strong_count(mailbox) == 1 {
                gone = true;
            } else if mailbox.wants(subscription) {
                dropped += u64::from(!mailbox.post(notification()));
            }
        }
        if gone {
            self.mailboxes.write().retain(|mailbox| Arc::strong_count(mailbox) > 1);
        }
        dropped
    }

    /// Puts a load into the queue, if there is room for it in messages and in bytes.
    fn offer(&self, load: Load) -> bool {
        let Some(queue) = &self.queue else { return false };
        let bytes = load.bytes();
        let waiting = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let fits = waiting == 0 || waiting + bytes <= INBOUND_BYTES_MAX;
        let taken = fits && queue.try_send(load).is_ok();
        if !taken {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        taken
    }

    /// Brings a request to the handler.
    pub(crate) fn bring_request(
        &self,
        method: &str,
        message: impl Fn() -> Frame,
        handle: Arc<ShardHandle>,
        connection: u32,
        epoch: u32,
    ) -> Reception {
        if !self.takes_requests {
            return Reception::Nobody;
        }
        let request = ServerRequest { method: method.into(), message: message() };
        if self.offer(Load::Request { request, handle, connection, epoch }) {
            Reception::Taken
        } else {
            Reception::Full
        }
    }
}

impl Load {
    fn bytes(&self) -> usize {
        match self {
            Self::Notification(notification) => notification.raw().len(),
            Self::Request { request, .. } => request.raw().len(),
        }
    }
}

fn carry(load: Load, on_notification: Option<&NotificationHandler>, on_request: Option<&RequestHandler>) {
    match load {
        Load::Notification(notification) => {
            if let Some(handler) = on_notification {
                // A handler that panics has had its chance; the porter goes on.
                let _ = catch_unwind(AssertUnwindSafe(|| handler(notification)));
            }
        }
        Load::Request { request, handle, connection, epoch } => {
            #[derive(Deserialize)]
            struct Id<'a> {
                #[serde(borrow)]
                id: &'a RawValue,
            }
            let Ok(Id { id }) = serde_json::from_slice::<Id<'_>>(request.raw()) else { return };
            let id = id.get().into();
            let answer = on_request
                .and_then(|handler| catch_unwind(AssertUnwindSafe(|| handler(request.clone()))).ok())
                .unwrap_or_else(|| {
                    Err(RpcError {
                        code: -32603,
                        message: "the client's handler failed".to_owned(),
                        data: None,
                    })
                });
            let (member, value) = match answer {
                Ok(value) => ("result", value.to_string()),
                Err(error) => {
                    let mut value = serde_json::json!({"code": error.code, "message": error.message});
                    if let Some(data) = error.data {
                        value["data"] = data;
                    }
                    ("error", value.to_string())
                }
            };
            handle.command(Command::Respond { connection, epoch, id, member, value: value.into() });
        }
    }
}
