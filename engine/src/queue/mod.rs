//! What passes between threads: a call and its answer, the bell that wakes a sleeping
//! shard, the line in which the pieces of a bulk job pass, and the room in which callers wait for a slot.

pub(crate) mod completion;
pub(crate) mod doorbell;
pub(crate) mod line;
pub(crate) mod room;
