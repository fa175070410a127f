#!/usr/bin/env python3
"""Recomputes a stored number from `kubecost-worker explain --output json` and raw samples.

It shares no code with the worker. First it takes the source's costs of the cluster, rounds them,
takes remainders, and compares the row with what is stored, bit for bit. Then, with --prometheus, it
reads raw samples and adds up the number's own total minute by minute (window by window where the
exporter has windows), and compares that with what the worker had from the server.

usage: recompute.py FILE [--prometheus URL]
"""

import argparse
import json
import sys
import unicodedata
import urllib.parse
import urllib.request
from fractions import Fraction

UNIT = Fraction(1, 1 << 24)
GIB = 1 << 30
TOTALS = {
    "cluster": "cloudtuner_kubecost_cluster_total_cost",
    "namespace": "cloudtuner_kubecost_namespace_total_cost",
    "pod": "cloudtuner_kubecost_pod_total_cost",
}
WINDOW_END = "cloudtuner_kubecost_window_end_timestamp_seconds"
WINDOW_SECONDS = "cloudtuner_kubecost_window_seconds"
TRAFFIC = "kubecost_pod_network_egress_bytes_total"


def units(usd):
    """A cost as a multiple of 2^-24 USD, halves to the even one; none where it is no cost."""
    if usd is None or not 0 <= usd <= 1 << 29:
        return None
    return round(Fraction(usd) / UNIT)


def is_special(name):
    return name == "" or (len(name) >= 4 and name.startswith("__") and name.endswith("__"))


def is_refused(name):
    shapeless = any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in name)
    return shapeless or len(name.encode()) > 253


class RollUp:
    """Rows by (namespace, pod), in units; a parent's row is its total less what lies beneath."""

    def __init__(self, cluster, name, levels):
        self.rows = {}
        self.levels = levels
        if is_refused(name):
            return
        beneath = []
        for namespace, costs in cluster["namespaces"].items():
            if not is_special(namespace):
                beneath += self.namespace(namespace, costs)
        total = units(cluster["total_usd"])
        left = self.hold(total, beneath)
        if "cluster" in levels:
            self.rows[(None, None)] = (total or left) - left if total is not None else 0

    def namespace(self, name, costs):
        if is_refused(name) and {"namespace", "pod"} & self.levels:
            return []
        pods = []
        if "pod" in self.levels:
            for pod, pod_costs in costs["pods"].items():
                amount = units(pod_costs["total_usd"])
                if not is_special(pod) and not is_refused(pod) and amount is not None:
                    self.rows[(name, pod)] = amount
                    pods.append((name, pod))
        total = units(costs["total_usd"])
        left = self.hold(total, pods)
        if "namespace" not in self.levels:
            return pods
        self.rows[(name, None)] = total - left if total is not None else 0
        return pods + [(name, None)]

    def hold(self, total, beneath):
        """Children never cost more than their parent: a little is taken off, more is left out."""
        have = sum(self.rows[key] for key in beneath)
        if total is None or have <= total:
            return have
        excess = float((have - total) * UNIT)
        if excess > 0.001 and excess > 0.01 * float(total * UNIT):
            self.rows.update((key, 0) for key in beneath)
            return 0
        for key in beneath:
            self.rows[key] = self.rows[key] * total // have
        # The last of the largest takes what rounding down left.
        largest = max(self.rows[key] for key in beneath)
        last = [key for key in beneath if self.rows[key] == largest][-1]
        self.rows[last] += total - sum(self.rows[key] for key in beneath)
        return total


