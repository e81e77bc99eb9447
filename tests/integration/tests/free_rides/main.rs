//! Nobody rides for free: an account with one credit goes every way that costs nothing, as often as it takes, against real processes on
//! both stores. What the store keeps of it stays below a mebibyte, and whoever pays is served meanwhile.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod kept;
mod refusals;
mod rides;
mod stage;
mod ways;
