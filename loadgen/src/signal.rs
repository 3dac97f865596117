//! Ctrl-C: the first asks, the second insists.
//!
//! The first SIGINT or SIGTERM raises a flag. The workers see it once per turn, stop sending,
//! and what was measured so far is printed. The second one ends the process on the spot with
//! the same exit code; children end by themselves, because the pipe they watch closes with us.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;

/// Installs both handlers and returns the flag that the first signal raises.
///
/// # Errors
///
/// Those of the operating system when it refuses a handler.
pub(crate) fn install() -> io::Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the handler that insists must see the flag before this signal raises it.
        flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(asked)
}
