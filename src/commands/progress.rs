//! Progress on a terminal: a bar below the lines of the log.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::AccountSummary;
use crate::run::progress::{Progress, ProgressTo};
use crate::service::terminal;
use crate::service::usd::Usd;

/// A bar over accounts or days; nothing is drawn where standard error is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    usd: Mutex<f64>,
}

impl Bar {
    /// A bar over so many of `what`.
    pub(super) fn over(what: &str) -> Arc<Self> {
        let form = format!("{{bar:20}} {{pos}}/{{len}} {what}, {{eta}} left; {{wide_msg}}");
        let style = ProgressStyle::with_template(&form);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal::bars().add(ProgressBar::new(0).with_style(style));
        Arc::new(Self { bar, usd: Mutex::new(0.0) })
    }

    /// Where a request shows progress.
    pub(super) fn target(self: &Arc<Self>) -> ProgressTo {
        let bar: Arc<dyn Progress> = Arc::clone(self) as Arc<dyn Progress>;
        ProgressTo::shown(bar)
    }

    /// Takes the bar away, for the result to be shown.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
        terminal::bars().remove(&self.bar);
    }
}

impl Progress for Bar {
    fn begin(&self, count: u64) {
        self.bar.set_length(count);
    }

    fn step(&self, done: &AccountSummary) {
        let sum = {
            let mut sum = self.usd.lock().unwrap_or_else(PoisonError::into_inner);
            *sum += done.days.iter().map(|day| day.source_total_usd).sum::<f64>();
            *sum
        };
        let name = done.account.name.as_deref().filter(|name| !name.trim().is_empty());
        let name = name.unwrap_or(done.account.id.as_str());
        let day = match done.days.as_slice() {
            [day] => format!("{} of ", day.day),
            _ => String::new(),
        };
        self.bar.set_message(format!("${:.2}; last: {day}{name}", Usd(sum)));
        self.bar.inc(1);
    }
}
