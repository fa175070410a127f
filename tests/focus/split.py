"""Holds a FOCUS 1.4 file to the specification's rules of split costs, and to the 1.2 file's sums."""

import csv
import json
import sys
from collections import defaultdict
from decimal import Decimal

# What a part may have of its own; every other column of the specification is the origin's.
OWN = {"AllocatedMethodDetails", "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags",
       "BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity"}
ALLOCATED = ["AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags"]
GONE = ["ProviderName", "PublisherName"]
NOT_NULL = ["HostProviderName", "ServiceProviderName", "InvoiceIssuerName", "ServiceCategory", "ServiceName",
            "BillingAccountId", "BillingCurrency", "ChargeCategory"]


def read(path):
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        return reader.fieldnames, list(reader)


def main():
    columns, records = read(sys.argv[1])
    _, before = read(sys.argv[2])
    problems = []
    if columns != sorted(columns) or not set(ALLOCATED) <= set(columns) or set(GONE) & set(columns):
        problems.append(f"columns: {columns}")
    origins = defaultdict(list)
    for record in records:
        problems += [f"{name} is null" for name in NOT_NULL if not record[name]]
        if record["AllocatedMethodId"]:
            origins[record["BillingAccountId"], record["ChargePeriodStart"], record["ResourceId"]].append(record)
        elif any(record[name] for name in ALLOCATED):
            problems.append(f"a charge of its own has {record}")
    for origin, parts in origins.items():
        details = [json.loads(part["AllocatedMethodDetails"], parse_float=Decimal) for part in parts]
        if any(set(one) != {"Elements"} for one in details):
            problems.append(f"{origin}: {details[0]}")
        ratios = [sum(element["AllocatedRatio"] for element in one["Elements"]) for one in details]
        if sum(ratios) != 1 or sum(Decimal(part["PricingQuantity"]) for part in parts) != 1:
            problems.append(f"{origin}: ratios add up to {sum(ratios)}")
        total = sum(Decimal(part["BilledCost"]) for part in parts)
        for part, ratio in zip(parts, ratios):
            if abs(Decimal(part["BilledCost"]) - ratio * total) > Decimal("1e-11") * total:
                problems.append(f"{origin}: {part['BilledCost']} is not {ratio} of {total}")
            shared = set(json.loads(part["AllocatedTags"] or "{}")) & set(json.loads(part["Tags"]))
            if shared:
                problems.append(f"{origin}: {shared} is in both tags")
        for name in set(columns) - OWN:
            if not name.startswith("x_") and len({part[name] for part in parts}) != 1:
                problems.append(f"{origin}: parts differ in {name}")
        if sum(not part["AllocatedResourceId"] for part in parts) > 1:
            problems.append(f"{origin}: more than one part is allocated to nobody")
    cost = lambda records: sum(float(record["BilledCost"]) for record in records)
    if cost(records) != cost(before) or len(records) != len(before):
        problems.append(f"{cost(records)!r} in {len(records)}, 1.2 has {cost(before)!r} in {len(before)}")
    if len(origins) < 4 or len(records) < 10:
        problems.append(f"only {len(origins)} origins")
    for problem in problems:
        print(f"FAILED {problem}")
    print(f"1.4: {len(records)} records, {len(origins)} origins, {len(problems)} problems")
    sys.exit(bool(problems))


main()
