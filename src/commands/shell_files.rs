//! `completions` and `man`: files for a shell and for `man`, made from the command line itself.

use std::io::Write;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::{CliError, Context, args};

/// `completions`: prints a shell's completions.
///
/// # Errors
/// When the output cannot be written.
pub fn completions(context: &Context) -> Result<u8, CliError> {
    let shell = context.matches.get_one::<Shell>("shell").copied();
    let mut command = args::command();
    // Into memory first: the generator panics on a pipe that was closed.
    let mut out = Vec::new();
    if let Some(shell) = shell {
        clap_complete::generate(shell, &mut command, "kubecost-worker", &mut out);
    }
    std::io::stdout().lock().write_all(&out)?;
    Ok(0)
}

/// `man`: prints the program's page, or writes the pages of both programs and of all commands.
///
/// # Errors
/// When the output cannot be written.
pub fn man(context: &Context) -> Result<u8, CliError> {
    let Some(directory) = context.argument("out") else {
        let mut page = Vec::new();
        clap_mangen::Man::new(args::command()).render(&mut page)?;
        std::io::stdout().lock().write_all(&page)?;
        return Ok(0);
    };
    let directory = Path::new(directory);
    std::fs::create_dir_all(directory)?;
    for command in programs() {
        clap_mangen::generate_to(command, directory)?;
    }
    Ok(0)
}

/// Both programs, whose pages are packed together.
fn programs() -> [Command; 2] {
    [args::command(), crate::exporter::run::command()]
}
