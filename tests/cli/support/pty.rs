//! The worker on a terminal: its standard output and standard error are one each.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::worker::command;

/// What came of a command on a terminal.
pub(crate) struct OnTerminal {
    /// The exit code.
    pub(crate) code: i32,
    /// What standard output got, line ends as a terminal has them made plain.
    pub(crate) stdout: String,
    /// What standard error got.
    pub(crate) stderr: String,
}

/// A terminal of 80 columns: the side that reads what is shown, and the side of the program.
fn terminal() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
    let program = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let size = Winsize { ws_row: 50, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&program, size).unwrap();
    (File::from(controller), program)
}

/// All that is shown until the program's side is closed, which is an error of reading on Linux.
fn shown(mut controller: File) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(count @ 1..) = controller.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
    }
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
}

/// Runs the worker to its end.
pub(crate) fn on_terminal(settings: &[(&str, String)], arguments: &[&str]) -> OnTerminal {
    let (out, program_out) = terminal();
    let (err, program_err) = terminal();
    let mut command = command(settings, arguments);
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    command.stdout(program_out).stderr(program_err);
    let mut child = command.spawn().unwrap();
    // Its copies of the program's sides, which would keep the terminals open.
    drop(command);
    let err = std::thread::spawn(move || shown(err));
    let stdout = shown(out);
    let code = child.wait().unwrap().code().unwrap_or(-1);
    OnTerminal { code, stdout, stderr: err.join().unwrap() }
}
