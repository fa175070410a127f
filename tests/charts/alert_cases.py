"""Runs the cases of each alert on its rule, and then on the rule broken in several ways, one at a time, which the cases must see: it
never fires, always fires, fires at once, lost one of its conditions, or has another threshold.

usage: alert_cases.py TEST RULES
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml


def conditions(expr):
    """The expression without each of its top-level `and`, `or` and `unless` clauses that begin a line."""
    lines = expr.rstrip("\n").split("\n")
    starts, depth = [], 0
    for number, line in enumerate(lines):
        if number and depth == 0 and re.match(r"\s*(and|or|unless)\b", line):
            starts.append(number)
        depth += line.count("(") - line.count(")")
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(lines)
        yield f"without {lines[start].strip()[:50]}", "\n".join(lines[:start] + lines[end:])


def thresholds(expr):
    """The expression with each number that something is compared with, made larger."""
    for found in re.finditer(r"([<>]=?|==) (\d+(?:\.\d+)?)\b(?! \*)", expr):
        number = float(found.group(2))
        if found.group(1) == "==" or number == 0:
            continue
        yield f"{found.group(0)} tripled", f"{expr[:found.start(2)]}{number * 3:g}{expr[found.end(2):]}"
    for found in re.finditer(r"(\d+(?:\.\d+)?) \* \((\d+)\)", expr):
        yield f"{found.group(0)} tenfold", f"{expr[:found.start(1)]}{float(found.group(1)) * 10:g}{expr[found.end(1):]}"


def changes(rule):
    """(what is broken, the parts that change) of each way."""
    yield "never fires", {"expr": "vector(0) > 1"}
    yield "always fires", {"expr": "vector(1)", "for": "0s"}
    if "for" in rule:
        yield "fires at once", {"for": "0s"}
    for what, expr in [*conditions(rule["expr"]), *thresholds(rule["expr"])]:
        yield what, {"expr": expr}


def failure(folder, number, alert, rule, test):
    """What promtool says of the alert's cases on this rule; empty: all as they should be."""
    # Alone: a case asks for one alert, and all of them over days take minutes.
    path = os.path.join(folder, f"{number}.rules.yml")
    with open(path, "w") as file:
        yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}, file)
    cases = [case for case in test["tests"] if case["name"].split()[0] == alert]
    own = os.path.join(folder, f"{number}.test.yml")
    with open(own, "w") as file:
        yaml.safe_dump({"rule_files": [path], "evaluation_interval": test["evaluation_interval"], "tests": cases}, file)
    done = subprocess.run(["promtool", "test", "rules", own], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr or "it failed"


def main(test_path, rules_path):
    with open(rules_path) as rules_file, open(test_path) as test_file:
        rules = [rule for group in yaml.safe_load(rules_file)["groups"] for rule in group["rules"]]
        test = yaml.safe_load(test_file)
    named = {case["name"].split()[0] for case in test["tests"]}
    wrong = [f"FAILED cases of {name}: there is no such alert" for name in named - {rule["alert"] for rule in rules}]
    changed = [(rule["alert"], None, rule) for rule in rules]
    changed += [(rule["alert"], what, {**rule, **change}) for rule in rules for what, change in changes(rule)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda item: failure(folder, item[0], item[1][0], item[1][2], test), enumerate(changed)))
    for (alert, what, _), text in zip(changed, said):
        if what is None and text:
            wrong.append(f"FAILED {alert}\n{text}")
        elif what is not None and not text:
            wrong.append(f"NOT SEEN {alert}: {what}")
    print("\n".join([*wrong, f"{len(test['tests'])} cases of {len(rules)} alerts, {len(changed) - len(rules)} broken rules, {len(wrong)} wrong"]))
    return 1 if wrong else 0


sys.exit(main(*sys.argv[1:]))
