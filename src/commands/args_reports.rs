//! The arguments of the commands that show what is stored.

use clap::{Arg, Command};

use super::args_parts::{EXIT_CODES, account, option, switch};

const REPORT_EXAMPLES: &str = "\
Examples:
  kubecost-worker report --month-to-date
  kubecost-worker report --from 2026-11-01 --to 2026-11-20 --by pod --top 50
  kubecost-worker report --from 2026-08-01 --to 2026-10-31 --output html >costs.html
  kubecost-worker report --from 2026-11-01 --to 2026-11-20 --by tag:team --output csv >costs.csv
  kubecost-worker report --from 2026-11-01 --to 2026-11-20 --output focus >focus.csv
  kubecost-worker report --month-to-date --output focus --focus-version 1.4 >focus.csv

Without days: the month so far. Nothing is changed.";

const ANOMALIES_EXAMPLES: &str = "\
Examples:
  kubecost-worker anomalies
  kubecost-worker anomalies --from 2026-11-01 --to 2026-11-20 --least 10 --output json

Without days: the last seven. The eight weeks before them are what they are compared with.
Nothing is changed. The exit code is 0 whether there are any or not.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  kubecost-worker explain --account bc55eb8c-5db2-4c32-b976-2df0edb0619a --day 2026-11-20
  kubecost-worker explain --account ACCOUNT --day 2026-11-20 --namespace shop --pod web-0
  kubecost-worker explain --account ACCOUNT --day 2026-11-20 --resource k8s-ns-5aed2a58e9b3f1fd \\
    --output json >why.json && python3 tests/recompute/recompute.py why.json

Nothing is changed.
Exit codes: 0 stored and computed are equal; 1 they differ, or there is no row; 2 the settings or \
arguments are wrong; 3 a store or the query layer is down.";

const RECOMMEND_EXAMPLES: &str = "\
Examples:
  kubecost-worker recommend
  kubecost-worker recommend --lookback 14 --profile performance --output json
  kubecost-worker recommend --write

Nothing is changed in a cluster; --write replaces what kubecost_recommendations holds of the accounts. What cannot be looked at is listed with the metric that is missing.";

/// The commands.
pub(super) fn commands() -> Vec<Command> {
    vec![report(), anomalies(), explain(), recommend()]
}

fn days() -> [Arg; 2] {
    [
        option("from", "DAY", "First UTC day, as 2026-11-20").requires("to"),
        option("to", "DAY", "Last UTC day, included").requires("from"),
    ]
}

fn formats(formats: &'static [&'static str]) -> Arg {
    option("output", "FORMAT", "What standard output is: a table, or a form for programs")
        .value_parser(clap::builder::PossibleValuesParser::new(formats.iter().copied()))
        .default_value("text")
}

fn report() -> Command {
    Command::new("report")
        .about("Show what is stored, by day, namespace, pod, node, account, cluster or tag")
        .after_long_help(format!("{REPORT_EXAMPLES}\n\n{EXIT_CODES}"))
        .args(days())
        .arg(
            switch("month-to-date", "From the month's first day to today")
                .conflicts_with_all(["from", "to"]),
        )
        .arg(account())
        .arg(
            option("by", "WHAT", "day, namespace, pod, node, account, cluster or tag:KEY")
                .default_value("namespace"),
        )
        .arg(option("top", "N", "Only the N dearest; the others as one line"))
        .arg(option("width", "COLUMNS", "Width of the table; else the terminal's"))
        .arg(formats(&["text", "json", "csv", "html", "focus"]))
        .arg(
            option("focus-version", "VERSION", "Of FOCUS: 1.2, or 1.4 with split costs")
                .value_parser(["1.2", "1.4"])
                .default_value("1.2"),
        )
}

fn anomalies() -> Command {
    Command::new("anomalies")
        .about("Name days of accounts and namespaces that cost other than days like them")
        .after_long_help(format!("{ANOMALIES_EXAMPLES}\n\n{EXIT_CODES}"))
        .args(days())
        .arg(account())
        .arg(option("least", "USD", "By how much a day must differ").default_value("1"))
        .arg(
            option("spreads", "N", "By how many spreads a day must exceed days like it")
                .default_value("4"),
        )
}

fn explain() -> Command {
    Command::new("explain")
        .about("Show why a stored number is what it is: from its row back to the samples")
        .after_long_help(EXPLAIN_EXAMPLES)
        .arg(option("account", "ID", "The account").required(true))
        .arg(option("day", "DAY", "The UTC day, as 2026-11-20").required(true))
        .arg(option("cluster", "NAME", "The cluster; else the day's only one"))
        .arg(option("namespace", "NAME", "The namespace; else the cluster's own row"))
        .arg(option("pod", "NAME", "The pod; else the namespace's own row").requires("namespace"))
        .arg(
            option("resource", "ID", "The resource by the ledger's id, or by its stable id")
                .conflicts_with_all(["cluster", "namespace", "pod"]),
        )
}

fn recommend() -> Command {
    Command::new("recommend")
        .about(
            "Name what could cost less: requests against use, idle nodes and namespaces, volumes",
        )
        .after_long_help(format!("{RECOMMEND_EXAMPLES}\n\n{EXIT_CODES}"))
        .arg(account())
        .arg(option("lookback", "DAYS", "How far back use is looked at").default_value("7"))
        .arg(
            option("profile", "WORD", "cost: 15 % above use; performance: 50 % and 30 %")
                .value_parser(["cost", "performance"])
                .default_value("cost"),
        )
        .arg(
            option("node-target", "SHARE", "To which share nodes may be allocated")
                .default_value("0.75"),
        )
        .arg(switch(
            "write",
            "Store them in kubecost_recommendations, in the place of the last ones",
        ))
}
