//! Commands, their arguments and their help.

use clap::{Arg, Command};

use crate::settings::raw::flags;
use crate::settings::worker::SETTINGS;

use crate::service::version;

use super::args_parts::{EXIT_CODES, account, option, switch};
use super::command_settings::settings_of;

const RUN_EXAMPLES: &str = "\
Examples:
  # what the CronJob does every 5 minutes
  PROMETHEUS_URL=http://thanos-query:10902 MONGO_URL_FILE=/run/secrets/mongo \\
    CLICKHOUSE_URL=http://clickhouse:8123 kubecost-worker run
  # see what a run would write
  kubecost-worker run --dry-run
  # two past days again, of one account
  kubecost-worker run --from 2026-11-18 --to 2026-11-19 --account bc55eb8c-5db2-4c32-b976-2df0edb0619a
  # write a day although its total fell
  kubecost-worker run --from 2026-11-18 --to 2026-11-18 --force --reason 'new discount'

Where standard output is no terminal, its last line is one JSON object (docs/schemas/).";

const PLAN_EXAMPLES: &str = "\
Examples:
  kubecost-worker plan --from 2026-11-18 --to 2026-11-19 --out plan.json
  kubecost-worker run --plan plan.json

A plan is refused when the stores have changed since. It is written only where no account failed.";

const BACKFILL_EXAMPLES: &str = "\
Examples:
  kubecost-worker backfill --from 2026-08-01 --to 2026-10-31
  # read days again that were adjusted at the source
  kubecost-worker backfill --from 2026-10-01 --to 2026-10-31 --force --reason 'cloud bill'

Where standard output is no terminal, its last line is one JSON object (docs/schemas/).";

const AUDIT_EXAMPLES: &str = "\
Examples:
  kubecost-worker audit --from 2026-08-01 --to 2026-10-31
  kubecost-worker audit --from 2026-08-01 --to 2026-10-31 --fix
  # rows and documents of the earlier worker and of importers: compute the days first, list what
  # would go over to which documents, then do it
  kubecost-worker backfill --from 2026-08-01 --to 2026-10-31
  kubecost-worker audit --from 2026-08-01 --to 2026-10-31 --adopt --dry-run
  kubecost-worker audit --from 2026-08-01 --to 2026-10-31 --adopt

Days that lost rows, by a repair or otherwise, are named with the backfill that computes them again.

Exit codes: 0 nothing is wrong, or all of it was repaired; 1 findings are left; 2 the settings are \
wrong; 3 a store is down.";

const SCHEDULE_EXAMPLES: &str = "\
Examples:
  kubecost-worker schedule --cron '*/5 * * * *'

One run at a time. SIGTERM ends after the day that is being worked on, in any case within 10 s.";

const SERVE_EXAMPLES: &str = "\
Examples:
  CLUSTER_SECRET_FILE=/run/secrets/cluster kubecost-worker serve
  curl -H \"Secret: $SECRET\" 'http://localhost:8969/metroculus/v2/kubecost_cluster_costs\
?cloud_account_id=bc55eb8c-5db2-4c32-b976-2df0edb0619a&start_date=1793491200&end_date=1796083199'

Pages: /metroculus/v2/kubecost_cluster_costs, /metroculus/v2/kubecost_metrics,
/metroculus/v2/kubecost_savings (header Secret: CLUSTER_SECRET), /openapi.json, /healthz, /readyz,
/metrics. It writes nothing. SIGTERM ends after what is being answered.
Exit codes: 0 stopped by a signal; 2 the settings are wrong; 3 it cannot listen, or a store is down.";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  kubecost-worker migrate --dry-run    # print what is missing
  kubecost-worker migrate              # make it; what is there is left alone";

const ACCOUNTS_EXAMPLES: &str = "\
Examples:
  kubecost-worker accounts
  ACCOUNTS=rest REST_URL=http://restapi kubecost-worker accounts --output json
  # the platform's own importer shall leave the account alone
  REST_URL=http://restapi CLUSTER_SECRET_FILE=/run/secrets/cluster \
    kubecost-worker accounts --disable-auto-import bc55eb8c-5db2-4c32-b976-2df0edb0619a";

const VERIFY_EXAMPLES: &str = "\
Examples:
  kubecost-worker verify
  # one account, with the hops in the customer's cluster
  EXPORTER_URL=http://exporter:19090 SOURCE_PROMETHEUS_URL=http://prometheus:9090 \\
    DIPROXY_URL=http://diproxy/storage/api/v2/write DIPROXY_USER=u DIPROXY_PASSWORD_FILE=/run/p \\
    kubecost-worker verify --account bc55eb8c-5db2-4c32-b976-2df0edb0619a
  kubecost-worker verify --output json

