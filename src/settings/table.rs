//! The table of the worker's settings: names, defaults and what they mean.

use super::raw::{Setting, plain, secret};

/// Every setting of the worker: the one place that names them.
pub const SETTINGS: &[Setting] = &[
    plain(
        "QUERY_LAYER",
        Some("prometheus"),
        "Where costs are read: prometheus (also Thanos, Mimir, VictoriaMetrics), metroculus or allocation-api",
    ),
    plain(
        "PROMETHEUS_URL",
        None,
        "Address of Prometheus or Thanos Query, for QUERY_LAYER=prometheus",
    ),
    plain("PROMETHEUS_USER", None, "User name for basic authentication at PROMETHEUS_URL"),
    secret("PROMETHEUS_PASSWORD", "Password for basic authentication at PROMETHEUS_URL"),
    secret("PROMETHEUS_TOKEN", "Bearer token for PROMETHEUS_URL"),
    plain(
        "TENANT_LABEL",
        Some("tenant_id"),
        "Label that holds the account's id; empty: the server holds one tenant only, and exactly one account is allowed",
    ),
    plain(
        "METROCULUS_URL",
        None,
        "Address of Metroculus, for QUERY_LAYER=metroculus and for verify",
    ),
    secret("CLUSTER_SECRET", "The header Secret of Metroculus and of the REST API"),
    plain(
        "KUBECOST_URL",
        None,
        "Address of a Kubecost or OpenCost, for QUERY_LAYER=allocation-api",
    ),
    plain(
        "ACCOUNTS",
        Some("auto"),
        "Which accounts: rest, mongo (collection cloud_account or cloudaccount), a comma list of ids; auto: rest where REST_URL and CLUSTER_SECRET are set, else mongo",
    ),
    plain(
        "REST_URL",
        None,
        "Address of the CloudTuner REST API, for accounts, pools, owners, import status and verify",
    ),
    plain(
        "RESOURCES",
        Some("mongo"),
        "Who makes new resource documents: mongo (this program, in MongoDB) or rest (the REST API's bulk call, which applies assignment rules)",
    ),
    plain(
        "DEFAULT_POOL_ID",
        None,
        "Pool of resources that this program makes; not set: as the REST API has it, else none",
    ),
    plain(
        "DEFAULT_EMPLOYEE_ID",
        None,
        "Owner of resources that this program makes; set together with DEFAULT_POOL_ID",
    ),
    plain(
        "SEEN_INTERVAL",
        Some("30m"),
        "How far a resource's last_seen may fall behind its last sample before it is moved",
    ),
    plain(
        "STATUS_INTERVAL",
        Some("15m"),
        "How often an unchanged import status is sent to the REST API",
    ),
    plain(
        "STORE",
        Some("cloudtuner"),
        "Where costs are kept: cloudtuner (MongoDB and ClickHouse) or sqlite:PATH, for trying",
    ),
    secret("MONGO_URL", "Address of MongoDB, mongodb://user:password@host:port/"),
    plain("MONGO_DATABASE", Some("restapi"), "MongoDB database"),
    plain(
        "RESOURCES_COLLECTION",
        Some("auto"),
        "MongoDB collection of resources: cloud_resource, or resources upstream; auto: the one that has documents, else cloud_resource",
    ),
    plain("CLICKHOUSE_URL", None, "HTTP address of ClickHouse"),
    plain("CLICKHOUSE_DATABASE", Some("default"), "ClickHouse database"),
    plain("CLICKHOUSE_USER", Some("default"), "ClickHouse user"),
    secret("CLICKHOUSE_PASSWORD", "ClickHouse password"),
    plain(
        "LEVELS",
        Some("cluster,namespace"),
        "Levels that have rows of their own: a comma list of cluster, namespace, pod",
    ),
    plain(
        "PHASE",
        Some("auto"),
        "auto: the exporter's gauges (2) where any sample of them exists, else raw metrics (1); 1 or 2 forces one",
    ),
    plain("DEFAULT_CLUSTER", Some(""), "Name of the cluster of series that have no cluster label"),
    plain("LEASE_SECONDS", Some("120"), "How long a worker that died keeps others off its account"),
    plain(
        "CATCH_UP_DAYS",
        Some("35"),
        "How many past days are looked after: those not settled are recomputed",
    ),
    plain(
        "SHRINK_LIMIT",
        Some("0.2"),
        "A day whose total falls by more than this share without a matching loss of coverage is refused",
    ),
    plain(
        "GAP_POLICY",
        Some("none"),
        "none: a gap in the source costs nothing and is reported; scale: a cluster with gaps is scaled up by its own coverage of the day, if that is at least half",
    ),
    plain(
        "MAX_SAMPLES",
        Some("10000000"),
        "Most samples one query may touch; longer ones are split by time",
    ),
    plain(
        "ACCOUNT_DEADLINE_SECONDS",
        Some("120"),
        "Time one account may take in a run; what is left is done by the next run",
    ),
    plain(
        "SHARD_COUNT",
        Some("1"),
        "Among how many workers the accounts are spread: this one takes those of JOB_COMPLETION_INDEX",
    ),
    plain("JOB_COMPLETION_INDEX", Some("0"), "Which of SHARD_COUNT workers this is, from 0"),
    plain("METRICS_ADDR", Some("0.0.0.0:9091"), "Where schedule serves /metrics; empty: nowhere"),
    plain(
        "METRICS_TEXTFILE",
        None,
        "File that run leaves its metrics in, for a textfile collector",
    ),
    plain("METRICS_PUSHGATEWAY_URL", None, "Address of a Pushgateway that run puts its metrics to"),
    plain("EXPORTER_URL", None, "verify: address of the customer's allocation exporter"),
    plain("SOURCE_PROMETHEUS_URL", None, "verify: address of the customer's Prometheus"),
    plain("SOURCE_PROMETHEUS_USER", None, "verify: user name at SOURCE_PROMETHEUS_URL"),
    secret("SOURCE_PROMETHEUS_PASSWORD", "verify: password at SOURCE_PROMETHEUS_URL"),
    secret("SOURCE_PROMETHEUS_TOKEN", "verify: bearer token for SOURCE_PROMETHEUS_URL"),
    plain("DIPROXY_URL", None, "verify: address that remote_write sends to, path included"),
    plain("DIPROXY_USER", None, "verify: user name at DIPROXY_URL"),
    secret("DIPROXY_PASSWORD", "verify: password at DIPROXY_URL"),
    secret("DIPROXY_TOKEN", "verify: bearer token for DIPROXY_URL"),
    secret("REST_TOKEN", "verify: a user's bearer token for REST_URL, beside CLUSTER_SECRET"),
    plain("LOG_FORMAT", Some("text"), "text or json, on standard error; RUST_LOG sets the level"),
];
