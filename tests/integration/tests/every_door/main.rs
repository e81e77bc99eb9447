//! What holds at every door that costs credits, whatever it speaks: how a call ends and what it costs then, and what an attacker gets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod attacks;
mod exits;
mod limited;
mod log;
mod metered_door;
