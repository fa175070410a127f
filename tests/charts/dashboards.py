"""Runs every query of the dashboards: dashboards.py PROMETHEUS_URL TIME DASHBOARD.json...   or   dashboards.py sample TIME"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

# Healthy accounts with three clusters, two of one name, as their metrics look.
CLUSTERS = [f'tenant_id="{account}",cluster="{cluster}"' for account, cluster in (("acct-1", "eu-1"), ("acct-1", "us-1"), ("acct-2", "eu-1"))]
ACCOUNT, REMOTE = 'cloud_account_id="acct-1"', 'remote_name="cloudtuner",url="https://ct"'


def series(now):
    """(name, labels, function of the time) of everything that the charts' Prometheus would hold."""
    for labels in CLUSTERS:
        for part, value in (("total", 2.5), ("cpu", 1.2), ("ram", 0.7), ("pv", 0.1), ("network", 0.03), ("lb", 0.05)):
            yield f"cloudtuner_kubecost_cluster_{part}_cost", labels, lambda t, v=value: v
        for part in ("cpu", "ram", "total"):
            yield f"cloudtuner_kubecost_cluster_{part}_efficiency", labels, lambda t: 42
            for namespace in ("default", "kube-system"):
                yield f"cloudtuner_kubecost_namespace_{part}_efficiency", f'{labels},namespace="{namespace}"', lambda t: 35
        for part in ("total", "cpu", "ram", "pv"):
            for namespace in ("default", "kube-system"):
                yield f"cloudtuner_kubecost_namespace_{part}_cost", f'{labels},namespace="{namespace}"', lambda t: 0.4
        for part in ("total", "cpu", "ram"):
            yield f"cloudtuner_kubecost_pod_{part}_cost", f'{labels},namespace="default",pod="web-1",node="n1"', lambda t: 0.2
        yield "cloudtuner_kubecost_window_end_timestamp_seconds", labels, lambda t: t // 3600 * 3600
        yield "cloudtuner_kubecost_window_seconds", labels, lambda t: 3600
        yield "cloudtuner_kubecost_data_age_seconds", labels, lambda t: t % 3600
        yield "cloudtuner_kubecost_exporter_scrape_success", labels, lambda t: 1
        yield "cloudtuner_kubecost_exporter_scrape_duration_seconds", labels, lambda t: 0.3
        yield "cloudtuner_kubecost_exporter_scrape_errors_total", labels + ',reason="timeout"', lambda t: t // 600
        yield "cloudtuner_kubecost_exporter_series_folded", labels, lambda t: 0
        yield "cloudtuner_kubecost_exporter_build_info", labels + ',version="0.1.0"', lambda t: 1
    yield "up", 'job="kubecost-allocation-exporter",instance="e:19090"', lambda t: 1
    for name in ("samples_total", "samples_retried_total", "samples_failed_total"):
        yield f"prometheus_remote_storage_{name}", REMOTE, lambda t: t - now + 86400
    yield "prometheus_remote_storage_highest_timestamp_in_seconds", 'job="prometheus"', lambda t: t
    yield "prometheus_remote_storage_queue_highest_sent_timestamp_seconds", REMOTE, lambda t: t - 5
    yield "kubecost_worker_run_last_success_timestamp_seconds", 'job="worker"', lambda t: t - 60
    yield "kubecost_worker_run_duration_seconds", 'job="worker"', lambda t: 20
    yield "kubecost_worker_runs_total", 'outcome="ok"', lambda t: t // 300
    for outcome in ("ok", "partial", "failed", "skipped"):
        yield "kubecost_worker_accounts", f'outcome="{outcome}"', lambda t, o=outcome: int(o == "ok")
    for state in ("ok", "partial", "no-data", "skipped", "failed"):
        yield "kubecost_worker_account_state", f'{ACCOUNT},state="{state}"', lambda t, s=state: int(s == "ok")
    yield "kubecost_worker_rows_written_total", 'job="worker"', lambda t: 12
    yield "kubecost_worker_documents_written_total", 'job="worker"', lambda t: 6
    for day in ("today", "yesterday"):
        yield "kubecost_worker_coverage_ratio", f'{ACCOUNT},day="{day}"', lambda t: 1
        yield "kubecost_worker_day_cost_usd", f'{ACCOUNT},day="{day}"', lambda t: 60
    yield "kubecost_worker_reconciliation_difference_usd", ACCOUNT, lambda t: 0
    yield "kubecost_worker_source_lag_seconds", ACCOUNT, lambda t: 3700
    yield "expenses_last_insert_time", ACCOUNT + ',cloud_account_type="kubernetes_cnr"', lambda t: t - 200
    yield "kubecost_worker_failures_total", 'hop="query-layer",kind="timeout"', lambda t: 1
    yield "kubecost_worker_build_info", 'version="0.1.0"', lambda t: 1


