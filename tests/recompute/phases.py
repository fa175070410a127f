"""A number's own total from samples: of the exporter's gauges, and of the cost model's metrics."""

import json
from itertools import pairwise

from sources import TOTALS, NotRecomputed, is_rate, matchers

GIB = 1 << 30
WINDOW_END = "cloudtuner_kubecost_window_end_timestamp_seconds"
WINDOW_SECONDS = "cloudtuner_kubecost_window_seconds"
BUILD_INFO = "cloudtuner_kubecost_exporter_build_info"
# A window's gauges are shown until this long after the day.
SHOWN_LATE_SECONDS = 6 * 3600


def greatest(series, labels):
    """The greatest value by labels at each minute."""
    out = {}
    for of, values in series:
        by_minute = out.setdefault(tuple(of.get(label, "") for label in labels), {})
        for minute, value in values.items():
            by_minute[minute] = max(by_minute.get(minute, value), value)
    return out


# --- the exporter's gauges


def exporter_gauges(source, one):
    subject, parts = one["subject"], one["raw"]["reading"].get("parts", [])
    parts = [part for part in parts if part["cluster"] == subject["cluster"]]
    by_windows = windows(source, subject, parts)
    if by_windows is None and not parts:
        return minutes(source, subject, one["source"]["lag_seconds"])
    return averages(source, subject, parts) + (by_windows or 0.0)


def windows(source, subject, elsewhere):
    """The cost by windows, each once; nothing where the exporter has none."""
    until = source.raw["end"] + SHOWN_LATE_SECONDS
    milliseconds = (until - source.raw["start"] + source.raw["lookback_seconds"]) * 1000
    own = lambda metric, more=(): source.over_range(metric, more, milliseconds, until - 1)
    ends = [dict(samples) for _, samples in own(WINDOW_END)]
    lengths = [dict(samples) for _, samples in own(WINDOW_SECONDS)]
    if not ends or not lengths:
        return None
    is_total = any(labels.get("mode") == "total" for labels, _ in own(BUILD_INFO))
    by_end = {}
    for _, samples in own(TOTALS[subject["level"]], matchers(subject)):
        for time, rate in samples:
            for end, length in zip((e.get(time) for e in ends), (l.get(time) for l in lengths)):
                if end is not None and length is not None and is_rate(rate):
                    by_end.setdefault((end, length), rate)
    total = 0.0
    for (end, length), rate in by_end.items():
        first, last = max(end - length, source.raw["start"]), min(end, source.raw["end"])
        if last > first and not any(part["start"] < last and first < part["end"] for part in elsewhere):
            total += rate * ((last - first) / (length if is_total else 3600))
    return total


def minutes(source, subject, shift):
    """Gauges without a window, integrated over their minutes."""
    series = source.series(TOTALS[subject["level"]], matchers(subject), shift)
    by = greatest(series, ["namespace", "pod"])
    return sum(sum(values.values()) for values in by.values()) / 60


def averages(source, subject, parts):
    """Averages over a window that slides, each read once for a part of the day."""
    total = 0.0
    for part in parts:
        left_out = part["left_out"]
        if subject["namespace"] and (left_out is None or subject["namespace"] in left_out):
            continue
        gauge = source.at(TOTALS[subject["level"]], matchers(subject), part["at"])
        if gauge is not None and is_rate(gauge):
            is_of_window = part["is_total"] or subject["level"] == "pod"
            per_hour = 3600 / part["window_seconds"] if is_of_window else 1.0
            total += gauge * per_hour * ((part["end"] - part["start"]) / 3600)
    return total


# --- the cost model's metrics

CONTAINER = ["node", "namespace", "pod", "container"]
RESOURCES = [
    ("container_cpu_allocation", "node_cpu_hourly_cost", 1),
    ("container_memory_allocation_bytes", "node_ram_hourly_cost", GIB),
    ("container_gpu_allocation", "node_gpu_hourly_cost", 1),
]
EGRESS = "kubecost_pod_network_egress_bytes_total"
# The cost model's name for the mount of a claim that no pod mounts.
UNMOUNTED_POD = "unmounted-pvs"


