"""A stand-in for the kubelet: runs a Pod that the API server holds, by docker, as its spec says.

kubelet.py run NAMESPACE POD LOG [--network NAME] [--detach NAME]
    waits for its container, keeps its log in LOG, reports phase and exit code to the API server, and ends with that code.
    --detach: leaves it running under that name, and reports that it runs.

What it does not know it refuses: a Pod that runs here has run with all of its spec. A Pod that cannot be made is left
as it is and ends this program with 125, as with a key that is not in its Secret. Nothing here is a shell's to read, so
no secret stands in an argument.
"""

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import tempfile

# Read by schedulers and controllers, not by what runs a Pod; or means here what docker does anyway.
POD_ELSEWHERE = {"restartPolicy", "serviceAccount", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "tolerations",
    "nodeSelector", "affinity", "priority", "priorityClassName", "preemptionPolicy", "schedulerName", "dnsPolicy", "terminationGracePeriodSeconds",
    "imagePullSecrets", "hostname"}
CONTAINER_ELSEWHERE = {"name", "imagePullPolicy", "ports", "livenessProbe", "readinessProbe", "terminationMessagePath", "terminationMessagePolicy"}


class CannotMake(Exception):
    pass


def kubectl(*arguments, **options):
    made = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, **options)
    if made.returncode:
        raise CannotMake(made.stderr.strip())
    return made.stdout


def only(mapping, known, where):
    unknown = sorted(set(mapping) - set(known))
    if unknown:
        raise CannotMake(f"{where}: not known here: {', '.join(unknown)}")


