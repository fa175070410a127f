"""Raw samples, from where the worker had them."""

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone

TOTALS = {
    "cluster": "cloudtuner_kubecost_cluster_total_cost",
    "namespace": "cloudtuner_kubecost_namespace_total_cost",
    "pod": "cloudtuner_kubecost_pod_total_cost",
}
SLOT_SECONDS = 300


class NotRecomputed(Exception):
    """Why a number is not recomputed."""


def is_rate(value):
    return 0 <= value < float("inf")


def matchers(subject):
    return [f"{name}={json.dumps(subject[name])}" for name in ("namespace", "pod") if subject[name]]


class Prometheus:
    """Samples of an account's series of one cluster."""

    def __init__(self, url, one):
        self.url, self.raw, self.cluster = url, one["raw"], one["subject"]["cluster"]
        self.rates = (one["status"] or {}).get("exchange_rates", {})
        self.cache = {}

    def ask(self, path, parameters):
        key = (path, *sorted(parameters.items()))
        if key not in self.cache:
            form = urllib.parse.urlencode(parameters).encode()
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}", form, timeout=120) as reply:
                self.cache[key] = json.load(reply)["data"]["result"]
        return self.cache[key]

    def cluster_of(self, labels):
        found = (labels.get(name) for name in self.raw["cluster_labels"])
        return next(filter(None, found), self.raw["default_cluster"])

    def selector(self, metric, more):
        tenant = [f"{self.raw['tenant'][0]}={json.dumps(self.raw['tenant'][1])}"] if self.raw["tenant"] else []
        return f"{metric}{{{','.join(tenant + list(more))}}}"

    def own(self, found, any_cluster=False):
        return [one for one in found if any_cluster or self.cluster_of(one["metric"]) == self.cluster]

    def over_range(self, metric, more, milliseconds, time):
        """Series with their samples as they are stored, of a range that ends at a time."""
        query = f"{self.selector(metric, more)}[{milliseconds}ms]"
        found = self.own(self.ask("query", {"query": query, "time": time}))
        return [(one["metric"], [(float(t), float(v)) for t, v in one["values"]]) for one in found]

    def at(self, metric, more, time):
        """The greatest value that an instant query finds, by nothing."""
        found = self.own(self.ask("query", {"query": self.selector(metric, more), "time": time}))
        return max((float(one["value"][1]) for one in found), default=None)

    def series(self, metric, more=(), shift=0, any_cluster=False):
        """Series with their value at each minute, as an instant query finds it: a series that has
        ended is marked so in the store, which a range of raw samples does not show."""
        first = -(-(self.raw["start"] + shift) // 60) * 60
        times = {"start": first, "end": self.raw["end"] + shift - 1, "step": self.raw["step_seconds"]}
        found = self.ask("query_range", {"query": self.selector(metric, more), **times})
        out = []
        for one in self.own(found, any_cluster):
            rate = self.rates.get(one["metric"].get("currency"), 1.0)
            values = {int(t): float(v) * rate for t, v in one["values"]}
            out.append((one["metric"], {t: v for t, v in values.items() if is_rate(v)}))
        return out


def rfc3339(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class AllocationApi:
    """Sets of a Kubecost or an OpenCost: which ones a number is the sum of is in the explanation."""

    def __init__(self, url):
        self.url, self.cache = url.rstrip("/"), {}

    def rows(self, part, aggregate):
        key = (part["start"], part["end"], aggregate)
        if key not in self.cache:
            hours = (part["end"] - part["start"]) // 3600
            query = urllib.parse.urlencode({
                "window": f"{rfc3339(part['start'])},{rfc3339(part['end'])}",
                "aggregate": aggregate,
                "step": "1d" if hours == 24 else f"{hours}h",
                "includeIdle": "true",
                "idle": "true",
                "shareIdle": "false",
                "accumulate": "false",
            })
            self.cache[key] = self.get(query)
        return self.cache[key]

    def get(self, query):
        for path in ("/model/allocation", "/allocation"):
            try:
                with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=120) as reply:
                    return [row for found in json.load(reply)["data"] for row in (found or {}).items()]
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    raise
        raise NotRecomputed(f"{self.url} has no allocation API")

    def total(self, one):
        subject, total = one["subject"], 0.0
        for part in one["raw"]["reading"]["parts"]:
            if subject["level"] == "pod":
                wanted = f"{subject['namespace']}/{subject['pod']}"
                rows = self.rows(part, "namespace,pod")
                total += sum(row["totalCost"] for key, row in rows if key == wanted)
                continue
            for key, row in self.rows(part, "cluster,namespace"):
                cluster, _, namespace = key.rpartition("/")
                if cluster in ("", subject["cluster"]) and subject["namespace"] in (None, namespace):
                    total += row["totalCost"]
        return total


def of_subject(subject, labels):
    """Whether labels, or a rate of the journal, name the subject and nothing beneath it."""
    cluster = labels.get("cluster") or labels.get("cluster_id") or subject["cluster"]
    names = (labels.get("namespace"), labels.get("pod"))
    return (cluster, *names) == (subject["cluster"], subject["namespace"], subject["pod"])


class Journal:
    """Rates that were seen every five minutes."""

    def __init__(self, path):
        with open(path) as file:
            self.slots = [json.loads(line) for line in file if line.strip()]

    def total(self, one):
        """The sum of slots; nothing where the day has none."""
        raw, source, total, is_there = one["raw"], one["source"], 0.0, False
        start, end = (raw[name] + source["lag_seconds"] for name in ("start", "end"))
        for slot in self.slots:
            is_own = (slot["account"], slot["phase"]) == (one["account"], source["phase"])
            if is_own and start <= slot["slot_seconds"] < end:
                is_there = True
                rates = [rate["usd_per_hour"] for rate in slot["rates"] if of_subject(one["subject"], rate)]
                total += max(rates, default=0.0) * SLOT_SECONDS / 3600
        return total if is_there else None


class Metroculus:
    """History where the service has it."""

    def __init__(self, url, secret):
        self.url, self.secret = url, secret

    def total(self, one):
        raw, metric = one["raw"], TOTALS[one["subject"]["level"]]
        query = urllib.parse.urlencode({
            "cloud_account_id": one["account"], "metrics": metric,
            "start_date": raw["start"], "end_date": raw["end"],
        })
        address = f"{self.url}/metroculus/v2/kubecost_metrics?{query}"
        request = urllib.request.Request(address, headers={"Secret": self.secret})
        with urllib.request.urlopen(request, timeout=120) as reply:
            answer = json.load(reply)["metrics"][metric]
        series = [(s["metric"], [(float(t), float(v)) for t, v in s["values"]]) for s in answer["data"]["result"]]
        gaps = sorted(b[0] - a[0] for _, points in series for a, b in zip(points, points[1:]))
        middle = gaps[len(gaps) // 2] if gaps else 0
        stands = 300 if middle > 3600 else max(middle, 300)
        own = [points for labels, points in series if of_subject(one["subject"], labels)]
        total = 0.0
        for minute in range(-(-raw["start"] // 60) * 60, raw["end"], 60):
            before = [[p for p in points if p[0] <= minute and minute - p[0] < stands] for points in own]
            rates = [points[-1][1] for points in before if points and is_rate(points[-1][1])]
            total += max(rates, default=0.0) / 60
        return total
