"""Looks into rendered manifests: data FILE CONFIGMAP KEY | rules FILE NAME | names FILE | env FILE DEPLOYMENT (NAME=VALUE lines)
| annotation FILE DEPLOYMENT NAME (of its Pods)."""

import sys

import yaml


def documents(path):
    with open(path) as file:
        return [d for d in yaml.safe_load_all(file) if d]


def find(path, kind, name):
    found = [d for d in documents(path) if d["kind"] == kind and d["metadata"]["name"] == name]
    if len(found) != 1:
        sys.exit(f"{path}: {len(found)} times {kind} {name}")
    return found[0]


command, path, *rest = sys.argv[1:]
if command == "data":
    sys.stdout.write(find(path, "ConfigMap", rest[0])["data"][rest[1]])
elif command == "rules":
    sys.stdout.write(yaml.safe_dump(find(path, "PrometheusRule", rest[0])["spec"], sort_keys=False))
elif command == "env":
    for variable in find(path, "Deployment", rest[0])["spec"]["template"]["spec"]["containers"][0]["env"]:
        print(f"{variable['name']}={variable['value']}")
elif command == "annotation":
    print(find(path, "Deployment", rest[0])["spec"]["template"]["metadata"]["annotations"][rest[1]])
elif command == "names":
    for d in documents(path):
        print(d["kind"], d["metadata"]["name"])
else:
    sys.exit(__doc__)
