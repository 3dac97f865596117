//! HTTP/2 where it is not built in: a machine of which there is none, so that nobody else has to ask for the feature.

#![allow(dead_code, reason = "what cannot be made is never made")]

use bytes::Bytes;

use super::head::Head;

/// There is none.
#[derive(Debug)]
pub(crate) enum H2 {}

/// What happened on a lane.
#[derive(Debug)]
pub(crate) enum Event {
    Head(Head),
    Data(Bytes),
    End,
    Lost { reason: String, unprocessed: bool },
}

/// Why a request was not sent.
pub(crate) enum Unsent {
    NoRoom,
    Unspeakable(String),
}

/// The head of a request.
pub(crate) struct RequestHead<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> RequestHead<'a> {
    pub(crate) fn of_http_1(_scheme: &'a str, _written: &'a [u8]) -> Option<Self> {
        None
    }
}

impl H2 {
    pub(crate) fn receive(&mut self, _bytes: &[u8]) {
        match *self {}
    }

    pub(crate) fn receive_end(&mut self) {
        match *self {}
    }

    pub(crate) fn written(&mut self, _bytes: usize) {
        match *self {}
    }

    pub(crate) fn send(&mut self, _: u32, _: &RequestHead<'_>, _: &[u8]) -> Result<(), Unsent> {
        match *self {}
    }

    pub(crate) fn reset(&mut self, _lane: u32) {
        match *self {}
    }

    pub(crate) fn poll(&mut self) -> Option<(u32, Event)> {
        match *self {}
    }

    pub(crate) fn pumped(&self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn waiting(&mut self) -> &[u8] {
        match *self {}
    }

    pub(crate) fn room(&self) -> usize {
        match *self {}
    }

    pub(crate) fn streams(&self) -> usize {
        match *self {}
    }

    pub(crate) fn has_left(&self, _lane: u32) -> bool {
        match *self {}
    }

    pub(crate) fn is_fresh(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_behind(&self) -> bool {
        match *self {}
    }

    pub(crate) fn streams_max(&self) -> Option<usize> {
        match *self {}
    }

    pub(crate) fn retire(&mut self, _reason: &str) {
        match *self {}
    }

    pub(crate) fn is_closing(&self) -> Option<&str> {
        match *self {}
    }
}

/// Makes none.
pub(crate) fn machine(_streams_told: Option<usize>) -> Option<Box<H2>> {
    None
}
