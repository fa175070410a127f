//! The worker's real binary, run with settings of a test.

use std::ffi::OsString;
use std::process::{Command, Output};

/// What a run of the binary came to.
pub(crate) struct Finished {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// The last line of standard output as JSON.
    pub(crate) fn summary(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("'{line}' is no JSON: {error}\n{}", self.stderr))
    }

    /// Asserts that all went well.
    pub(crate) fn expect_success(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program: this build's, or for benches the one that `WORKER` names.
pub(crate) fn program() -> OsString {
    std::env::var_os("WORKER").unwrap_or_else(|| env!("CARGO_BIN_EXE_kubecost-worker").into())
}

/// The binary with these settings and nothing else of this process' environment.
pub(crate) fn command(settings: &[(&str, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.env_clear().args(arguments);
    // The whole suite holds with batches of any size: BATCH_ACCOUNTS=1 bash tests/all.
    if let Some(accounts) = std::env::var_os("BATCH_ACCOUNTS") {
        command.env("BATCH_ACCOUNTS", accounts);
    }
    for (name, value) in settings {
        command.env(name, value);
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run(settings: &[(&str, String)], arguments: &[&str]) -> Finished {
    Finished::from(command(settings, arguments).output().unwrap())
}