def sample(now):
    """OpenMetrics text of the day before `now`; promtool wants each metric's samples together."""
    by_name = {}
    for name, labels, value in series(now):
        by_name.setdefault(name, []).append((labels, value))
    for name, members in by_name.items():
        print(f"# TYPE {name} unknown")
        for labels, value in members:
            for t in range(now - 25 * 3600, now + 1, 60):
                print(f"{name}{{{labels}}} {value(t)} {t}")
    print("# EOF")


def ask(url, path, **parameters):
    data = urllib.parse.urlencode(parameters).encode()
    try:
        return json.load(urllib.request.urlopen(f"{url}/api/v1/{path}", data))["data"]
    except urllib.error.HTTPError as error:
        return json.load(error)["error"]


def with_variables(query):
    for name, value in (("$__range", "24h"), ("$__rate_interval", "5m"), ("$tenant", ".*"), ("$cluster", ".*"), ("$namespace", ".*"), ("$account", ".*")):
        query = query.replace(name, value)
    return query


def queries(dashboard):
    """(what, query, whether instant, panel) of everything that is asked for."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            inner, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            yield f"variable {variable['name']}", f"count by ({label}) ({inner})", True, None
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"], target["instant"], panel


def faults(dashboard):
    """What can be seen without data: places, names, units, data sources, legends, variables."""
    panels = dashboard["panels"]
    for what in ("id", "title"):
        seen = [p[what] for p in panels]
        yield from (f"{what} {value!r} more than once" for value in sorted(set(seen)) if seen.count(value) > 1)
    taken = {}
    for panel in panels:
        name, at = panel["title"] or f"panel {panel['id']} without title", panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell[0] > 23:
                yield f"{name}: wider than the page"
                break
            if taken.setdefault(cell, name) != name:
                yield f"{name} lies over {taken[cell]}"
                break
        if panel["type"] == "row":
            continue
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{name}: no unit"
        if [t["refId"] for t in panel["targets"]] != list("ABCDEFGH"[: len(panel["targets"])]):
            yield f"{name}: refIds"
        if any(holder["datasource"]["uid"] != "${datasource}" for holder in [panel, *panel["targets"]]):
            yield f"{name}: a data source of its own"
        if panel["type"] == "timeseries" and not all(t["legendFormat"] for t in panel["targets"]):
            yield f"{name}: no legendFormat"
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) - {"__range", "__rate_interval", "__all"}
    yield from (f"variable {name} is not defined" for name in sorted(used - variables))
    yield from (f"variable {name} is not used" for name in sorted(variables - used))


def shown(panel, results):
    """What is wrong with a panel as its data shows it: a number that is several, series that cannot be told apart."""
    if panel["type"] == "stat" and sum(map(len, results)) != 1:
        yield "a stat is one number"
    if panel["type"] == "timeseries":
        legend = lambda format, labels: re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), format)
        legends = [legend(t["legendFormat"], s["metric"]) for t, series in zip(panel["targets"], results) for s in series]
        if len(set(legends)) < len(legends):
            yield f"two series have one legend: {sorted(legends)}"


def check(url, now, paths):
    count = bad = 0
    for path in paths:
        dashboard = json.load(open(path))
        complaints, results = [("dashboard", fault) for fault in faults(dashboard)], {}
        for what, query, is_instant, panel in queries(dashboard):
            query = with_variables(query)
            if is_instant:
                data = ask(url, "query", query=query, time=now)
            else:
                data = ask(url, "query_range", query=query, start=now - 86400, end=now, step=300)
            count += 1
            if "$" in query or isinstance(data, str) or not data["result"]:
                complaints.append((what, f"{data if isinstance(data, str) else 'no series'}: {query}"))
            elif panel:
                results.setdefault(panel["id"], []).append(data["result"])
        for panel in dashboard["panels"]:
            if len(results.get(panel["id"], [])) == len(panel.get("targets", [])):
                complaints += [(panel["title"], fault) for fault in shown(panel, results.get(panel["id"], []))]
        for what, fault in complaints:
            print(f"{path.split('charts/')[-1]}: {what}: {fault}")
        bad += len(complaints)
    print(f"dashboards: {count} queries, {bad} faults")
    return 1 if bad else 0


if sys.argv[1] == "sample":
    sample(int(sys.argv[2]))
else:
    sys.exit(check(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
