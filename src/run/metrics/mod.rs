//! The metrics that a run leaves behind: by file, by push, or served while `schedule` runs.

pub mod exposition;
pub mod families;
pub mod publish;
pub mod serve;
