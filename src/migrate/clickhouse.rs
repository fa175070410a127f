//! ClickHouse's migrations.

use clickhouse::Client;

use crate::ledger::clickhouse::client;
use crate::ledger::clickhouse_failure::clickhouse_failure;
use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::settings::worker::CloudTunerConfig;

use super::plan::{CLICKHOUSE, Unless, statement};
use super::{Step, StepState};

/// Applies what is missing, or only says what would be.
///
/// # Errors
/// When the server cannot be used, or refuses a statement whose object is not there afterwards.
pub async fn migrate(config: &CloudTunerConfig, is_dry: bool) -> Result<Vec<Step>, Failure> {
    let migration =
        Migration { client: client(config), address: config.clickhouse.redacted().to_owned() };
    let mut steps = Vec::new();
    for (name, text) in CLICKHOUSE {
        let statement = statement(name, text).map_err(|error| {
            Failure::new(Hop::Worker, Kind::Internal, error.to_string(), REPORT)
        })?;
        let state = migration.apply(name, &statement.unless, &statement.sql, is_dry).await?;
        tracing::info!(migration = name, ?state, "clickhouse");
        steps.push(Step { name: (*name).to_owned(), state, statement: statement.sql });
    }
    if !is_dry {
        migration.compare_view().await?;
    }
    Ok(steps)
}

struct Migration {
    client: Client,
    address: String,
}

impl Migration {
    async fn apply(
        &self,
        name: &str,
        unless: &Unless,
        sql: &str,
        is_dry: bool,
    ) -> Result<StepState, Failure> {
        if self.is_there(unless).await? {
            return Ok(StepState::Present);
        }
        if is_dry {
            return Ok(StepState::Pending);
        }
        match self.client.query(sql).execute().await {
            Ok(()) => Ok(StepState::Applied),
            // Another process may have applied it at the same moment.
            Err(_) if self.is_there(unless).await? => Ok(StepState::Present),
            Err(error) => {
                Err(clickhouse_failure(&format!("migration {name}"), &self.address, &error))
            }
        }
    }

    async fn is_there(&self, unless: &Unless) -> Result<bool, Failure> {
        let query = match unless {
            Unless::Table(table) => self
                .client
                .query("SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ?")
                .bind(table),
            Unless::Column(table, column) => self
                .client
                .query(
                    "SELECT count() FROM system.columns \
                     WHERE database = currentDatabase() AND table = ? AND name = ?",
                )
                .bind(table)
                .bind(column),
        };
        let count: u64 = query
            .fetch_one()
            .await
            .map_err(|error| clickhouse_failure("reading the schema", &self.address, &error))?;
        Ok(count > 0)
    }

    /// Rows that were written while the view was filled may be missing in it.
    async fn compare_view(&self) -> Result<(), Failure> {
        const SQL: &str = "SELECT sum(of_rows), sum(of_view) FROM \
             (SELECT sum(cost * sign) AS of_rows, toFloat64(0) AS of_view FROM expenses \
              WHERE isNotNull(k8s_namespace) \
              UNION ALL \
              SELECT toFloat64(0) AS of_rows, sum(total_cost) AS of_view FROM expenses_namespace_daily)";
        match self.client.query(SQL).fetch_one::<(f64, f64)>().await {
            Ok((rows, view)) if (rows - view).abs() > 1e-6 * rows.abs().max(1.0) => {
                tracing::warn!(
                    rows_usd = rows,
                    view_usd = view,
                    "expenses_namespace_daily differs from expenses: rows were written while it \
                     was filled, or it is of another definition; while no worker runs, drop the \
                     view and migrate again"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
            // A view that the fork made may have other columns: it is left alone.
            Err(error) => {
                tracing::warn!(%error, "expenses_namespace_daily could not be compared");
                Ok(())
            }
        }
    }
}
