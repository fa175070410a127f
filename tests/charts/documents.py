"""Commands, values and PromQL of the documents, held against the charts, their manifests and promtool.

usage: documents.py ROOT MANIFEST...     MANIFEST: rendered charts, in which what kubectl is asked for must be
"""

import glob
import os
import re
import shlex
import subprocess
import sys
import tempfile

import yaml

# A made-up value for what a reader fills in.
PLACEHOLDERS = {
    "NS": "costs", "NAME": "costs", "ID": "00000000-0000-4000-8000-000000000001", "REGISTRY": "registry.example.org", "CLOUDTUNER": "cloudtuner.example.org",
    "METRIC": "cloudtuner_kubecost_cluster_total_cost", "sha256:...": "sha256:" + "0" * 64,
}
KINDS = {"deploy": "Deployment", "deployment": "Deployment", "cronjob": "CronJob", "job": "Job", "jobs": "Job", "pod": "Pod", "pods": "Pod", "svc": "Service"}
# Objects of others: Kubecost's own chart.
OTHERS = {"kubecost-cost-analyzer"}
# The second condition tells it from SQL.
PROMQL = re.compile(r"(?:(?:(?:sum|count|max|min|avg|last)(?:_over_time)?|rate|increase|absent|topk)\b *(?:by|without)? *\(|[a-z_:]+\{.*=)(?=.*[_}])")


def fill_in(text):
    return re.sub(r"sha256:\.\.\.|\b[A-Z]+\b", lambda found: PLACEHOLDERS.get(found.group(), found.group()), text)


def documents(root):
    patterns = ("*.md", "docs/*.md", "docs/adr/*.md", "migrations/*.md", "charts/*/*.md", "tests/servers/*.md")
    paths = [path for pattern in patterns for path in glob.glob(f"{root}/{pattern}") if not path.endswith("CHANGELOG.md")]
    for path in sorted(paths):
        with open(path) as file:
            yield os.path.relpath(path, root), file.read()


def blocks(text):
    """The indented blocks, without their indentation."""
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)]


def lines(text):
    """What may be a command or a query: text in backticks, and lines of blocks up to a column of prose."""
    inline = [found for line in text.splitlines() if not line.startswith("    ") for found in re.findall(r"`([^`]+)`", line)]
    whole = [line for block in blocks(text) for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines()]
    return inline + [re.split(r"\s{3,}", line)[0] for line in whole]


def commands(text, program):
    """The arguments of a program wherever it is called."""
    for line in lines(text):
        if not re.search(rf"\b{program} ", line):
            continue
        for part in re.split(r" \| | && | & | >", fill_in(line)):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # a word of prose with an apostrophe
                continue
            if words[:1] == [program]:
                yield words[1:]


def render(root, arguments):
    """What helm says against an install or upgrade; None where it is none of these charts'. The reader's values.yaml is the least."""
    chart = next((word for word in arguments if word.startswith("charts/")), None)
    if not {"install", "upgrade", "template"} & set(arguments) or not chart:
        return None
    words = [word for word in arguments if word not in ("install", "upgrade", "template")]
    words = [f"{chart}/ci/least-values.yaml" if word == "values.yaml" else word for word in words]
    done = subprocess.run(["helm", "template", "--kube-version", "1.34.2", *words], cwd=root, capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def charts_of(root, block):
    """The charts whose values a block of YAML has, and only those."""
    try:
        block = yaml.safe_load(fill_in(block))
    except yaml.YAMLError:
        return
    for path in glob.glob(f"{root}/charts/*") if isinstance(block, dict) else []:
        with open(f"{path}/values.yaml") as file:
            if set(block) <= set(yaml.safe_load(file)):
                yield f"charts/{os.path.basename(path)}"


def objects(manifests):
    """Kind and name of each object, and each label that an object or its Pods have."""
    names, labels = set(), set()

    def look(value):
        if isinstance(value, dict):
            labels.update(f"{k}={v}" for k, v in (value.get("labels") or {}).items())
            for each in value.values():
                look(each)

    for path in manifests:
        with open(path) as file:
            for document in filter(None, yaml.safe_load_all(file)):
                names.add((document["kind"], document["metadata"]["name"]))
                look(document)
    return names, labels


def asked_of_kubectl(words):
    """Kind and name of each object that a command is about, and the labels it selects by."""
    # A name in capitals is the reader's; `create` makes what it names.
    words = [word for word in words if word != "-n" and word != PLACEHOLDERS["NS"]]
    for word, after in zip(words, [*words[1:], ""]):
        kind, _, name = word.removeprefix("--from=").partition("/")
        if kind in KINDS and name and not name.isupper():
            yield "object", (KINDS[kind], name)
        elif word in KINDS and after and not after.startswith("-") and "create" not in words:
            yield "object", (KINDS[word], after)
        elif word == "-l":
            yield "label", after


def check_kubectl(text, names, labels, made):
    """What a document asks of a cluster that no manifest has; MADE: names that its commands make."""
    for words in commands(text, "kubectl"):
        if "create" in words:
            made.add(words[-1])
        for what, value in asked_of_kubectl(words):
            known = value in labels if what == "label" else value in names or value[1] in made | OTHERS
            yield "" if known else f"kubectl {' '.join(words)}: no manifest has {value}"


def check_promql(folder, queries):
    """What promtool says against queries, as rules of one file."""
    rules = [{"record": f"query{number}", "expr": query, "labels": {"of": path}} for number, (path, query) in enumerate(queries)]
    with open(f"{folder}/rules.yaml", "w") as file:
        yaml.safe_dump({"groups": [{"name": "documents", "rules": rules}]}, file)
    done = subprocess.run(["promtool", "check", "rules", f"{folder}/rules.yaml"], capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def main(root, manifests):
    names, labels = objects(manifests)
    seen = {"helm": 0, "values": 0, "kubectl": 0, "PromQL": 0}
    problems, queries = [], []

    def checked(what, path, problem):
        seen[what] += 1
        if problem:
            problems.append(f"{path}: {problem.strip()}")

    with tempfile.TemporaryDirectory() as folder:
        for path, text in documents(root):
            for arguments in commands(text, "helm"):
                problem = render(root, arguments)
                if problem is not None:
                    checked("helm", path, problem and f"helm {' '.join(arguments)}: {problem}")
            for block in blocks(text):
                with open(f"{folder}/own.yaml", "w") as file:
                    file.write(fill_in(block))
                for chart in charts_of(root, block):
                    checked("values", path, render(root, ["install", "test", chart, "-f", "values.yaml", "-f", file.name]))
            made = set()
            for problem in check_kubectl(text, names, labels, made):
                checked("kubectl", path, problem)
            queries += [(path, fill_in(line)) for line in lines(text) if PROMQL.match(line)]
        seen["PromQL"] = len(queries)
        problem = check_promql(folder, queries)
        if problem:
            problems.append(problem)
    for problem in problems:
        print(problem)
    print(", ".join(f"{count} {what}" for what, count in seen.items()), f"checked, {len(problems)} wrong")
    # A change of the documents' form must not hide them from here.
    few = [what for what, count in seen.items() if count < 5]
    if few:
        print(f"hardly any {', '.join(few)} found")
    return problems or few


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2:]) else 0)
