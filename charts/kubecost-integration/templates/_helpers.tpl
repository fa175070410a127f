{{- define "integration.exporter" -}}
{{ .Values.exporter.fullnameOverride }}
{{- end }}

{{- define "integration.prometheus" -}}
{{ .Values.exporter.fullnameOverride }}-prometheus
{{- end }}

{{- define "integration.opencost" -}}
{{ .Release.Name }}-opencost
{{- end }}

{{/* Labels of one part: dict root, name. */}}
{{- define "integration.selectorLabels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "integration.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{ include "integration.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kubecost-integration
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "integration.metadata" -}}
name: {{ .object | default .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "integration.labels" . | nindent 2 }}
{{- end }}

{{- define "integration.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "integration.costHost" -}}
{{- $c := .Values.costSource -}}
{{- if .Values.opencost.enabled -}}
{{ include "integration.opencost" . }}.{{ .Release.Namespace }}.svc.cluster.local
{{- else -}}
{{- $release := $c.release | default .Release.Name -}}
{{- $usual := ternary (printf "%s-cost-analyzer" $release) (ternary $release (printf "%s-opencost" $release) (contains "opencost" $release)) (eq $c.kind "kubecost") -}}
{{ $c.service | default $usual }}.{{ $c.namespace | default .Release.Namespace }}.svc.cluster.local
{{- end -}}
{{- end }}

{{/* Kubecost's API is behind its front end, OpenCost's beside its metrics. */}}
{{- define "integration.costUrl" -}}
{{- $port := ternary 9090 9003 (and (eq .Values.costSource.kind "kubecost") (not .Values.opencost.enabled)) -}}
{{ .Values.costSource.url | default (printf "http://%s:%d" (include "integration.costHost" .) $port) }}
{{- end }}

{{- define "integration.costMetricsUrl" -}}
{{ .Values.costSource.metricsUrl | default (printf "http://%s:9003" (include "integration.costHost" .)) }}
{{- end }}

{{- define "integration.urlPort" -}}
{{- $u := urlParse . -}}
{{- if contains ":" $u.host }}{{ regexFind "[0-9]+$" $u.host }}{{ else }}{{ ternary 443 80 (eq $u.scheme "https") }}{{ end -}}
{{- end }}

{{- define "integration.secretName" -}}
{{- if .Values.remoteWrite.existingSecret -}}
{{ .Values.remoteWrite.existingSecret }}
{{- else if .Values.remoteWrite.password -}}
{{ include "integration.exporter" . }}-remote-write
{{- else if eq .Values.prometheus.mode "bundled" -}}
{{ fail "remoteWrite.existingSecret: name a Secret with the password for remote_write (kubectl create secret generic ...); for a trial, remoteWrite.password" }}
{{- else -}}
cloudtuner-basic-auth
{{- end -}}
{{- end }}

{{- define "integration.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "integration.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* What every Pod of the chart has. */}}
{{- define "integration.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A scrape of the exporter that finds it by its Service's labels, in any namespace and release. */}}
{{- define "integration.discoveredScrape" -}}
- job_name: kubecost-allocation-exporter
  honor_labels: true
  scrape_interval: 60s
  scrape_timeout: 30s
  metrics_path: /metrics
  scheme: http
  kubernetes_sd_configs:
    - role: endpoints
      namespaces:
        names: [{{ .Release.Namespace }}]
  relabel_configs:
    - source_labels: [__meta_kubernetes_service_label_app_kubernetes_io_name]
      action: keep
      regex: {{ include "integration.exporter" . }}
    - source_labels: [__meta_kubernetes_endpoint_port_name]
      action: keep
      regex: metrics
{{- end }}

{{/* dict root, passwordFile */}}
{{- define "integration.remoteWrite" -}}
{{- $root := .root -}}
- name: cloudtuner
  url: {{ $root.Values.remoteWrite.url | default "https://CLOUDTUNER/storage/api/v2/write" }}
  headers:
    Cloud-Account-Id: {{ $root.Values.tenantId | quote }}
  basic_auth:
    username: {{ $root.Values.remoteWrite.username | default "USERNAME" | quote }}
    password_file: {{ .passwordFile }}
  write_relabel_configs:
    - source_labels: [__name__]
      regex: {{ $root.Values.remoteWrite.keepRegex | squote }}
      action: keep
  metadata_config:
    send: false
{{- end }}
