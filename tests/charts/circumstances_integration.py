"""Circumstances of a customer's cluster: which alerts of the integration fire in each, and no others."""

from circumstances import DAY, HOUR, series

MINUTES = 8 * HOUR
WHO = {"tenant_id": "t", "cluster": "eu-1"}
SIX_HOURS = "exporter.window=6h"
# Age of the newest window, in seconds: an hour old when it closes, two when the next one does.
AGE = " ".join(["3600+60x59"] * 8)
AGE_OF_SIX = " ".join(["21600+60x359"] * 5)


def exporter(up="1x480", job="kubecost-allocation-exporter", success="1x480", age=AGE, cost="12x480", **labels):
    who = {**WHO, **labels}
    return [
        series("up", up, job=job, instance="exporter:19090"),
        series("cloudtuner_kubecost_exporter_scrape_success", success, **who),
        series("cloudtuner_kubecost_data_age_seconds", age, **who),
        series("cloudtuner_kubecost_cluster_total_cost", cost, **who),
        series("cloudtuner_kubecost_exporter_series_folded", "0x480", **who),
    ]


def remote_write(failed="0x480", retried="0x480", sent="0+60x480", name="cloudtuner", url="https://ct"):
    own = {"remote_name": name, "url": url}
    return [
        series("prometheus_remote_storage_samples_failed_total", failed, **own),
        series("prometheus_remote_storage_samples_retried_total", retried, **own),
        series("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", sent, **own),
        series("prometheus_remote_storage_highest_timestamp_in_seconds", "0+60x480"),
    ]


def errors(values, reason="http"):
    return [series("cloudtuner_kubecost_exporter_scrape_errors_total", values, reason=reason, **WHO)]


# name, values, series, minute, what fires
CASES = [
    ("all is well", [], exporter() + remote_write() + errors("0x480"), 5 * HOUR, {}),
    (
        "the exporter is gone for two hours",
        [],
        exporter(up="1x60 0x420", success="1x60", age="3600x60", cost="12x60") + remote_write(),
        3 * HOUR + 30,
        {"KubecostExporterDown": 1, "KubecostCostsAbsent": 1},
    ),
    ("the exporter's Pod moves to another node", [], exporter(up="1x60 0x5 1x415", cost="12x60 _x5 12x415") + remote_write(), HOUR + 6, {}),
    (
        "Kubecost is down for an hour, the last window stands",
        [],
        exporter(success="1x60 0x420", age="3600+60x59 3600+60x420") + errors("0x60 0+1x420") + remote_write(),
        2 * HOUR,
        {"KubecostExporterPollFailing": 1, "KubecostExporterErrors": 1},
    ),
    (
        "Kubecost is down for a night: the gauges are gone",
        [],
        exporter(success="1x60 0x420", age="3600+60x480", cost="12x180") + errors("0x60 0+1x420") + remote_write(),
        7 * HOUR,
        {"KubecostExporterPollFailing": 1, "KubecostExporterErrors": 1, "KubecostExporterDataOld": 1, "KubecostCostsAbsent": 1},
    ),
    ("Kubecost restarts: three polls fail", [], exporter(success="1x60 0x3 1x420") + errors("0x60 0+1x3 3x420") + remote_write(), HOUR + 20, {}),
    ("CloudTuner refuses the password", [], exporter() + remote_write(failed="0x60 0+100x420", sent="0+60x480"), 2 * HOUR, {"KubecostRemoteWriteFailing": 1}),
    (
        "CloudTuner is down for three hours",
        [],
        exporter() + remote_write(retried="0x60 0+100x420", sent="0+60x60 3600x420"),
        4 * HOUR,
        {"KubecostRemoteWriteRetrying": 1, "KubecostRemoteWriteBehind": 1},
    ),
    ("CloudTuner is upgraded: ten minutes", [], exporter() + remote_write(retried="0x60 0+100x10 1000x410", sent="0+60x60 3600x10 4260+60x410"), HOUR + 25, {}),
    (
        "the customer's own remote_write fails",
        [],
        exporter() + remote_write() + remote_write(failed="0+100x480", retried="0+100x480", sent="60x480", name="own", url="https://own"),
        3 * HOUR,
        {},
    ),
    ("WINDOW=6h, as it should be", [SIX_HOURS], exporter(age=AGE_OF_SIX) + remote_write(), 5 * HOUR + 59, {}),
    ("WINDOW=6h, but the chart was not told", [], exporter(age=AGE_OF_SIX) + remote_write(), 5 * HOUR + 59, {"KubecostExporterDataOld": 1}),
    ("a new exporter before its first window of six hours", [SIX_HOURS], [series("up", "1x480", job="kubecost-allocation-exporter")], 6 * HOUR + 20, {}),
    (
        "the first window of six hours does not come",
        [SIX_HOURS],
        [series("up", "1x600", job="kubecost-allocation-exporter")],
        7 * HOUR,
        {"KubecostCostsAbsent": 1},
    ),
    (
        "a renamed exporter is down",
        ["exporter.fullnameOverride=costs-eu"],
        exporter(up="0x480", job="costs-eu") + remote_write(),
        HOUR,
        {"KubecostExporterDown": 1},
    ),
    ("another release's exporter is down", ["exporter.fullnameOverride=costs-eu"], exporter(up="0x480") + remote_write(), HOUR, {}),
    (
        "the cluster reports under its former account too",
        [],
        exporter() + [series("cloudtuner_kubecost_cluster_total_cost", "12x480", tenant_id="former", cluster="eu-1")] + remote_write(),
        HOUR,
        {"KubecostClusterUnderTwoAccounts": 1},
    ),
    (
        "the cluster moves to another account: one series ends as the other begins",
        [],
        exporter(cost="_x60 12x420") + [series("cloudtuner_kubecost_cluster_total_cost", "12x60 stale", tenant_id="former", cluster="eu-1")] + remote_write(),
        HOUR + 20,
        {},
    ),
    (
        "an empty cluster costs nothing for two hours",
        [],
        exporter(cost="0x480") + remote_write(),
        2 * HOUR,
        {"KubecostCostsZero": 1},
    ),
    (
        "the rules of another team fail",
        [],
        exporter() + [series("prometheus_rule_evaluation_failures_total", f"0+1x{DAY}", rule_group="team;slo")] + remote_write(),
        HOUR,
        {},
    ),
]
