//! The account page in a real Chromium, in front of both services as real processes. A test without a browser says that it is skipped;
//! with `TOLLGATE_TEST_CHROMIUM_REQUIRED=1` it fails. Chromium and chromedriver are found on PATH, or where `TOLLGATE_CHROMIUM` and
//! `TOLLGATE_CHROMEDRIVER` say.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod api_keys;
mod authenticator;
mod browser;
mod chromedriver;
mod cookie;
mod credits;
mod devices;
mod hostile_names;
mod issuers;
mod keyboard;
mod looks;
mod operators;
mod organizations;
mod other_origin;
mod page;
mod pictures;
mod policy;
mod second_factor;
mod sessions;
mod sign_in;
mod stage;
mod try_a_call;
