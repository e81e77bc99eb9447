//! Credits: what calls cost, and accounts hold. They are whole.

/// The most credits in any figure: 10^12.
pub const MAX_CREDITS: i64 = 1_000_000_000_000;
