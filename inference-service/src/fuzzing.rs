//! What the fuzz targets call of what is private here. It is built for them alone.

pub use crate::engine::ollama::fuzzing::{http1, lines};
pub use crate::prompt::fuzzing::{arguments, picture, schema};