class Pod:
    def __init__(self, namespace, name):
        self.namespace, self.name = namespace, name
        self.pod = json.loads(kubectl("-n", namespace, "get", "pod", name, "-o", "json"))
        self.spec = self.pod["spec"]
        only(self.spec, POD_ELSEWHERE | {"containers", "securityContext", "volumes"}, "spec")
        if len(self.spec["containers"]) != 1:
            raise CannotMake("more containers than one")
        if self.spec.get("automountServiceAccountToken", True):
            raise CannotMake("a service account's token is to be mounted")
        self.container = self.spec["containers"][0]
        only(self.container, CONTAINER_ELSEWHERE | {"image", "command", "args", "env", "envFrom", "securityContext", "resources", "volumeMounts"}, "container")
        self.objects = {}

    def data(self, kind, name):
        """Keys and values of a ConfigMap or Secret."""
        if (kind, name) not in self.objects:
            found = json.loads(kubectl("-n", self.namespace, "get", kind, name, "-o", "json"))
            data = found.get("data", {})
            if kind == "secret":
                data = {key: base64.b64decode(value).decode() for key, value in data.items()}
            self.objects[kind, name] = data
        return self.objects[kind, name]

    def key(self, kind, reference):
        data = self.data(kind, reference["name"])
        if reference["key"] not in data:
            raise CannotMake(f"CreateContainerConfigError: couldn't find key {reference['key']} in {kind} {self.namespace}/{reference['name']}")
        return data[reference["key"]]

    def field(self, path):
        found = re.fullmatch(r"metadata\.(annotations|labels)\['(.+)'\]", path)
        if found:
            return self.pod["metadata"].get(found[1], {}).get(found[2], "")
        if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
            return self.pod["metadata"][path.split(".")[1]]
        raise CannotMake(f"fieldRef {path}")

    def environment(self):
        """As the kubelet puts it together: envFrom first, then env in its order, which wins."""
        made = {}
        for source in self.container.get("envFrom", []):
            only(source, {"configMapRef", "secretRef", "prefix"}, "envFrom")
            kind = "configmap" if "configMapRef" in source else "secret"
            for key, value in self.data(kind, (source.get("configMapRef") or source["secretRef"])["name"]).items():
                made[source.get("prefix", "") + key] = value
        for variable in self.container.get("env", []):
            only(variable, {"name", "value", "valueFrom"}, "env")
            source = variable.get("valueFrom", {})
            only(source, {"secretKeyRef", "configMapKeyRef", "fieldRef"}, "valueFrom")
            if "secretKeyRef" in source:
                value = self.key("secret", source["secretKeyRef"])
            elif "configMapKeyRef" in source:
                value = self.key("configmap", source["configMapKeyRef"])
            elif "fieldRef" in source:
                value = self.field(source["fieldRef"]["fieldPath"])
            else:
                value = re.sub(r"\$\((\w+)\)", lambda found: made.get(found[1], found[0]), variable.get("value", ""))
            made[variable["name"]] = value
        return made

    def security(self):
        pod, container = self.spec.get("securityContext", {}), self.container.get("securityContext", {})
        only(pod, {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile"}, "securityContext of the Pod")
        only(container, {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities", "runAsNonRoot", "runAsUser", "runAsGroup"}, "securityContext")
        user = container.get("runAsUser", pod.get("runAsUser"))
        group = container.get("runAsGroup", pod.get("runAsGroup", 0))
        if user is None or (user == 0 and pod.get("runAsNonRoot")):
            raise CannotMake("no user that is not root")
        made = ["--user", f"{user}:{group}"]
        if "fsGroup" in pod:
            made += ["--group-add", str(pod["fsGroup"])]
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault": # docker's default, too
            raise CannotMake("another seccomp profile than RuntimeDefault")
        if container.get("readOnlyRootFilesystem"):
            made.append("--read-only")
        if not container.get("allowPrivilegeEscalation", True):
            made += ["--security-opt", "no-new-privileges"]
        for what, flag in (("drop", "--cap-drop"), ("add", "--cap-add")):
            for capability in container.get("capabilities", {}).get(what, []):
                made += [flag, capability]
        return made

    def resources(self):
        limits = self.container.get("resources", {}).get("limits", {})
        only(limits, {"cpu", "memory"}, "limits")
        made = []
        if "memory" in limits:
            made += ["--memory", str(quantity(limits["memory"]))]
        if "cpu" in limits:
            made += ["--cpus", str(quantity(limits["cpu"]))]
        return made

    def volumes(self, directory):
        by_name, made = {v["name"]: v for v in self.spec.get("volumes", [])}, []
        for mount in self.container.get("volumeMounts", []):
            only(mount, {"name", "mountPath", "readOnly"}, "volumeMounts")
            volume = by_name[mount["name"]]
            only(volume, {"name", "emptyDir", "secret", "configMap"}, "volumes")
            if "emptyDir" in volume:
                size = volume["emptyDir"].get("sizeLimit")
                made += ["--tmpfs", f"{mount['mountPath']}:rw,mode=1777" + (f",size={quantity(size)}" if size else "")]
                continue
            source = volume.get("secret") or volume["configMap"]
            only(source, {"secretName", "name", "defaultMode", "items"}, "volume's source")
            kind, name = ("secret", source["secretName"]) if "secret" in volume else ("configmap", source["name"])
            items = source.get("items") or [{"key": key, "path": key} for key in self.data(kind, name)]
            path = os.path.join(directory, volume["name"])
            os.makedirs(path, exist_ok=True)
            for item in items:
                file = os.path.join(path, item["path"])
                with open(file, "w") as out:
                    out.write(self.key(kind, {"name": name, "key": item["key"]}))
                os.chmod(file, item.get("mode", source.get("defaultMode", 0o644)))
                os.chown(file, 0, self.spec["securityContext"].get("fsGroup", 0))
            made += ["--volume", f"{path}:{mount['mountPath']}:ro"]
        return made

    def command(self, directory, environment):
        """The docker command without the program's output; values of the environment are not in it."""
        command, args = self.container.get("command", []), self.container.get("args", [])
        expand = lambda text: re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text)
        made = [*self.security(), *self.resources(), *self.volumes(directory)]
        for name in environment:
            made += ["--env", name]
        if command:
            made += ["--entrypoint", expand(command[0])]
        return [*made, self.container["image"], *map(expand, [*command[1:], *args])]

    def report(self, phase, state):
        status = {"name": self.container["name"], "image": self.container["image"], "imageID": "", "ready": phase == "Running", "restartCount": 0, "state": state}
        patch = json.dumps({"status": {"phase": phase, "containerStatuses": [status]}})
        kubectl("-n", self.namespace, "patch", "pod", self.name, "--subresource=status", "--type=merge", "-p", patch)


def quantity(text):
    """A quantity of Kubernetes as a number."""
    found = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|k|M|G)?", str(text))
    factor = {None: 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]]
    value = float(found[1]) * factor
    return int(value) if value == int(value) else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("namespace")
    parser.add_argument("pod")
    parser.add_argument("log")
    parser.add_argument("--network", default="none")
    parser.add_argument("--detach")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        try:
            pod = Pod(options.namespace, options.pod)
            environment = pod.environment()
            command = pod.command(directory, environment)
        except CannotMake as error:
            print(f"{options.pod}: {error}", file=sys.stderr)
            return 125
        os.chmod(directory, 0o755)
        how = ["--detach", "--name", options.detach] if options.detach else ["--rm"]
        run = ["docker", "run", "--pull", "never", "--network", options.network, "--label", "kubecost-worker-test.pod", *how, *command]
        # The program's environment goes by docker's own, which lends each variable that --env names.
        own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "DOCKER_HOST")}
        with open(options.log, "w") as log:
            code = subprocess.run(run, env={**own, **environment}, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    if code == 125: # docker's own: there was no program that could end with it
        print(f"{options.pod}: {open(options.log).read().strip()}", file=sys.stderr)
        return 126
    times = {"startedAt": "2026-01-01T00:00:00Z"}
    if options.detach:
        if code == 0:
            pod.report("Running", {"running": times})
        return code
    ended = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": times["startedAt"], **times}}
    pod.report("Succeeded" if code == 0 else "Failed", ended)
    return code


sys.exit(main())