class CostModel:
    """The cost model's metrics of one cluster, of one scraper at a time."""

    def __init__(self, source):
        self.source, self.scrapers = source, source.raw["reading"].get("scrapers")

    def rank(self, labels):
        of = [labels.get(name, "") for name in self.scrapers["labels"]]
        return self.scrapers["ranked"].index(of)

    def of(self, metric, more=()):
        """Series with their value by minute; of several scrapers, of the first one alive then."""
        series = self.source.series(metric, more)
        if not self.scrapers or metric not in self.scrapers["chosen"]:
            return series
        alive = {}
        for labels, values in self.source.series(self.scrapers["alive"]):
            alive.setdefault(self.rank(labels), set()).update(values)
        out = []
        for labels, values in series:
            earlier = set().union(*(alive.get(rank, ()) for rank in range(self.rank(labels))))
            out.append((labels, {t: v for t, v in values.items() if t not in earlier}))
        return out

    def greatest(self, metric, labels, more=()):
        return greatest(self.of(metric, more), labels)

    def allocated(self, own):
        """USD per hour at each minute of what containers are allocated, by node."""
        out = {}
        for amount, price, divisor in RESOURCES:
            prices = self.greatest(price, ["node"])
            for name, values in self.greatest(amount, CONTAINER, own).items():
                priced = prices.get((name[0],), {})
                for minute in values.keys() & priced.keys():
                    by_minute = out.setdefault(name[0], {})
                    usd = values[minute] / divisor * priced[minute]
                    by_minute[minute] = by_minute.get(minute, 0.0) + usd
        return out

    def volume_prices(self):
        own = self.greatest("pv_hourly_cost", ["persistentvolume"])
        anywhere = greatest(self.source.series("pv_hourly_cost", any_cluster=True), ["persistentvolume"])
        # A price of any cluster will do where the volume's own has none.
        return lambda volume, minute: own.get((volume,), {}).get(minute, anywhere.get((volume,), {}).get(minute))

    def shares(self, own=()):
        """GiB of volumes by namespace, volume and pod."""
        by = self.greatest("pod_pvc_allocation", ["namespace", "persistentvolume", "pod"], own)
        return {name: {t: v / GIB for t, v in values.items()} for name, values in by.items()}

    def claimed(self, own, with_unmounted):
        price, total = self.volume_prices(), 0.0
        for (_, volume, pod), values in self.shares(own).items():
            if with_unmounted or pod != UNMOUNTED_POD:
                total += sum(gib * (price(volume, minute) or 0.0) for minute, gib in values.items())
        return total / 60

    def all_volumes(self):
        sizes = {}
        for (_, volume, _), values in self.shares().items():
            for minute, gib in values.items():
                of = sizes.setdefault(volume, {})
                of[minute] = of.get(minute, 0.0) + gib
        for (volume,), values in self.greatest("kube_persistentvolume_capacity_bytes", ["persistentvolume"]).items():
            sizes.setdefault(volume, {}).update({t: v / GIB for t, v in values.items()})
        price = self.volume_prices()
        usd = (gib * (price(volume, t) or 0.0) for volume, of in sizes.items() for t, gib in of.items())
        return sum(usd) / 60

    def balancers(self, own=()):
        by = self.greatest("kubecost_load_balancer_cost", ["namespace", "service_name"], own)
        return sum(sum(values.values()) for values in by.values()) / 60

    def management(self):
        by = self.greatest("kubecost_cluster_management_cost", ["provisioner_name"])
        return sum(sum(values.values()) for values in by.values()) / 60

    def nodes(self, basis):
        """What nodes cost: their total; where that is missing, price times capacity; where that is
        missing too, what is allocated on them."""
        levels = [{name[0]: of for name, of in self.greatest("node_total_hourly_cost", ["node"]).items()}]
        if basis in ("capacity", "allocated"):
            levels.append(self.capacity())
        if basis == "allocated":
            levels.append(self.allocated(()))
        known = {}
        for level in levels:
            for node, values in level.items():
                for minute, usd in values.items():
                    known.setdefault((node, minute), usd)
        return sum(known.values()) / 60

    def capacity(self):
        """USD per hour of nodes by price times capacity."""
        price = lambda metric: self.greatest(metric, ["node"])
        def amount(metric, resource):
            out = self.greatest("kube_node_status_capacity", ["node"], [f'resource="{resource}"'])
            out = {node: dict(values) for node, values in out.items()}
            for node, values in self.greatest(metric, ["node"]).items():
                out.setdefault(node, {}).update(values)
            return out
        cores, core_usd = amount("kube_node_status_capacity_cpu_cores", "cpu"), price("node_cpu_hourly_cost")
        memory, gib_usd = amount("kube_node_status_capacity_memory_bytes", "memory"), price("node_ram_hourly_cost")
        gpus, gpu_usd = {}, price("node_gpu_hourly_cost")
        for name, values in self.greatest("container_gpu_allocation", CONTAINER).items():
            of = gpus.setdefault((name[0],), {})
            for minute, count in values.items():
                of[minute] = of.get(minute, 0.0) + count
        for node, values in self.greatest("node_gpu_count", ["node"]).items():
            gpus.setdefault(node, {}).update(values)
        out = {}
        for node, values in cores.items():
            for minute, count in values.items():
                at = lambda of: of.get(node, {}).get(minute)
                parts = [at(core_usd), at(memory), at(gib_usd)]
                if None not in parts:
                    usd = count * parts[0] + parts[1] / GIB * parts[2]
                    if at(gpus) is not None and at(gpu_usd) is not None:
                        usd += at(gpus) * at(gpu_usd)
                    out.setdefault(node[0], {})[minute] = usd
        return out

    # --- traffic

    def traffic(self, subject):
        """Bytes by direction times price; a counter's increase as the server has it."""
        own = [f"namespace={json.dumps(subject['namespace'])}"] if subject["namespace"] else []
        own += [f"pod_name={json.dumps(subject['pod'])}"] if subject["pod"] else []
        total = 0.0
        for direction in ("internet", "region", "zone"):
            price = f"kubecost_network_{direction}_egress_cost"
            whole = (self.source.raw["start"], self.source.raw["end"])
            length = whole[1] - whole[0]
            samples = self.ranged(price, [], whole)
            changes = any(a[1] != b[1] for _, points in samples for a, b in pairwise(points))
            count = 24 if changes else 1
            cuts = [whole[0] + length * index // count for index in range(count + 1)]
            for span in pairwise(cuts):
                usd = self.average(price, span)
                if usd is not None:
                    total += self.added(direction, own, span) / GIB * usd
        return total

    def ranged(self, metric, more, span):
        return self.source.over_range(metric, more, (span[1] - span[0]) * 1000 - 500, span[1] - 1)

    def average(self, metric, span):
        series = [points for _, points in self.ranged(metric, [], span) if points]
        return max((sum(v for _, v in points) / len(points) for points in series), default=None)

    def added(self, direction, own, span):
        scrapers = self.scrapers if self.scrapers and EGRESS in self.scrapers["chosen"] else None
        differ = self.scrapers["labels"] if self.scrapers else []
        once = {}
        for labels, points in self.ranged(EGRESS, own, span):
            if goes(labels) == direction and len(points) > 1:
                rest = {k: v for k, v in labels.items() if k not in differ}
                # Of scrapers the first that has the series; of jobs the greatest.
                series = tuple(sorted(rest.items()))
                found = (self.rank(labels) if scrapers else 0, increase(points, span))
                known = once.get(series)
                if known is None or found[0] < known[0] or (not scrapers and found[1] > known[1]):
                    once[series] = found
        by = {}
        for series, (_, value) in once.items():
            name = tuple(pair for pair in series if pair[0] != "job")
            by[name] = max(by.get(name, value), value)
        return sum(by.values())


def goes(labels):
    """Where bytes go, in either spelling; nothing where that costs nothing."""
    if labels.get("internet") == "true":
        return "internet"
    is_other = lambda *names: any(labels.get(name) == "false" for name in names)
    if is_other("same_region", "sameRegion"):
        return "region"
    return "zone" if is_other("same_zone", "sameZone") else None


def increase(points, span):
    """Prometheus' `increase` over a span: resets added, and what lies before the first and after
    the last sample taken to go on as between them."""
    (first, first_value), (last, last_value) = points[0], points[-1]
    value = last_value - first_value
    value += sum(a[1] for a, b in pairwise(points) if b[1] < a[1])
    start, end = span[1] - 1 - ((span[1] - span[0]) * 1000 - 500) / 1000, span[1] - 1
    to_start, to_end, sampled = first - start, end - last, last - first
    distance = sampled / (len(points) - 1)
    if value > 0 and first_value >= 0:
        to_start = min(to_start, sampled * (first_value / value))
    reach = sampled
    for gap in (to_start, to_end):
        reach += gap if gap < distance * 1.1 else distance / 2
    return value * (reach / sampled)


def raw_metrics(source, one):
    subject, model = one["subject"], CostModel(source)
    if subject["level"] == "cluster":
        basis = one["raw"]["reading"].get("node_basis")
        if basis is None:
            raise NotRecomputed("it is not said by what the whole of the nodes is known")
        return (model.nodes(basis) + model.all_volumes() + model.balancers() + model.management()
                + model.traffic(subject))
    own = matchers(subject)
    allocated = sum(sum(values.values()) for values in model.allocated(own).values()) / 60
    total = allocated + model.claimed(own, subject["level"] == "namespace") + model.traffic(subject)
    return total + (model.balancers(own) if subject["level"] == "namespace" else 0.0)
