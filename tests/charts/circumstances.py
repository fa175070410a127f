"""Circumstances of an operator's trial: which alerts fire in each, and no others.

usage: circumstances.py CASES RENDER     CASES: a module with CASES; RENDER OPTION...: prints the chart's manifests with these options
"""

import importlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml

HOUR = 60
DAY = 24 * HOUR


def series(name, values, **labels):
    shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def rules(render, options, folder):
    arguments = [part for option in options for part in ("--set", option)]
    text = subprocess.run([*render.split(), *arguments], check=True, capture_output=True, text=True).stdout
    found = [d for d in yaml.safe_load_all(text) if d and d["kind"] == "PrometheusRule"]
    path = os.path.join(folder, f"{abs(hash(tuple(options)))}.yml")
    with open(path, "w") as file:
        yaml.safe_dump(found[0]["spec"], file)
    return path


def failure(folder, index, case, rules_path):
    """What promtool says where other alerts fire than should."""
    name, _, input_series, minute, fires = case
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": count} for alert, count in fires.items()]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}
    group = {"name": name, "interval": "1m", "input_series": input_series, "promql_expr_test": [test]}
    path = os.path.join(folder, f"test-{index}.yml")
    with open(path, "w") as file:
        yaml.safe_dump({"rule_files": [rules_path], "evaluation_interval": "5m", "tests": [group]}, file)
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    return f"FAILED {name}\n{done.stdout}{done.stderr}" if done.returncode else ""


def main(cases, render):
    names = [case[0] for case in cases]
    assert len(names) == len(set(names)), "two circumstances of one name"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        rendered = {options: rules(render, options, folder) for options in {tuple(case[1]) for case in cases}}
        said = pool.map(lambda item: failure(folder, item[0], item[1], rendered[tuple(item[1][1])]), enumerate(cases))
        wrong = [text for text in said if text]
    firing = sum(bool(case[4]) for case in cases)
    print("\n".join([*wrong, f"{len(cases)} circumstances, {firing} that fire and {len(cases) - firing} that do not, {len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(importlib.import_module(sys.argv[1]).CASES, sys.argv[2]))
