-- unless: table expenses_namespace_daily
-- A key column must not be Nullable. Servers differ in whether WHERE sees the column or the alias of
-- its name: the condition holds for both. No inner query: old servers cannot push inserts through one.
-- Read it with sum(total_cost): rows of one key are added up by merges only.
CREATE MATERIALIZED VIEW IF NOT EXISTS expenses_namespace_daily
ENGINE = SummingMergeTree()
PARTITION BY toYYYYMM(date)
ORDER BY (cloud_account_id, date, k8s_namespace)
POPULATE AS
SELECT cloud_account_id, date, assumeNotNull(k8s_namespace) AS k8s_namespace, sum(cost * sign) AS total_cost
FROM expenses
WHERE k8s_namespace != ''
GROUP BY cloud_account_id, date, k8s_namespace
