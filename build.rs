//! Names what the programs are built from, for `--version`: `KUBECOST_WORKER_COMMIT` and
//! `SOURCE_DATE_EPOCH` where they are set, as image builds do; else git, where it is there.
//!
//! The same commit gives the same text, so that builds are reproducible. Git is asked for builds
//! with optimization alone: a commit would else make all tests be compiled again, and what a
//! developer runs is seldom what was committed.

use std::path::Path;
use std::process::Command;

/// Digits of a commit that are shown.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["KUBECOST_WORKER_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let set = |name: &str| std::env::var(name).ok();
    let is_release = set("PROFILE").as_deref() == Some("release");
    let given = given(set("KUBECOST_WORKER_COMMIT").as_deref());
    let here = Path::new(".");
    let from_git = if is_release && given.is_none() { of_git(here) } else { None };
    if from_git.is_some() {
        for path in changes_with_commits(here) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let epoch = set("SOURCE_DATE_EPOCH").and_then(|text| text.parse::<u64>().ok());
    let epoch = epoch.or(from_git.as_ref().map(|(_, epoch)| *epoch));
    let commit = given.or(from_git.map(|(commit, _)| commit));
    println!("cargo:rustc-env=KUBECOST_WORKER_BUILD={}", described(commit, epoch, is_release));
}

/// A commit that was given, if it is one: build arguments default to words such as `unknown`.
pub(crate) fn given(text: Option<&str>) -> Option<String> {
    let text = text?.trim();
    let is_commit = text.len() >= 7 && text.chars().all(|c| c.is_ascii_hexdigit());
    is_commit.then(|| text.chars().take(COMMIT_DIGITS).collect())
}

/// What the programs say of their build.
pub(crate) fn described(commit: Option<String>, epoch: Option<u64>, is_release: bool) -> String {
    let date = epoch.map(date);
    match (commit, date) {
        (Some(commit), Some(date)) => format!("{commit} {date}"),
        (Some(commit), None) => commit,
        (None, _) if !is_release => "development build".to_owned(),
        (None, Some(date)) => format!("commit unknown, {date}"),
        (None, None) => "commit unknown".to_owned(),
    }
}

/// The commit that is checked out in a directory and its time, Unix seconds.
pub(crate) fn of_git(directory: &Path) -> Option<(String, u64)> {
    let text = git(directory, &["show", "--no-patch", "--format=%H %ct", "HEAD"])?;
    let (commit, seconds) = text.split_once(' ')?;
    Some((given(Some(commit))?, seconds.parse().ok()?))
}

/// The files that change when another commit is checked out or made.
pub(crate) fn changes_with_commits(directory: &Path) -> Vec<String> {
    let path = |name: &str| git(directory, &["rev-parse", "--git-path", name]);
    let branch = git(directory, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD".to_owned(), "packed-refs".to_owned()].into_iter().chain(branch);
    // Cargo takes a file that is not there for one that changed each time.
    names.filter_map(|name| path(&name)).filter(|path| directory.join(path).exists()).collect()
}

/// The first line that git answers; `None` where there is no git or no repository.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(directory).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}

/// The UTC day of a Unix time, as 2026-11-20: by the Gregorian calendar's cycle of 400 years, with
/// years that begin in March, so that a leap day is a year's last.
pub(crate) fn date(epoch: u64) -> String {
    let days = epoch / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    format!("{:04}-{month:02}-{day:02}", cycle * 400 + year + u64::from(month <= 2))
}
