//! One durable log, two ways to consume it.

pub mod clock;
mod error;
pub mod ids;
pub mod io;

pub use error::{Error, ErrorKind, Result};