Hops, in order: exporter, target, remote-write, diproxy, query-layer, tenant, lag, metroculus, mongodb,
account, index, documents, clickhouse, rows, auto-import, rest-filters, rest-expenses,
rest-reader. Nothing is changed.
It takes less than 10 seconds.
Exit codes: 0 no hop is broken; 1 some hop is; 2 the settings are wrong.";

const JOB_MANIFEST_EXAMPLES: &str = "\
Examples:
  kubectl -n NS get cronjob kubecost-worker -o json > cronjob.json
  kubecost-worker job-manifest --workload cronjob.json backfill --from 2026-11-01 --to 2026-11-05 \\
    | kubectl -n NS apply -f -
  # of a release with mode: deployment
  kubectl -n NS get deployment kubecost-worker -o json | kubecost-worker job-manifest verify \\
    | kubectl -n NS apply -f -

The Job has a name of its own each time, no owner and no deadline. backfill and run keep the shards \
of the CronJob; other commands see all accounts in one Pod.";

const DEMO_EXAMPLES: &str = "\
Examples:
  kubecost-worker demo
  kubecost-worker demo --keep demo.sqlite && sqlite3 demo.sqlite 'SELECT * FROM expenses LIMIT 5'

It needs no settings, no server and no network.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(kubecost-worker completions bash)
  kubecost-worker completions zsh >\"${fpath[1]}/_kubecost-worker\"
  kubecost-worker completions fish >~/.config/fish/completions/kubecost-worker.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  kubecost-worker man | man -l -
  # the pages of all commands, and of kubecost-allocation-exporter
  kubecost-worker man --out /usr/local/share/man/man1";

const EXAMPLES: &str = "\
Examples:
  # the whole job over recorded input, without any server
  kubecost-worker demo
  # is every hop there?
  kubecost-worker verify
  # what a run would write, and then write it
  kubecost-worker run --dry-run
  kubecost-worker run

Each command has examples of its own, and lists the settings that it reads: kubecost-worker run \
--help. A flag wins over the environment, that over the --config FILE.";

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    whole().mut_subcommands(with_settings)
}

/// A command with the settings that it reads; the others are taken too, and not shown.
fn with_settings(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let read = settings_of(&name);
    let flags = flags(SETTINGS).into_iter().map(|flag| {
        let is_read = read.contains(flag.get_id().as_str());
        flag.hide(!is_read)
    });
    let what = if read.is_empty() { "" } else { " and the settings that it reads" };
    command.args(flags).after_help(format!("Examples{what}: kubecost-worker {name} --help"))
}

fn whole() -> Command {
    Command::new("kubecost-worker")
        .version(version::SHORT)
        .long_version(version::LONG)
        .about("Brings Kubernetes costs from Kubecost and OpenCost into CloudTuner")
        .after_help("Examples and all settings: kubecost-worker --help")
        .after_long_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            option(
                "config",
                "FILE",
                "Settings as TOML: the keys are the settings' names in lower case",
            )
            .global(true),
        )
        .arg(
            option(
                "output",
                "FORMAT",
                "What standard output is for: people (text) or programs (json); not given: text, \
                 and where it is no terminal, run and backfill end in one line of JSON",
            )
            .value_parser(["text", "json"])
            .global(true),
        )
        .arg(
            option("at", "TIME", "Work as if it were this time (RFC 3339): for replays and tests")
                .global(true),
        )
        .args(flags(SETTINGS))
        .subcommand(run())
        .subcommand(plan())
        .subcommand(backfill())
        .subcommand(audit())
        .subcommand(schedule())
        .subcommands(super::args_reports::commands())
        .subcommands(around_a_run())
        .subcommands(about_the_program())
}

/// What prepares a run, checks it, and serves what it stored.
fn around_a_run() -> Vec<Command> {
    vec![
        Command::new("serve")
            .about("Answer what Metroculus is asked about Kubernetes costs, from the ledger")
            .after_long_help(SERVE_EXAMPLES),
        Command::new("migrate")
            .about("Bring MongoDB and ClickHouse to the schema that a run needs")
            .after_long_help(format!("{MIGRATE_EXAMPLES}\n\n{EXIT_CODES}"))
            .arg(switch("dry-run", "Print what would be done, and do nothing")),
        Command::new("verify")
            .about(
                "Check every hop from the exporter to the REST API, and name the first broken one",
            )
            .after_long_help(VERIFY_EXAMPLES)
            .arg(option("account", "ID", "This account; otherwise up to 8 of those configured")),
        job_manifest(),
        accounts(),
    ]
}

