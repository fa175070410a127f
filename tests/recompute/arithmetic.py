"""Rounding and remainders: from a cluster's costs to its rows."""

import unicodedata
from fractions import Fraction

UNIT = Fraction(1, 1 << 24)


def units(usd):
    """A cost as a multiple of 2^-24 USD, halves to the even one; none where it is no cost."""
    if usd is None or not 0 <= usd <= 1 << 29:
        return None
    return round(Fraction(usd) / UNIT)


def is_special(name):
    return name == "" or (len(name) >= 4 and name.startswith("__") and name.endswith("__"))


def is_refused(name):
    shapeless = any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in name)
    return shapeless or len(name.encode()) > 253


class RollUp:
    """Rows by (namespace, pod), in units; a parent's row is its total less what lies beneath."""

    def __init__(self, cluster, name, levels):
        self.rows = {}
        self.levels = levels
        if is_refused(name):
            return
        beneath = []
        for namespace, costs in cluster["namespaces"].items():
            if not is_special(namespace):
                beneath += self.namespace(namespace, costs)
        total = units(cluster["total_usd"])
        left = self.hold(total, beneath)
        if "cluster" in levels:
            self.rows[(None, None)] = (total or left) - left if total is not None else 0

    def namespace(self, name, costs):
        if is_refused(name) and {"namespace", "pod"} & self.levels:
            return []
        pods = []
        if "pod" in self.levels:
            for pod, pod_costs in costs["pods"].items():
                amount = units(pod_costs["total_usd"])
                if not is_special(pod) and not is_refused(pod) and amount is not None:
                    self.rows[(name, pod)] = amount
                    pods.append((name, pod))
        total = units(costs["total_usd"])
        left = self.hold(total, pods)
        if "namespace" not in self.levels:
            return pods
        self.rows[(name, None)] = total - left if total is not None else 0
        return pods + [(name, None)]

    def hold(self, total, beneath):
        """Children never cost more than their parent: a little is taken off, more is left out."""
        have = sum(self.rows[key] for key in beneath)
        if total is None or have <= total:
            return have
        excess = float((have - total) * UNIT)
        if excess > 0.001 and excess > 0.01 * float(total * UNIT):
            self.rows.update((key, 0) for key in beneath)
            return 0
        for key in beneath:
            self.rows[key] = self.rows[key] * total // have
        # The last of the largest takes what rounding down left.
        largest = max(self.rows[key] for key in beneath)
        last = [key for key in beneath if self.rows[key] == largest][-1]
        self.rows[last] += total - sum(self.rows[key] for key in beneath)
        return total
