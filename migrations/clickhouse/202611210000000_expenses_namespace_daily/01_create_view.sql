-- unless: table expenses_namespace_daily
-- A key column must not be Nullable, and old servers take an alias for the column of its name:
-- hence the inner query. Read it with sum(total_cost): rows of one key are added up by merges only.
CREATE MATERIALIZED VIEW IF NOT EXISTS expenses_namespace_daily
ENGINE = SummingMergeTree()
PARTITION BY toYYYYMM(date)
ORDER BY (cloud_account_id, date, k8s_namespace)
POPULATE AS
SELECT cloud_account_id, date, namespace_name AS k8s_namespace, sum(signed_cost) AS total_cost
FROM
(
    SELECT cloud_account_id, date, assumeNotNull(k8s_namespace) AS namespace_name, cost * sign AS signed_cost
    FROM expenses
    WHERE isNotNull(k8s_namespace)
)
GROUP BY cloud_account_id, date, namespace_name
