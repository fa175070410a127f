//! The settings of `kubecost-worker`: names, defaults and what they mean.

super::table::settings! {
    "Every setting of the worker."
    QUERY_LAYER = "prometheus":
        "Where costs are read: prometheus (also Thanos, Mimir, VictoriaMetrics), metroculus or \
         allocation-api";
    PROMETHEUS_URL: "Address of Prometheus or Thanos Query, for QUERY_LAYER=prometheus";
    PROMETHEUS_USER: "User name for basic authentication at PROMETHEUS_URL";
    PROMETHEUS_PASSWORD (secret): "Password for basic authentication at PROMETHEUS_URL";
    PROMETHEUS_TOKEN (secret): "Bearer token for PROMETHEUS_URL";
    PROMETHEUS_HEADERS (secret):
        "Headers of all requests to PROMETHEUS_URL, 'Name: value' on lines of their own or in a \
         comma list, such as X-Scope-OrgID: {account}, where {account} is the account's id";
    TENANT_LABEL = "tenant_id":
        "Label that holds the account's id; empty: the server holds one tenant only, and \
         exactly one account is allowed";
    METROCULUS_URL: "Address of Metroculus, for QUERY_LAYER=metroculus and for verify";
    CLUSTER_SECRET (secret): "The header Secret of Metroculus and of the REST API";
    KUBECOST_URL: "Address of a Kubecost or OpenCost, for QUERY_LAYER=allocation-api";
    CLUSTER_FILTER:
        "QUERY_LAYER=allocation-api: the one cluster to take, of a Kubecost or OpenCost that answers \
         for several, as it names it";
    ACCOUNTS = "auto":
        "Which accounts: rest, mongo (collection cloud_account or cloudaccount), a comma list \
         of ids; auto: rest where REST_URL and CLUSTER_SECRET are set, else mongo";
    REST_URL:
        "Address of the CloudTuner REST API, for accounts, pools, owners, import status and \
         verify";
    RESOURCES = "mongo":
        "Who makes new resource documents: mongo (this program, in MongoDB) or rest (the REST \
         API's bulk call, which applies assignment rules)";
    DEFAULT_POOL_ID:
        "Pool of resources that this program makes; not set: as the REST API has it, else none";
    DEFAULT_EMPLOYEE_ID:
        "Owner of resources that this program makes; set together with DEFAULT_POOL_ID";
    TAGS_FROM_LABELS:
        "Kubernetes labels of namespaces and pods that become tags: a comma list of names, as \
         app,team, or * for all (at most 32 a resource); not set: none. Read from kube_namespace_\
         labels and kube_pod_labels, at most every SEEN_INTERVAL";
    SEEN_INTERVAL = "30m":
        "How far a resource's last_seen may fall behind its last sample before it is moved";
    STATUS_INTERVAL = "15m": "How often an unchanged import status is sent to the REST API";
    STORE = "cloudtuner":
        "Where costs are kept: cloudtuner (MongoDB and ClickHouse) or sqlite:PATH, for trying";
    MONGO_URL (secret): "Address of MongoDB, mongodb://user:password@host:port/";
    MONGO_DATABASE = "restapi": "MongoDB database";
    RESOURCES_COLLECTION = "auto":
        "MongoDB collection of resources: cloud_resource, or resources upstream; auto: the one \
         that has documents, else cloud_resource";
    CLICKHOUSE_URL: "HTTP address of ClickHouse";
    CLICKHOUSE_DATABASE = "default": "ClickHouse database";
    CLICKHOUSE_USER = "default": "ClickHouse user";
    CLICKHOUSE_PASSWORD (secret): "ClickHouse password";
    LEVELS = "cluster,namespace":
        "Levels that have rows of their own: a comma list of cluster, node, namespace, pod";
    NODE_ROWS = "pods":
        "When nodes (LEVELS with node) have rows, and not only documents with their prices: pods \
         (where pods have rows, a node's is what they leave of it), always (without pods: its idle \
         cost, taken out of the cluster's row)";
    COST_PARTS = "false":
        "Whether documents show what their costs are made of (cpu, ram, gpu, pv, network, lb, idle, \
         other) and, where the source says it, their efficiency: up to 21 more questions a day";
    PHASE = "auto":
        "auto: the exporter's gauges (2) where any sample of them exists, else raw metrics (1); \
         1 or 2 forces one";
    DEFAULT_CLUSTER = "": "Name of the cluster of series that have no cluster label";
    CLUSTER_LABEL = "cluster":
        "Label that names a series' cluster; auto: cluster, and cluster_id where cluster is \
         absent";
    CURRENCY = "USD":
        "Currency of all costs in the stores; costs labelled with another are converted or refused";
    EXCHANGE_RATES_FILE:
        "TOML file of rates, a table for each currency, as EUR, with lines 2026-11-01 = 1.08, the \
         price of one unit in CURRENCY from that day on";
    LEASE_SECONDS = "120": "How long a worker that died keeps others off its account";
    CATCH_UP_DAYS = "35": "How many past days are looked after: those not settled are recomputed";
    SHRINK_LIMIT = "0.2":
        "A day whose total falls by more than this share without a matching loss of coverage is \
         refused";
    GAP_POLICY = "none":
        "none: a gap in the source costs nothing and is reported; scale: a cluster is scaled up \
         over the gaps between its first and last sample of the day, if it has samples for at \
         least half of that time";
    TODAY_REFRESH = "1h":
        "How often the rows of a running day's pods are written (LEVELS with pod); in between, what \
         pods cost since is in their namespace's row; 0: by every run";
    MAX_SAMPLES = "10000000": "Most samples one query may touch at a time; longer ones are split by time";
    CONCURRENCY = "auto":
        "Most questions to the query layer under way, and batches of accounts at a time; auto: as \
         many as there are cores, at least 4";
    BATCH_ACCOUNTS = "25": "Most accounts that one question or statement is about";
    RUN_DEADLINE_SECONDS = "3600":
        "Time a run may take; accounts that are left are done by the next run";
    MAX_RESOURCES = "50000": "Most clusters, namespaces and pods of an account's day";
    MAX_CLUSTERS = "1000": "Most clusters of an account's day";
    OVER_LIMIT = "fail":
        "A day with more than MAX_RESOURCES: fail, by name, and nothing of it is stored; fold: the \
         cheapest stay in the cost of their namespace or cluster";
    ACCOUNT_DEADLINE_SECONDS = "120":
        "Time one account may take in a run; what is left is done by the next run";
    FAIL_ON = "account":
        "What makes run and schedule end with exit code 1: account (an account that failed) or run \
         (no account was done)";
    SHARD_COUNT = "1":
        "Among how many workers the accounts are spread: this one takes those of \
         JOB_COMPLETION_INDEX";
    JOB_COMPLETION_INDEX = "0": "Which of SHARD_COUNT workers this is, from 0";
    METRICS_ADDR = "0.0.0.0:19090": "Where schedule serves /metrics; empty: nowhere";
    METRICS_TLS_CERT_FILE: "PEM file of the certificate chain, for schedule to serve HTTPS";
    METRICS_TLS_KEY_FILE: "PEM file of the private key, for schedule to serve HTTPS";
    METRICS_USER: "User name that a scraper must show for /metrics; not set: none";
    METRICS_PASSWORD (secret): "Password that goes with METRICS_USER";
    METRICS_TOKEN (secret): "Bearer token that a scraper must show for /metrics; not set: none";
    METRICS_TEXTFILE: "File that run leaves its metrics in, for a textfile collector";
    METRICS_PUSHGATEWAY_URL: "Address of a Pushgateway that run puts its metrics to";
    SERVE_ADDR = "0.0.0.0:8969": "serve: address that is served on";
    SERVE_TLS_CERT_FILE: "serve: PEM file of the certificate chain, to serve HTTPS";
    SERVE_TLS_KEY_FILE: "serve: PEM file of the private key, to serve HTTPS";
    SERVE_CACHE = "60s": "serve: how long an answer is used again; 0: it is not";
    LEDGER_ADDED = "false":
        "serve: true where the REST API adds the ledger's rows to the answers by itself; then only \
         what the rows do not have yet is answered";
    EXPORTER_URL: "verify: address of the customer's allocation exporter";
    SOURCE_PROMETHEUS_URL: "verify: address of the customer's Prometheus";
    SOURCE_PROMETHEUS_USER: "verify: user name at SOURCE_PROMETHEUS_URL";
    SOURCE_PROMETHEUS_PASSWORD (secret): "verify: password at SOURCE_PROMETHEUS_URL";
    SOURCE_PROMETHEUS_TOKEN (secret): "verify: bearer token for SOURCE_PROMETHEUS_URL";
    DIPROXY_URL: "verify: address that remote_write sends to, path included";
    DIPROXY_USER: "verify: user name at DIPROXY_URL";
    DIPROXY_PASSWORD (secret): "verify: password at DIPROXY_URL";
    DIPROXY_TOKEN (secret): "verify: bearer token for DIPROXY_URL";
    REST_TOKEN (secret): "verify: a user's bearer token for REST_URL, beside CLUSTER_SECRET";
    CA_FILE:
        "PEM file of certificate authorities to trust beside the usual ones, at every server";
    CLIENT_CERT_FILE:
        "PEM file of the certificate chain to show to servers that ask for a client certificate";
    CLIENT_KEY_FILE: "PEM file of its private key, not encrypted";
    LOG_FORMAT = "text": "text or json, on standard error; RUST_LOG sets the level";
}
