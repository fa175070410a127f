{{/* Rules and OpenCost's queries need a server; to pass samples on, an agent is enough. */}}
{{- define "integration.prometheusIsServer" -}}
{{- if or (eq .Values.source "recordingRules") .Values.opencost.enabled }}yes{{ end -}}
{{- end }}

{{/* Configuration of the bundled Prometheus. */}}
{{- define "integration.prometheusConfig" -}}
global:
  scrape_interval: {{ .Values.prometheus.bundled.scrapeIntervalSeconds }}s
  scrape_timeout: {{ min 30 .Values.prometheus.bundled.scrapeIntervalSeconds }}s
  {{- if eq .Values.source "recordingRules" }}
  evaluation_interval: 60s
rule_files: [/etc/prometheus/rules.yml]
  {{- end }}
scrape_configs:
  {{- if eq .Values.source "exporter" }}
  # One replica behind one Service: no discovery, so no rights at the API server.
  - job_name: {{ include "integration.exporter" . }}
    honor_labels: true
    static_configs:
      - targets: ["{{ include "integration.exporter" . }}.{{ .Release.Namespace }}.svc.cluster.local:{{ .Values.exporter.port }}"]
  {{- end }}
  {{- if include "integration.prometheusIsServer" . }}
  {{- $u := urlParse (include "integration.costMetricsUrl" .) }}
  - job_name: opencost
    honor_labels: true
    scheme: {{ $u.scheme }}
    metrics_path: {{ printf "%s/metrics" (trimSuffix "/" (trimSuffix "/metrics" $u.path)) }}
    {{- if include "integration.proxyEnv" . }}
    proxy_from_environment: true
    {{- end }}
    static_configs:
      - targets: [{{ $u.host | quote }}]
  {{- end }}
  {{- if .Values.opencost.enabled }}
  - job_name: kubernetes-cadvisor
    scheme: https
    metrics_path: /metrics/cadvisor
    authorization:
      credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token
    tls_config:
      ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
      # Kubelets often serve a certificate of their own; the address comes from the API server.
      insecure_skip_verify: true
    kubernetes_sd_configs:
      - role: node
    relabel_configs:
      - source_labels: [__meta_kubernetes_node_name]
        target_label: node
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: container_(cpu_usage_seconds_total|memory_working_set_bytes|network_(receive|transmit)_bytes_total|fs_(usage|limit)_bytes)
        action: keep
  {{- end }}
  - job_name: prometheus
    static_configs:
      - targets: ["localhost:9090"]
        labels:
          cluster: {{ .Values.clusterName | quote }}
          tenant_id: {{ .Values.tenantId | quote }}
remote_write:
  {{- include "integration.remoteWrite" (dict "root" . "passwordFile" "/etc/remote-write/password" "bundled" true) | nindent 2 }}
{{- end }}
