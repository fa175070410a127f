//! Goals beside what was measured.

use std::fmt::Write as _;

/// What it is of, the goal, and what was measured: less is better.
pub(crate) type Goal = (&'static str, f64, f64);

/// One row a goal.
pub(crate) fn goals_table(goals: &[Goal]) -> String {
    let mut table = "| what | goal | measured | |\n|---|--:|--:|---|\n".to_owned();
    for (what, goal, measured) in goals {
        let verdict = if measured <= goal {
            "met".to_owned()
        } else {
            format!("missed by {:.2} times", measured / goal)
        };
        writeln!(table, "| {what} | {goal} | {measured:.2} | {verdict} |").unwrap();
    }
    table
}
