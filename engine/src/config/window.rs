//! How many calls a connection may have unanswered: always the same number, or one that follows the server.

use crate::{base::limits::SLOTS_MAX, error::Error};

/// The window of each connection; for [`ConfigBuilder::window`](crate::ConfigBuilder::window).
///
/// ```
/// use volley::{Config, Window};
///
/// let config = Config::builder().window(Window::Adaptive { min: 1, max: 256 }).build()?;
/// assert_eq!(config.in_flight(), 256);
/// # Ok::<(), volley::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Window {
    /// So many calls, whatever the server makes of them. As [`ConfigBuilder::in_flight`](crate::ConfigBuilder::in_flight).
    Fixed(u32),
    /// It begins at `min`, and grows as long as that brings more answers per second, up to `max`. It shrinks when fewer
    /// calls in flight bring as many, when the server refuses calls for being too busy, when calls time out, and when the connection
    /// is lost. A server that says for how long it wants to be left alone is sent nothing for that time, 5 s at most.
    Adaptive {
        /// Never less than this; at least 1.
        min: u32,
        /// Never more than this. Memory is set aside for so many calls.
        max: u32,
    },
}

impl Window {
    /// The largest it can be.
    pub(crate) fn max(self) -> u32 {
        match self {
            Self::Fixed(calls) | Self::Adaptive { max: calls, .. } => calls,
        }
    }

    /// The smallest it can be, if it moves.
    pub(crate) fn moves_from(self) -> Option<u32> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive { min, .. } => Some(min),
        }
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        let most = SLOTS_MAX / 4;
        let within = |name: &str, calls: u32| {
            if (1..=most).contains(&calls) {
                Ok(())
            } else {
                Err(Error::config(format!("{name} is {calls}, it must be from 1 to {most}")))
            }
        };
        match self {
            Self::Fixed(calls) => within("in_flight", calls),
            Self::Adaptive { min, max } => {
                within("the window's max", max)?;
                within("the window's min", min)?;
                if min > max {
                    return Err(Error::config(format!("the window's min is {min}, its max is {max}")));
                }
                Ok(())
            }
        }
    }
}
