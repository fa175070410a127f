"""Reads the validator's JUnit file, for its exit status is 0 whatever it finds, and compares sums."""

import csv
import sqlite3
import sys
import xml.etree.ElementTree as ET

# Rules that no file can satisfy, with the reason.
ACCEPTED = {
    "InvoiceId-C-004": "must be null where there is no invoice; contradicts InvoiceId-C-005",
    "InvoiceId-C-005": "must not be null where there is one; the validator applies both to each record",
}
# Fewer rules than this mean that the validator did not look.
MIN_PASSED = 100


def failed_rules(path):
    """Rules that failed by themselves: a rule made of others is left to those."""
    failed, passed = {}, 0
    for case in ET.parse(path).getroot().iter("testcase"):
        problems = list(case.iter("failure")) + list(case.iter("error"))
        name = case.get("name", "")
        if "Composite" in name or case.find("skipped") is not None:
            continue
        if not problems:
            passed += 1
            continue
        text = " ".join((p.get("message") or "") + " " + (p.text or "") for p in problems)
        failed[name] = text.strip().replace("\n", " ")[:300]
    return failed, passed


def main():
    junit, focus, ledger = sys.argv[1:]
    failed, passed = failed_rules(junit)
    wrong = {name: why for name, why in failed.items() if not any(name.startswith(a) for a in ACCEPTED)}
    with open(focus, newline="") as file:
        records = list(csv.DictReader(file))
    costs = sum(float(record["BilledCost"]) for record in records)
    stored = sqlite3.connect(ledger).execute("SELECT SUM(cost * sign) FROM expenses").fetchone()[0]
    for name, why in sorted(wrong.items()):
        print(f"FAILED {name}: {why}")
    if costs != stored:
        print(f"FAILED: the file's costs are {costs!r}, the ledger's {stored!r}")
    if passed < MIN_PASSED or len(records) < 10:
        print(f"FAILED: only {passed} rules passed over {len(records)} records")
    is_wrong = bool(wrong) or costs != stored or passed < MIN_PASSED or len(records) < 10
    accepted = sorted(name for name in failed if name not in wrong)
    print(f"{len(records)} records, {costs:.6f}: {passed} rules hold; accepted: {', '.join(accepted) or 'none'}")
    print(f"{passed} passed, {len(wrong)} failed")
    sys.exit(is_wrong)


main()
