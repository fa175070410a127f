"""Compares the integral of recorded gauges with the truth: recording_rules.py PROMETHEUS_URL TRUTH.json.gz"""

import gzip
import json
import math
import sys
import urllib.parse
import urllib.request
from collections import defaultdict
from datetime import datetime

DAY = "2026-11-20"
STEP = 10  # seconds of the truth's integral: six times finer than the rules
TOTAL_MAX, PART_MAX = 0.001, 0.005
CENT_MAX = 0.001  # USD a day; below it a share says nothing


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def truth(path):
    """USD of the day by part, as the formulas of the made-up cluster have it."""
    made = json.load(gzip.open(path))
    start = seconds(DAY + "T00:00:00Z")
    price = {node["name"]: node["emitted"] for node in made["nodes"]}
    cpu, ram, total = defaultdict(float), defaultdict(float), defaultdict(float)
    for pod in made["pods"]:
        key = (pod["namespace"], pod["name"])
        for life in pod["lives"]:
            begin = max(start, seconds(life["start"]))
            end = min(start + 86400, seconds(life["stop"]) if life["stop"] else math.inf)
            rate = price[life["node"]]
            for container in pod["containers"]:
                phase = container.get("phase", 0)
                for t in range(int(begin), int(end), STEP):
                    cores = container["cpu_use"] * (1 + 0.4 * math.sin(2 * math.pi * t / 86400 + phase))
                    wave = 0.05 * math.sin(2 * math.pi * t / 43200 + phase) + 0.01 * math.sin(t / 311 + phase)
                    memory = container["ram_use"] * (1 + wave) // 4096 * 4096
                    c = max(container["cpu_req"], cores) * rate["cpu_core_hour"] * STEP / 3600
                    m = max(container["ram_req"], memory) / 2**30 * rate["ram_gib_hour"] * STEP / 3600
                    cpu[key] += c
                    ram[key] += m
                    total[key] += c + m + container["gpu"] * rate["gpu_hour"] * STEP / 3600
    volumes = [(v["namespace"], v["pod"], v["bytes"] / 2**30 * made["prices"]["pv_gib_hour"][v["storage_class"]] * 24) for v in made["volumes"]]
    balancers = [(b["namespace"], made["prices"]["load_balancer_hour"] * (start + 86400 - max(start, seconds(b["start"]))) / 3600) for b in made["load_balancers"]]
    network = made["network"]["cost"]

    namespaces = {"cpu": defaultdict(float), "ram": defaultdict(float), "pv": defaultdict(float), "total": defaultdict(float)}
    for (namespace, pod), cost in total.items():
        namespaces["cpu"][namespace] += cpu[namespace, pod]
        namespaces["ram"][namespace] += ram[namespace, pod]
        namespaces["total"][namespace] += cost
    for namespace, pod, cost in volumes:
        if namespace:
            namespaces["pv"][namespace] += cost
            namespaces["total"][namespace] += cost
        if pod:
            total[namespace, pod] += cost
    for namespace, cost in balancers:
        namespaces["total"][namespace] += cost
    for namespace, cost in network.items():
        namespaces["total"][namespace] += cost

    def nodes(part):
        return sum(part(node) for node in made["nodes"]) * 24

    cluster = {
        "cpu": nodes(lambda n: n["cpu"] * n["emitted"]["cpu_core_hour"]),
        "ram": nodes(lambda n: n["ram_bytes"] / 2**30 * n["emitted"]["ram_gib_hour"]),
        "pv": sum(cost for *_, cost in volumes),
        "lb": sum(cost for _, cost in balancers),
        "network": sum(network.values()),
    }
    cluster["total"] = nodes(lambda n: n["emitted"]["node_total_hour"]) + cluster["pv"] + cluster["lb"] + cluster["network"]
    return cluster, namespaces, {"cpu": cpu, "ram": ram, "total": total}, network


def together(pods, namespaces):
    """The pods of these namespaces as one pod each, called *."""
    out = defaultdict(float)
    for (namespace, pod), cost in pods.items():
        out[namespace, "*" if namespace in namespaces else pod] += cost
    return out


def integral(url, metric, labels):
    """USD of the day by the labels: one sample a minute, each USD per hour."""
    query = f"sum by ({','.join(labels)}) (sum_over_time(cloudtuner_kubecost_{metric}_cost[1d])) / 60"
    data = urllib.parse.urlencode({"query": query, "time": seconds(DAY + "T23:59:59Z")}).encode()
    reply = json.load(urllib.request.urlopen(f"{url}/api/v1/query", data))
    return {tuple(r["metric"][name] for name in labels): float(r["value"][1]) for r in reply["data"]["result"]}


def main(url, path):
    cluster, namespaces, pods, sending = truth(path)
    bad = 0

    def compare(what, seen, wanted, share_max):
        nonlocal bad
        share = seen / wanted - 1 if wanted else 0.0
        is_bad = abs(seen - wanted) > CENT_MAX and abs(share) > share_max
        bad += is_bad
        return share, f"{what:44} {seen:10.4f} {wanted:10.4f} {100 * share:+8.3f} %{'  TOO FAR' if is_bad else ''}"

    print(f"{'USD of ' + DAY:44} {'recorded':>10} {'truth':>10}")
    for part, wanted in cluster.items():
        # Traffic has no truth of its own here, only OpenCost's figure for the day, which is coarser.
        most = TOTAL_MAX if part == "total" else 0.02 if part == "network" else PART_MAX
        print(compare(f"cluster {part}", integral(url, f"cluster_{part}", []).get((), 0.0), wanted, most)[1])
    for level, labels, parts in (("namespace", ["namespace"], namespaces), ("pod", ["namespace", "pod"], pods)):
        for part, truths in parts.items():
            seen = integral(url, f"{level}_{part}", labels)
            if level == "pod" and part == "total":
                # What traffic costs is known by namespace only: there the pods are compared together.
                seen, truths = together(seen, sending), together(truths, sending)
                for namespace, cost in sending.items():
                    truths[namespace, "*"] += cost
            wanted = {(key if isinstance(key, tuple) else (key,)): cost for key, cost in truths.items() if cost > 0}
            if extra := sorted(set(seen) - set(wanted)):
                print(f"{level} {part}: not in the truth: {extra}")
                bad += 1
            worst = (0.0, "")
            for key in sorted(wanted):
                share, line = compare(f"{level} {part} {'/'.join(key)}", seen.get(key, 0.0), wanted[key], PART_MAX)
                worst = max(worst, (abs(share), line))
                if level == "namespace" and part == "total" or "TOO FAR" in line:
                    print(line)
            print(f"{level + 's ' + part:44} {sum(seen.values()):10.4f} {sum(wanted.values()):10.4f}   {len(wanted)} of them; the farthest:\n  {worst[1]}")
    print("FAILED" if bad else "ok: total within 0.1 %, every namespace and pod within 0.5 %")
    return 1 if bad else 0


sys.exit(main(*sys.argv[1:]))
