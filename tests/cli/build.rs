//! What `build.rs` finds out, against a repository of the test's own.

#[path = "../../build.rs"]
#[expect(dead_code, clippy::print_stdout, reason = "cargo calls its main, and reads it")]
mod script;

use std::path::Path;
use std::process::Command;

fn git(directory: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(directory).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]);
    git.env("GIT_COMMITTER_DATE", "2026-02-28T23:59:59Z").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_commit_and_its_day_are_found_and_what_changes_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    assert_eq!(script::of_git(path), None, "no repository");
    git(path, &["init", "--quiet", "--initial-branch", "main"]);
    assert_eq!(script::of_git(path), None, "no commit");
    git(path, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let (commit, epoch) = script::of_git(path).unwrap();
    assert_eq!((commit.len(), script::date(epoch)), (12, "2026-02-28".to_owned()));
    let watched = script::changes_with_commits(path);
    assert_eq!(watched, [".git/HEAD", ".git/refs/heads/main"]);
    // In a work tree of its own the files are elsewhere, and are found.
    git(path, &["worktree", "add", "--quiet", "-b", "other", "tree"]);
    let watched = script::changes_with_commits(&path.join("tree"));
    assert!(watched.len() == 2 && watched[0].ends_with("worktrees/tree/HEAD"), "{watched:?}");
    assert!(watched[1].ends_with(".git/refs/heads/other"), "{watched:?}");
}

#[test]
fn days_are_those_of_the_calendar() {
    for (epoch, day) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (1_709_251_199, "2024-02-29"),
        (1_709_251_200, "2024-03-01"),
        (1_798_761_599, "2026-12-31"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(script::date(epoch), day, "{epoch}");
    }
}

#[test]
fn a_build_is_described_by_what_is_known() {
    let commit = || script::given(Some("7f74aa7c1b2d3e4f5a6b\n"));
    assert_eq!(commit().as_deref(), Some("7f74aa7c1b2d"));
    for word in ["unknown", "", "7f74a", "7f74aa7 dirty"] {
        assert_eq!(script::given(Some(word)), None, "{word}");
    }
    let day = Some(951_782_400);
    assert_eq!(script::described(commit(), day, true), "7f74aa7c1b2d 2000-02-29");
    assert_eq!(script::described(commit(), None, true), "7f74aa7c1b2d");
    assert_eq!(script::described(None, day, true), "commit unknown, 2000-02-29");
    assert_eq!(script::described(None, None, true), "commit unknown");
    assert_eq!(script::described(None, day, false), "development build");
}
