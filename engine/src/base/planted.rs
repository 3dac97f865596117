//! A slowdown that is planted in a stage to show that the instruction gate sees it; `just instr-demo` builds it, nothing else does.
//!
//! Unit: instructions, one for each step and two more. How many a stage is given is 5 % of what it took when this was written:
//! 9 of 178 in encode, 6 of 115 in a run of requests; 7 of 138 in an envelope that is found at once, 19 of 385 in one of another shape. What it costs may be more,
//! if the compiler then inlines less; ADR 0020 has the counts. Owner: nobody, it is a function. Proof: `just instr-demo`.

use std::hint::black_box;

/// Spends instructions that the compiler may not take out.
#[inline(always)]
pub(crate) fn spend<const STEPS: u32>() {
    for step in 0..STEPS {
        black_box(step);
    }
}
