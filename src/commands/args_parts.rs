//! Arguments that several commands have.

use clap::{Arg, ArgAction};

pub(super) const EXIT_CODES: &str = "Exit codes: 0 all accounts done; 1 some account failed; 2 the settings are \
wrong; 3 nothing could be done, because a store or the query layer is down.";

pub(super) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub(super) fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

pub(super) fn account() -> Arg {
    option("account", "ID", "Only this account (may be given several times)")
        .action(ArgAction::Append)
}
