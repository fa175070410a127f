"""A straight worker, to measure against: one account after the other, nothing remembered.

For each account and day it asks the query layer for the day's costs by cluster and by namespace,
makes the resource documents that are missing, reads the account's expenses of the day, and takes
back and writes again those whose cost is another one. It has no lease, no status, no check of what
was stored and no care for gaps: the least that gives the same sums on clean input.

    worker.py NOW PROMETHEUS_URL MONGO_URL CLICKHOUSE_HOST:PORT DATABASE ACCOUNT...
"""

import hashlib
import sys
import uuid
from datetime import datetime, timezone

import clickhouse_driver
import pymongo
import requests

DAY = 86_400
GAUGES = (
    ("cloudtuner_kubecost_cluster_total_cost", ()),
    ("cloudtuner_kubecost_namespace_total_cost", ("namespace",)),
)
PLAIN = "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) VALUES"
DIMENSIONED = (
    "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign, "
    "k8s_namespace, k8s_node, k8s_service) VALUES"
)


def costs(session, url, account, start, now):
    """The day's costs, USD, by (cluster, namespace); a cluster's whole by (cluster, None)."""
    end = min(start + DAY, now + 1)
    found = {}
    for metric, more in GAUGES:
        labels = ", ".join(("cluster",) + more)
        rate = f'max by ({labels}) ({metric}{{tenant_id="{account}"}})'
        span = (end - start) * 1000 - 500
        query = f"sum_over_time(({rate})[{span}ms:60s]) / 60"
        reply = session.post(f"{url}/api/v1/query", data={"query": query, "time": end - 1})
        reply.raise_for_status()
        for series in reply.json()["data"]["result"]:
            names = series["metric"]
            found[names["cluster"], names.get("namespace")] = float(series["value"][1])
    for cluster in {cluster for cluster, _ in found}:
        parts = (usd for (of, name), usd in found.items() if of == cluster and name)
        found[cluster, None] = max(found.get((cluster, None), 0.0) - sum(parts), 0.0)
    return found


def documents(collection, account, keys, start, now):
    """Makes the documents that are missing. Returns the `_id` of each key."""
    ids, updates = {}, []
    for cluster, namespace in keys:
        kind = "ns" if namespace else "cluster"
        name = "\x1f".join((kind, account, cluster, namespace or ""))
        stable = f"k8s-{kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        ids[stable] = (cluster, namespace)
        updates.append(
            pymongo.UpdateOne(
                {"cloud_resource_id": stable, "cloud_account_id": account, "deleted_at": 0},
                {
                    "$setOnInsert": {
                        "_id": str(uuid.uuid4()),
                        "name": namespace or cluster,
                        "resource_type": "K8s Namespace" if namespace else "K8s Cluster",
                        "service_name": "Kubernetes",
                        "tags": {},
                        "active": True,
                        "k8s_namespace": namespace,
                        "first_seen": start,
                    },
                    "$max": {"last_seen": now},
                },
                upsert=True,
            )
        )
    collection.bulk_write(updates, ordered=False)
    wanted = {"cloud_resource_id": {"$in": list(ids)}, "cloud_account_id": account}
    stored = collection.find(wanted, {"cloud_resource_id": 1})
    return {ids[one["cloud_resource_id"]]: one["_id"] for one in stored}


def expenses(client, account, ids, found, start):
    """Takes back and writes again the costs that changed."""
    date = datetime.fromtimestamp(start, timezone.utc).replace(tzinfo=None)
    stored = dict(
        client.execute(
            "SELECT resource_id, sum(cost * sign) FROM expenses "
            "WHERE cloud_account_id = %(account)s AND date = %(date)s "
            "GROUP BY resource_id HAVING sum(sign) > 0",
            {"account": account, "date": date},
        )
    )
    plain, dimensioned = [], []
    for (cluster, namespace), usd in found.items():
        resource = ids[cluster, namespace]
        if stored.get(resource) == usd:
            continue
        signed = [(usd, 1)]
        if resource in stored:
            signed.insert(0, (stored[resource], -1))
        for cost, sign in signed:
            row = (account, resource, date, cost, sign)
            if namespace:
                dimensioned.append(row + (namespace, None, None))
            else:
                plain.append(row)
    if plain:
        client.execute(PLAIN, plain)
    if dimensioned:
        client.execute(DIMENSIONED, dimensioned)


def main():
    now, prometheus, mongo, clickhouse, database, *accounts = sys.argv[1:]
    now = int(now)
    session = requests.Session()
    collection = pymongo.MongoClient(mongo, w="majority")[database]["cloud_resource"]
    host, port = clickhouse.split(":")
    client = clickhouse_driver.Client(host, port=int(port), database=database, compression=False)
    today = now - now % DAY
    for account in accounts:
        for start in (today, today - DAY):
            found = costs(session, prometheus, account, start, now)
            if found:
                ids = documents(collection, account, found, start, now)
                expenses(client, account, ids, found, start)


main()
