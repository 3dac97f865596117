//! One call through the client's machinery and back, with the shard played by whoever drives it: no thread, no socket, no
//! second core, so that its instructions can be counted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    api::{call::Call, client::Client},
    config::Config,
    decode::answer::RawAnswer,
    engine::Engine,
    model::tool::ToolCall,
    shard::inbox,
};

/// A client, and the shard that takes its calls.
pub struct HandOver {
    engine: Arc<Engine>,
    client: Client,
    call: ToolCall,
}

const REPLY: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[{"type":"text","text":"hello, world"}]}}"#;

impl HandOver {
    /// One of these settings.
    ///
    /// # Panics
    /// Never: the call is one.
    pub fn new(config: Config) -> Self {
        let engine = Arc::new(Engine::still(config));
        let client = Client::of(Arc::clone(&engine));
        let call = ToolCall::raw("echo", r#"{"message":"hello, world"}"#).expect("an object");
        Self { engine, client, call }
    }

    /// Makes a call, takes it as the shard does, answers it, and takes the answer as its caller. Returns the bytes that
    /// were asked and answered.
    ///
    /// # Panics
    /// If the call is not handed over, or has no answer.
    pub fn round(&mut self) -> (usize, usize) {
        let mut call: Call<RawAnswer> = self.client.call_raw(&self.call);
        let shard = &self.engine.handles[0];
        let key = shard.pop_call().expect("the call is on its way");
        let cell = shard.slab.get(key).expect("its key is live");
        let asked = inbox::question(cell, |question| question.body.len());
        let waker = shard.deliver(key, |reply| {
            reply.copy(REPLY, false, false);
        });
        // Nobody had to wait; a chain of interceptors has looked once.
        waker.into_iter().for_each(Waker::wake);
        match Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(answer)) => (asked, answer.message().len()),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("the answer is there and is not taken"),
        }
    }
}
