//! `schedule`: runs by a cron expression, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler};

use crate::run::metrics::serve::{Metrics, router};
use crate::run::{Environment, RunRequest, Stop, run as run_once};
use crate::service::access::Access;
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::server::Server;
use crate::settings::worker::{FailOn, ScheduleSettings};

use super::request::end_on_signal;
use super::screen::{Form, Screen};
use super::{CliError, Context, run_output};

/// What `--cron` may be.
const ACCEPTED: &str = "give five fields (minute, hour, day of the month, month, day of the week), six \
                        with seconds first, or @hourly, @daily, @weekly, @monthly or @yearly; an \
                        example: '*/5 * * * *'";

/// `schedule`: runs by a cron expression until asked to stop.
///
/// # Errors
/// When settings or the expression are wrong, or an address cannot be used.
pub async fn schedule(context: &Context) -> Result<u8, CliError> {
    let expression = context.argument("cron").unwrap_or("*/5 * * * *").to_owned();
    job(&expression, || async {})?;
    let config: ScheduleSettings = context.settings()?;
    let environment = context.environment(&config.pipeline).await?;
    let stop = end_on_signal()?;
    let metrics = Metrics::default();
    if let Some(serving) = &config.metrics_serving {
        let server = Server::bind(serving, Hop::Worker).await?;
        tracing::info!("serving {}/metrics", server.url());
        let (ended, pages) =
            (stop.clone(), router(metrics.clone(), Access::of(&config.metrics_access)));
        tokio::spawn(async move { server.run(pages, ended.asked()).await });
    }
    let work = Arc::new(Scheduled {
        environment,
        metrics,
        stop: stop.clone(),
        form: context.form,
        fail_on: config.fail_on,
        running: Mutex::new(()),
        exit_code: AtomicU8::new(0),
    });
    let mut scheduler = JobScheduler::new().await.map_err(|error| internal(&error))?;
    let ticking = Arc::clone(&work);
    let job = job(&expression, move || {
        let work = Arc::clone(&ticking);
        async move { work.tick().await }
    })?;
    scheduler.add(job).await.map_err(|error| internal(&error))?;
    scheduler.start().await.map_err(|error| internal(&error))?;
    tracing::info!(cron = expression, "scheduled");
    stop.asked().await;
    scheduler.shutdown().await.map_err(|error| internal(&error))?;
    // A run that is under way ends after its account; only then is the lock free.
    drop(work.running.lock().await);
    Ok(work.exit_code.load(Ordering::SeqCst))
}

struct Scheduled {
    environment: Environment,
    metrics: Metrics,
    stop: Stop,
    form: Form,
    fail_on: FailOn,
    running: Mutex<()>,
    exit_code: AtomicU8,
}

impl Scheduled {
    async fn tick(&self) {
        let Ok(_running) = self.running.try_lock() else {
            tracing::warn!("the run before is still going: this one is left out");
            return;
        };
        if self.stop.is_asked() {
            return;
        }
        let mut summary = run_once(&self.environment, &RunRequest::default(), &self.stop).await;
        summary.exit_code = self.fail_on.exit_code(summary.exit_code, summary.accounts_done);
        self.exit_code.store(summary.exit_code, Ordering::SeqCst);
        self.metrics.add(&summary);
        let shown = (self.form, Screen::stdout());
        if let Err(error) = run_output::summary(&mut std::io::stdout().lock(), &summary, shown) {
            tracing::error!(%error, "the summary could not be written");
        }
    }
}

/// A job that does `work` whenever the expression says so; also made to see whether it is one,
/// before anything is connected to.
fn job<W, F>(expression: &str, work: W) -> Result<Job, CliError>
where
    W: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let wrong =
        || CliError::Argument(format!("--cron '{expression}' is no cron expression: {ACCEPTED}"));
    // The scheduler counts seconds first; people write five fields. A seventh would be a year, after
    // which no run would ever come.
    let with_seconds = match expression.split_whitespace().count() {
        5 => format!("0 {expression}"),
        1 | 6 => expression.to_owned(),
        _ => return Err(wrong()),
    };
    // Its error has no reason.
    Job::new_async(with_seconds.as_str(), move |_, _| Box::pin(work())).map_err(|_| wrong())
}

fn internal(error: &impl std::fmt::Display) -> Failure {
    let what = format!("the scheduler failed: {error}");
    Failure::new(
        Hop::Worker,
        Kind::Internal,
        what,
        "start it again; if it fails again, run by a CronJob",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bad_expression_is_refused_with_what_is_accepted() {
        for good in ["*/5 * * * *", "0 */5 * * * *", "@hourly", "0 0 * * MON-FRI"] {
            assert!(job(good, || async {}).is_ok(), "{good}");
        }
        for bad in ["", "x", "61 * * * *", "* * * *", "@reboot", "0 0 0 1 1 * 2030"] {
            let said = job(bad, || async {}).err().unwrap().to_string();
            assert!(said.contains(&format!("--cron '{bad}'")), "{said}");
            assert!(said.contains("five fields") && said.contains("@hourly"), "{said}");
        }
    }
}
