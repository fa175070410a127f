//! The settings of `kubecost-allocation-exporter`: names, defaults and what they mean.

super::table::settings! {
    "Every setting of the exporter."
    KUBECOST_URL: "Address of Kubecost or OpenCost; which of them it is, is found out";
    KUBECOST_USER: "User name for basic authentication at KUBECOST_URL";
    KUBECOST_PASSWORD (secret): "Password for basic authentication at KUBECOST_URL";
    KUBECOST_TOKEN (secret): "Bearer token for KUBECOST_URL";
    CA_FILE:
        "PEM file of certificate authorities to trust at KUBECOST_URL beside the usual ones";
    KUBECOST_CA_FILE: "Another name of CA_FILE";
    CLIENT_CERT_FILE:
        "PEM file of the certificate chain to show where KUBECOST_URL asks for a client certificate";
    CLIENT_KEY_FILE: "PEM file of its private key, not encrypted";
    TENANT_ID: "Label tenant_id: the id of the CloudTuner cloud account";
    CLUSTER_NAME: "Label cluster: the cluster's name";
    CLUSTER_FILTER:
        "The one cluster to take, of a Kubecost or OpenCost that answers for several, as it names it";
    SCRAPE_INTERVAL = "60":
        "How often the allocation API is asked; at least twice in WINDOW";
    WINDOW = "1h":
        "Length of the window asked for: 1h, 2h, 3h, 4h, 6h, 8h, 12h or 1d; for trying out, with a \
         cost model that computes so finely, a part of an hour such as 1m";
    METRIC_MODE = "rate": "rate: USD per hour; total: USD per window";
    CURRENCY = "USD": "Label currency of the costs: the currency that the cost model is set to";
    INCLUDE_IDLE = "true": "Whether the cost of unused capacity is part of the costs";
    SHARE_IDLE = "false":
        "false: idle is a namespace __idle__; true or weighted: shared by cost; even: shared \
         equally (Kubecost only)";
    POD_METRICS = "false": "Whether pods have gauges: one more request a poll";
    NODE_METRICS = "false":
        "Whether nodes have gauges (total, cpu, ram, idle): two more requests a poll";
    POD_LABELS = "": "Further labels of pods: a comma list of node, service";
    STALE_AFTER = "3h": "How long the last good answer stands when no new one comes";
    MAX_SERIES = "10000": "Most cost series; the smallest beyond it are summed as __other__";
    RESOLUTION = "": "Grid OpenCost cuts times to, such as 1m; empty: its own (5m)";
    REQUEST_TIMEOUT = "30s": "Time for one request to the allocation API";
    MAX_REPLY_BYTES = "33554432": "Largest reply that is read, decompressed";
    LISTEN_ADDR = "0.0.0.0:19090": "Address that metrics are served on";
    METRICS_TLS_CERT_FILE: "PEM file of the certificate chain, to serve HTTPS";
    METRICS_TLS_KEY_FILE: "PEM file of the private key, to serve HTTPS";
    METRICS_USER: "User name that a scraper must show for /metrics; not set: none";
    METRICS_PASSWORD (secret): "Password that goes with METRICS_USER";
    METRICS_TOKEN (secret): "Bearer token that a scraper must show for /metrics; not set: none";
    LOG_FORMAT = "text": "text or json, on standard error; RUST_LOG sets the level";
}
