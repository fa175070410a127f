{{/*
The gauges of the exporter, straight from the cost model's own metrics: no lag, no 300 s grid.

Every expression stands alone (no rule reads another one's result), so that history can be filled in with
`promtool tsdb create-blocks-from rules`. `max by` comes before each sum and join, so duplicate scrapes never count a cost twice.
The claim of no pod has a pod name of its own at the source (unmounted-pvs): its volume is the namespace's, not a pod's.
*/}}

{{- define "integration.rules.cpu" -}}
sum by (namespace, pod, node) (
  max by (namespace, pod, container, node) (container_cpu_allocation{{ . }})
  * on (node) group_left () max by (node) (node_cpu_hourly_cost{{ . }})
)
{{- end }}

{{- define "integration.rules.ram" -}}
sum by (namespace, pod, node) (
  max by (namespace, pod, container, node) (container_memory_allocation_bytes{{ . }}) / 1073741824
  * on (node) group_left () max by (node) (node_ram_hourly_cost{{ . }})
)
{{- end }}

{{- define "integration.rules.gpu" -}}
sum by (namespace, pod, node) (
  max by (namespace, pod, container, node) (container_gpu_allocation{{ . }})
  * on (node) group_left () max by (node) (node_gpu_hourly_cost{{ . }})
)
{{- end }}

{{/* What pod_pvc_allocation says is a pod's share of the volume already: its size by the pods that mount the claim. On the node the pod runs on. */}}
{{- define "integration.rules.podVolumes" -}}
sum by (namespace, pod) (
  max by (namespace, pod, persistentvolume) (pod_pvc_allocation{{ . }}) / 1073741824
  * on (persistentvolume) group_left () max by (persistentvolume) (pv_hourly_cost{{ . }})
)
* on (namespace, pod) group_left (node) topk by (namespace, pod) (1, group by (namespace, pod, node) (container_cpu_allocation{{ . }}))
{{- end }}

{{- define "integration.rules.namespaceVolumes" -}}
sum by (namespace) (
  max by (namespace, pod, persistentvolume) (pod_pvc_allocation{{ . }}) / 1073741824
  * on (persistentvolume) group_left () max by (persistentvolume) (pv_hourly_cost{{ . }})
)
{{- end }}

{{/* Bound or not, mounted or not: every volume of the cluster. */}}
{{- define "integration.rules.clusterVolumes" -}}
sum(
  (max by (persistentvolume) (kube_persistentvolume_capacity_bytes{{ . }}) or sum by (persistentvolume) (max by (namespace, pod, persistentvolume) (pod_pvc_allocation{{ . }}))) / 1073741824
  * on (persistentvolume) max by (persistentvolume) (pv_hourly_cost{{ . }})
)
{{- end }}

{{/* A node's whole: what the cost model says, else price times capacity, else price times what is allocated on it. */}}
{{- define "integration.rules.nodes" -}}
{{- $s := . | trimPrefix "{" | trimSuffix "}" }}{{ if $s }}{{ $s = printf ",%s" $s }}{{ end -}}
sum(
  max by (node) (node_total_hourly_cost{{ . }})
  or (
    (max by (node) (kube_node_status_capacity_cpu_cores{{ . }}) or max by (node) (kube_node_status_capacity{resource="cpu"{{ $s }}}))
    * on (node) max by (node) (node_cpu_hourly_cost{{ . }})
    + on (node) (max by (node) (kube_node_status_capacity_memory_bytes{{ . }}) or max by (node) (kube_node_status_capacity{resource="memory"{{ $s }}})) / 1073741824
    * on (node) max by (node) (node_ram_hourly_cost{{ . }})
    + on (node) (max by (node) (node_gpu_count{{ . }}) * on (node) max by (node) (node_gpu_hourly_cost{{ . }}) or max by (node) (node_cpu_hourly_cost{{ . }}) * 0)
  )
  or sum by (node) (
    label_replace(sum by (node) ({{ include "integration.rules.cpu" . | nindent 4 | trim }}), "part", "cpu", "", "")
    or label_replace(sum by (node) ({{ include "integration.rules.ram" . | nindent 4 | trim }}), "part", "ram", "", "")
    or label_replace(sum by (node) ({{ include "integration.rules.gpu" . | nindent 4 | trim }}), "part", "gpu", "", "")
  )
)
{{- end }}

