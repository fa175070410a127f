#!/usr/bin/env python3
"""Recomputes stored numbers from `kubecost-worker explain --output json` and raw samples.

It shares no code with the worker. First it takes the source's costs of the cluster, rounds them,
takes remainders, and compares the row with what is stored, bit for bit. Then it reads raw samples
where the worker read them, adds up the number's own total by the definitions of docs/EXPLAIN.md,
rounds it to 2^-24 USD, and compares that with what the worker had, bit for bit.

usage: recompute.py FILE... [--prometheus URL] [--allocation URL] [--journal FILE]
                            [--metroculus URL --secret-file FILE]

A FILE holds one explanation, or one in each line. --journal is what MongoDB's collection
kubecost_rate_journal holds, one document a line as JSON.
"""

import argparse
import json
import sys
from collections import Counter

from arithmetic import UNIT, RollUp, units
from sources import AllocationApi, Journal, Metroculus, Prometheus
from phases import NotRecomputed, exporter_gauges, raw_metrics


def recompute_row(one):
    """Whether the row that follows from the source's costs is the stored one, bit for bit."""
    subject = one["subject"]
    roll = RollUp(one["costs"], subject["cluster"], set(one["levels"].split(",")))
    row = roll.rows.get((subject["namespace"], subject["pod"]), 0)
    status = one["status"] or {}
    if subject["pod"] is None and status.get("pods_written_at", status.get("updated_at")) != status.get("updated_at"):
        # Pods' rows are older than this one, which has what they cost since.
        namespaces = (subject["namespace"], *(() if subject["namespace"] else {name for name, _ in roll.rows}))
        whole = sum(amount for (name, _), amount in roll.rows.items() if name in namespaces)
        row = whole - units(one["steps"][0]["beneath_usd"])
    usd = float(row * UNIT)
    stored = one["stored_usd"] or 0.0
    return usd == stored, f"row {usd!r}, stored {stored!r}"


def raw_total(one, servers):
    """The number's own total from raw samples, USD."""
    method = one["raw"]["method"]
    if one["source"]["scaled_by"] != 1.0:
        factor = one["source"]["scaled_by"]
        return raw_total({**one, "source": {**one["source"], "scaled_by": 1.0}}, servers) * factor
    if method in ("phase-1", "phase-2"):
        source = servers.get("prometheus", lambda url: Prometheus(url, one))
        return raw_metrics(source, one) if method == "phase-1" else exporter_gauges(source, one)
    if method == "allocation-api":
        return servers.get("allocation", AllocationApi).total(one)
    if method == "metroculus":
        total = servers.get("journal", Journal).total(one) if servers.has("journal") else None
        return servers.get("metroculus", Metroculus).total(one) if total is None else total
    raise NotRecomputed(f"the method {method} is not known here")


class Servers:
    """Where raw samples are, by the options."""

    def __init__(self, options):
        self.options = options
        self.open = {}

    def has(self, name):
        return getattr(self.options, name) is not None

    def get(self, name, make):
        address = getattr(self.options, name)
        if address is None:
            raise NotRecomputed(f"no --{name} is given")
        if name == "metroculus":
            with open(self.options.secret_file) as file:
                return make(address.rstrip("/"), file.read().strip())
        if name == "prometheus":
            source = make(address.rstrip("/"))
            source.cache = self.open.setdefault("prometheus", {})
            return source
        if name not in self.open:
            self.open[name] = make(address)
        return self.open[name]


def recompute_total(one, servers):
    """How the number's total from raw samples compares with what the worker had."""
    step = one["steps"][0] if one["steps"] else None
    if step is None or step["source_usd"] is None or step["level"] != one["subject"]["level"]:
        return "not recomputed", "the source has no total of it"
    try:
        total = raw_total(one, servers)
    except NotRecomputed as why:
        return "not recomputed", str(why)
    said = f"raw {total!r}, from the worker {step['source_usd']!r}"
    return ("equal" if units(total) == units(step["source_usd"]) else "DIFFERENT"), said


def explanations(paths):
    for path in paths:
        with open(path) as file:
            text = file.read()
        decoder, at = json.JSONDecoder(), 0
        while at < len(text):
            one, end = decoder.raw_decode(text, at)
            yield one
            at = end + len(text[end:]) - len(text[end:].lstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="+")
    for name in ("prometheus", "allocation", "journal", "metroculus", "secret-file"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--quiet", action="store_true", help="say only what differs, and the counts")
    options = parser.parse_args()
    servers, counts, is_right = Servers(options), Counter(), True
    for one in explanations(options.file):
        subject = one["subject"]
        name = "/".join(filter(None, (subject["cluster"], subject["namespace"], subject["pod"])))
        row_is_equal, row_said = recompute_row(one)
        state, raw_said = recompute_total(one, servers)
        is_fine = row_is_equal and state != "DIFFERENT"
        is_right &= is_fine
        counts.update([f"rows {'equal' if row_is_equal else 'DIFFERENT'}", f"raw {state}", "numbers"])
        if not is_fine or not options.quiet or state == "not recomputed":
            print(f"{one['day']} {name}: {row_said}: {'equal' if row_is_equal else 'DIFFERENT'}; {raw_said}: {state}")
    print(json.dumps(counts, sort_keys=True))
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
