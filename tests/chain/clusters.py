"""Who the customers are, and what each of their clusters runs."""

A, B = "aaaaaaaa-0000-4000-8000-00000000000a", "bbbbbbbb-0000-4000-8000-00000000000b"
EARLIER = "earlier"
# Every window is then shown at some full minute, however late an exporter or a scrape is on a busy machine.
WINDOW_SECONDS = 120
# Clusters whose exporters show pods.
WITH_PODS = ["a1"]
# Cluster, its account, and what its costs are from.
CLUSTERS = [("a1", A, "opencost"), ("b1", B, "kubecost"), ("b2", B, EARLIER)]