{{/* One load balancer has one price, however many addresses it has. */}}
{{- define "integration.rules.loadBalancers" -}}
sum by (namespace) (max by (namespace, service_name) (kubecost_load_balancer_cost{{ . }}))
{{- end }}

{{/*
Traffic by the pod that sent it; present only where the network costs daemon set meters it. Its labels have two spellings. Of two jobs
that scrape one daemon, one counts.
*/}}
{{- define "integration.rules.network" -}}
{{- $s := . | trimPrefix "{" | trimSuffix "}" }}{{ if $s }}{{ $s = printf ",%s" $s }}{{ end -}}
sum by (namespace, pod_name) (
  label_replace(sum by (namespace, pod_name) (max without (job) (rate(kubecost_pod_network_egress_bytes_total{internet="true"{{ $s }}}[5m])))
    * on () group_left () max(kubecost_network_internet_egress_cost{{ . }}), "to", "internet", "", "")
  or label_replace(sum by (namespace, pod_name) (max without (job) (
      rate(kubecost_pod_network_egress_bytes_total{internet!="true",same_region="false"{{ $s }}}[5m])
      or rate(kubecost_pod_network_egress_bytes_total{internet!="true",sameRegion="false"{{ $s }}}[5m])))
    * on () group_left () max(kubecost_network_region_egress_cost{{ . }}), "to", "region", "", "")
  or label_replace(sum by (namespace, pod_name) (max without (job) (
      rate(kubecost_pod_network_egress_bytes_total{internet!="true",same_region!="false",sameRegion!="false",same_zone="false"{{ $s }}}[5m])
      or rate(kubecost_pod_network_egress_bytes_total{internet!="true",same_region!="false",sameRegion!="false",sameZone="false"{{ $s }}}[5m])))
    * on () group_left () max(kubecost_network_zone_egress_cost{{ . }}), "to", "zone", "", "")
) * 3600 / 1073741824
{{- end }}

{{- define "integration.rules.podNetwork" -}}
sum by (namespace, pod) (label_replace({{ include "integration.rules.network" . }}, "pod", "$1", "pod_name", "(.+)"))
* on (namespace, pod) group_left (node) topk by (namespace, pod) (1, group by (namespace, pod, node) (container_cpu_allocation{{ . }}))
{{- end }}

{{- define "integration.rules.labels" -}}
labels:
  tenant_id: {{ .Values.tenantId | quote }}
  cluster: {{ .Values.clusterName | quote }}
{{- end }}