class Prometheus:
    """Raw samples of an account's series of one cluster."""

    def __init__(self, url, raw, cluster):
        self.url, self.raw, self.cluster = url, raw, cluster

    def series(self, metric, matchers=(), until=None):
        raw = self.raw
        end = until or raw["end"]
        tenant = [f"{raw['tenant'][0]}={json.dumps(raw['tenant'][1])}"] if raw["tenant"] else []
        query = f"{metric}{{{','.join(tenant + list(matchers))}}}[{end - raw['start'] + raw['lookback_seconds']}s]"
        found = self.ask("query", {"query": query, "time": end - 1})
        return [(one["metric"], [(float(t), float(v)) for t, v in one["values"]]) for one in found]

    def ask(self, path, parameters):
        """The cluster's series of an answer."""
        form = urllib.parse.urlencode(parameters).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", form, timeout=60) as reply:
            answer = json.load(reply)
        name = lambda one: one["metric"].get(self.raw["cluster_label"]) or self.raw["default_cluster"]
        return [one for one in answer["data"]["result"] if name(one) == self.cluster]

    def by_minute(self, metric, labels, matchers=()):
        """The greatest value by labels at each minute. A series that has ended is marked so in the
        store, which a range of raw samples does not show: so each minute's value is asked for."""
        raw, out = self.raw, {}
        first = -(-raw["start"] // 60) * 60
        tenant = [f"{raw['tenant'][0]}={json.dumps(raw['tenant'][1])}"] if raw["tenant"] else []
        query = f"{metric}{{{','.join(tenant + list(matchers))}}}"
        times = {"start": first, "end": raw["end"] - 1, "step": raw["step_seconds"]}
        for one in self.ask("query_range", {"query": query, **times}):
            name = tuple(one["metric"].get(label, "") for label in labels)
            values = out.setdefault(name, {})
            for time, value in one["values"]:
                values[int(time)] = max(values.get(int(time), -1.0), float(value))
        return out


def matchers(subject):
    return [f"{name}={json.dumps(subject[name])}" for name in ("namespace", "pod") if subject[name]]


def windows(source, subject):
    """The cost by windows, each once; nothing where the exporter has none."""
    until = source.raw["end"] + 6 * 3600
    own = lambda metric, more=(): source.series(metric, more, until)
    ends = [dict(samples) for _, samples in own(WINDOW_END)]
    lengths = [dict(samples) for _, samples in own(WINDOW_SECONDS)]
    if not ends:
        return None
    by_end = {}
    for _, samples in own(TOTALS[subject["level"]], matchers(subject)):
        for time, rate in samples:
            for end, length in zip((e.get(time) for e in ends), (l.get(time) for l in lengths)):
                if end is not None and length is not None:
                    by_end.setdefault((end, length), rate)
    total = 0.0
    for (end, length), rate in by_end.items():
        covered = min(end, source.raw["end"]) - max(end - length, source.raw["start"])
        total += rate * max(covered, 0) / 3600
    return total


def minutes(source, subject):
    """A gauge without a window, integrated over its minutes."""
    by = source.by_minute(TOTALS[subject["level"]], ["namespace", "pod"], matchers(subject))
    return sum(sum(values.values()) for values in by.values()) / 60


def joined(source, amounts, amount_labels, price, on, divisor, own=()):
    prices = source.by_minute(price, [on])
    at = amount_labels.index(on)
    total = 0.0
    for name, values in source.by_minute(amounts, amount_labels, own).items():
        priced = prices.get((name[at],), {})
        total += sum(value / divisor * priced[minute] for minute, value in values.items() if minute in priced)
    return total / 60


def raw_metrics(source, subject):
    """The parts of a pod or a namespace; nothing where it has traffic, or for a whole cluster."""
    own = matchers(subject)
    # The cost model names the pod of traffic by another label.
    by_pod_name = [f"pod_name={one[len('pod='):]}" if one.startswith("pod=") else one for one in own]
    if subject["level"] == "cluster" or any(source.series(TRAFFIC, by) for by in (own, by_pod_name)):
        return None
    container = ["node", "namespace", "pod", "container"]
    claim = ["persistentvolume", "persistentvolumeclaim", "namespace", "pod"]
    parts = [
        joined(source, "container_cpu_allocation", container, "node_cpu_hourly_cost", "node", 1, own),
        joined(source, "container_memory_allocation_bytes", container, "node_ram_hourly_cost", "node", GIB, own),
        joined(source, "container_gpu_allocation", container, "node_gpu_hourly_cost", "node", 1, own),
        joined(source, "pod_pvc_allocation", claim, "pv_hourly_cost", "persistentvolume", GIB, own),
    ]
    return sum(parts)


def recompute_row(one):
    subject = one["subject"]
    roll = RollUp(one["costs"], subject["cluster"], set(one["levels"].split(",")))
    row = roll.rows.get((subject["namespace"], subject["pod"]), 0)
    usd = float(row * UNIT)
    stored = one["stored_usd"] or 0.0
    print(f"row: {usd!r}, stored {stored!r}: {'equal' if usd == stored else 'DIFFERENT'}")
    return usd == stored


def recompute_total(one, url):
    subject, raw = one["subject"], one["raw"]
    source = Prometheus(url, raw, subject["cluster"])
    if raw["method"] == "phase-2":
        total = windows(source, subject)
        total = minutes(source, subject) if total is None else total
    else:
        total = raw_metrics(source, subject)
    if total is None:
        print("raw: not recomputed (traffic, or a whole cluster of raw metrics)")
        return True
    had = one["steps"][0]["source_usd"]
    # Sums of floats in another order may round to the unit beside.
    is_equal = abs(units(total) - units(had)) <= 1
    print(f"raw: {total!r}, from the server {had!r}: {'equal' if is_equal else 'DIFFERENT'}")
    return is_equal


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--prometheus")
    options = parser.parse_args()
    with open(options.file) as file:
        one = json.load(file)
    is_right = recompute_row(one)
    if options.prometheus and one["raw"] and one["steps"]:
        is_right &= recompute_total(one, options.prometheus.rstrip("/"))
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