/// The program by itself: no setting is read.
fn about_the_program() -> Vec<Command> {
    vec![
        Command::new("demo")
            .about("Do the whole job over recorded input, without any server, and show the result")
            .after_long_help(DEMO_EXAMPLES)
            .arg(option(
                "keep",
                "FILE",
                "Keep the SQLite file that the costs are stored in, with the page beside it (.html)",
            )),
        Command::new("completions")
            .about("Print completions for a shell")
            .after_long_help(COMPLETIONS_EXAMPLES)
            .arg(
                Arg::new("shell")
                    .value_name("SHELL")
                    .help("The shell")
                    .required(true)
                    .value_parser(clap::value_parser!(clap_complete::Shell)),
            ),
        Command::new("man")
            .about("Print the manual page, or write the pages of all commands")
            .after_long_help(MAN_EXAMPLES)
            .arg(option("out", "DIRECTORY", "Where the pages are written, one a command")),
    ]
}

fn accounts() -> Command {
    Command::new("accounts")
        .about("List the accounts that a run works on")
        .after_long_help(format!("{ACCOUNTS_EXAMPLES}\n\n{EXIT_CODES}"))
        .arg(option(
            "disable-auto-import",
            "ID",
            "Have CloudTuner's own importer leave this account alone: its rows would stand beside \
             this program's",
        ))
}

fn job_manifest() -> Command {
    Command::new("job-manifest")
        .about(
            "Print a Job that runs a command by hand, made from a release's CronJob or Deployment",
        )
        .after_long_help(JOB_MANIFEST_EXAMPLES)
        .arg(
            option("workload", "FILE", "The CronJob or Deployment as JSON; -: standard input")
                .default_value("-"),
        )
        .arg(
            option("ttl-seconds", "N", "How long the Job stays after its end, with its log")
                .value_parser(clap::value_parser!(u32))
                .default_value("604800"),
        )
        .arg(
            Arg::new("arguments")
                .value_name("COMMAND")
                .help("The command and its arguments")
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

fn schedule() -> Command {
    Command::new("schedule")
        .about("Run again and again, by a cron expression")
        .after_long_help(format!("{SCHEDULE_EXAMPLES}\n\n{EXIT_CODES}"))
        .arg(
            option(
                "cron",
                "EXPRESSION",
                "When to run, in UTC: five fields, six with seconds first, or @hourly and the like",
            )
            .default_value("*/5 * * * *"),
        )
}

fn run() -> Command {
    Command::new("run")
        .about("Bring today's, yesterday's and all unsettled days' costs into the stores")
        .after_long_help(format!("{RUN_EXAMPLES}\n\n{EXIT_CODES}"))
        .arg(switch("dry-run", "Read everything, write nothing, show what would be written"))
        .args(days())
        .arg(account())
        .arg(
            option("plan", "FILE", "Apply a plan unchanged, or refuse")
                .conflicts_with_all(["from", "to", "account", "force", "dry-run"]),
        )
        .args(force())
}

fn plan() -> Command {
    Command::new("plan")
        .about("Show what a run would change, by day and namespace; write nothing to the stores")
        .after_long_help(PLAN_EXAMPLES)
        .args(days())
        .arg(account())
        .arg(option("out", "FILE", "Write the plan there, for run --plan"))
}

fn backfill() -> Command {
    Command::new("backfill")
        .about("Compute past days that are not settled and complete, the oldest first; resumable")
        .after_long_help(format!("{BACKFILL_EXAMPLES}\n{EXIT_CODES}"))
        .args(days().map(|day| day.required(true)))
        .arg(account())
        .args(force())
}

fn audit() -> Command {
    Command::new("audit")
        .about("Find what is wrong with what is stored, and repair it when asked to")
        .after_long_help(AUDIT_EXAMPLES)
        .args(days().map(|day| day.required(true)))
        .arg(account())
        .arg(switch(
            "fix",
            "Repair what is found; days that lost rows are computed again by the next run, or by a \
             backfill where they are older than CATCH_UP_DAYS",
        ))
        .arg(switch(
            "adopt",
            "Take over from earlier software: pool, owner and tags go to this program's documents, its \
             rows are taken back on days that this program has stored, its documents retired",
        ))
        .arg(switch("dry-run", "With --fix or --adopt: only show what is found, and how much"))
}

fn days() -> [Arg; 2] {
    [
        option("from", "DAY", "First UTC day (2026-11-20) to compute, whether due or not")
            .requires("to"),
        option("to", "DAY", "Last UTC day to compute, included").requires("from"),
    ]
}

fn force() -> [Arg; 2] {
    [
        switch("force", "Write days even if the source has less than is stored").requires("reason"),
        option("reason", "TEXT", "Why, for the days' records").requires("force"),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::command().debug_assert();
    }
}