{{- define "integration.recordingRules" -}}
{{- $s := "" }}{{ with .Values.recordingRules.selector }}{{ $s = printf "{%s}" . }}{{ end -}}
{{- $labels := include "integration.rules.labels" . | nindent 6 -}}
groups:
- name: cloudtuner-kubecost
  interval: 60s
  rules:
    - record: cloudtuner_kubecost_cluster_total_cost
      expr: |
        {{ include "integration.rules.nodes" $s | nindent 8 | trim }}
        + ({{ include "integration.rules.clusterVolumes" $s | nindent 8 | trim }} or vector(0))
        + (sum({{ include "integration.rules.loadBalancers" $s }}) or vector(0))
        + (max(kubecost_cluster_management_cost{{ $s }}) or vector(0))
        + (sum({{ include "integration.rules.network" $s | nindent 8 | trim }}) or vector(0))
      {{- $labels }}
    - record: cloudtuner_kubecost_cluster_cpu_cost
      expr: |
        sum(
          (max by (node) (kube_node_status_capacity_cpu_cores{{ $s }}) or max by (node) (kube_node_status_capacity{resource="cpu"{{ with .Values.recordingRules.selector }},{{ . }}{{ end }}}))
          * on (node) max by (node) (node_cpu_hourly_cost{{ $s }})
        )
      {{- $labels }}
    - record: cloudtuner_kubecost_cluster_ram_cost
      expr: |
        sum(
          (max by (node) (kube_node_status_capacity_memory_bytes{{ $s }}) or max by (node) (kube_node_status_capacity{resource="memory"{{ with .Values.recordingRules.selector }},{{ . }}{{ end }}})) / 1073741824
          * on (node) max by (node) (node_ram_hourly_cost{{ $s }})
        )
      {{- $labels }}
    - record: cloudtuner_kubecost_cluster_pv_cost
      expr: |
        {{- include "integration.rules.clusterVolumes" $s | nindent 8 }}
      {{- $labels }}
    - record: cloudtuner_kubecost_cluster_lb_cost
      expr: |
        sum({{ include "integration.rules.loadBalancers" $s }})
      {{- $labels }}
    - record: cloudtuner_kubecost_cluster_network_cost
      expr: |
        sum({{ include "integration.rules.network" $s | nindent 8 | trim }})
      {{- $labels }}
    - record: cloudtuner_kubecost_namespace_total_cost
      expr: |
        sum by (namespace) (
          label_replace({{ include "integration.rules.cpu" $s | nindent 10 | trim }}, "part", "cpu", "", "")
          or label_replace({{ include "integration.rules.ram" $s | nindent 10 | trim }}, "part", "ram", "", "")
          or label_replace({{ include "integration.rules.gpu" $s | nindent 10 | trim }}, "part", "gpu", "", "")
          or label_replace({{ include "integration.rules.namespaceVolumes" $s | nindent 10 | trim }}, "part", "pv", "", "")
          or label_replace({{ include "integration.rules.loadBalancers" $s | nindent 10 | trim }}, "part", "lb", "", "")
          or label_replace(sum by (namespace) ({{ include "integration.rules.network" $s | nindent 10 | trim }}), "part", "network", "", "")
        )
      {{- $labels }}
    - record: cloudtuner_kubecost_namespace_cpu_cost
      expr: |
        sum by (namespace) ({{ include "integration.rules.cpu" $s | nindent 8 | trim }})
      {{- $labels }}
    - record: cloudtuner_kubecost_namespace_ram_cost
      expr: |
        sum by (namespace) ({{ include "integration.rules.ram" $s | nindent 8 | trim }})
      {{- $labels }}
    - record: cloudtuner_kubecost_namespace_pv_cost
      expr: |
        {{- include "integration.rules.namespaceVolumes" $s | nindent 8 }}
      {{- $labels }}
{{- if .Values.podMetrics }}
    - record: cloudtuner_kubecost_pod_total_cost
      expr: |
        sum by (namespace, pod, node) (
          label_replace({{ include "integration.rules.cpu" $s | nindent 10 | trim }}, "part", "cpu", "", "")
          or label_replace({{ include "integration.rules.ram" $s | nindent 10 | trim }}, "part", "ram", "", "")
          or label_replace({{ include "integration.rules.gpu" $s | nindent 10 | trim }}, "part", "gpu", "", "")
          or label_replace({{ include "integration.rules.podVolumes" $s | nindent 10 | trim }}, "part", "pv", "", "")
          or label_replace({{ include "integration.rules.podNetwork" $s | nindent 10 | trim }}, "part", "network", "", "")
        )
      {{- $labels }}
    - record: cloudtuner_kubecost_pod_cpu_cost
      expr: |
        {{- include "integration.rules.cpu" $s | nindent 8 }}
      {{- $labels }}
    - record: cloudtuner_kubecost_pod_ram_cost
      expr: |
        {{- include "integration.rules.ram" $s | nindent 8 }}
      {{- $labels }}
{{- end }}
{{- end }}
