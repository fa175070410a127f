-- unless: table expenses
CREATE TABLE IF NOT EXISTS expenses
(
    cloud_account_id String,
    resource_id String,
    date DateTime,
    cost Float64,
    sign Int8
)
ENGINE = CollapsingMergeTree(sign)
PARTITION BY toYYYYMM(date)
ORDER BY (cloud_account_id, date, resource_id)
