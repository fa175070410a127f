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

{{/* Labels that an object and its Pods share: dict root, name, component. */}}
{{- define "integration.recommendedLabels" -}}
{{ include "integration.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component | default "exporter" }}
app.kubernetes.io/part-of: cloudtuner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "integration.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "integration.recommendedLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "integration.podLabels" -}}
{{ include "integration.recommendedLabels" . }}
{{- with merge (dict) .root.Values.podLabels .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "integration.metadata" -}}
name: {{ .object | default .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "integration.labels" . | nindent 2 }}
{{- end }}

{{/* An image by its digest: the one given, else the known one of this name and tag; else by its tag. dict root, image. */}}
{{- define "integration.image" -}}
{{- $name := printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- $digest := .image.digest | default (get (.root.Files.Get "files/images.yaml" | fromYaml) $name) -}}
{{- if $digest }}{{ .image.repository }}@{{ $digest }}{{ else }}{{ $name }}{{ end -}}
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

{{/* 2 or 3: the flag of the agent differs. A digest without a tag is taken for the version given. */}}
{{- define "integration.prometheusMajor" -}}
{{- $b := .Values.prometheus.bundled -}}
{{- if $b.majorVersion }}{{ int $b.majorVersion }}
{{- else if regexMatch "^v?[0-9]+(\\.|$)" $b.image.tag }}{{ regexFind "[0-9]+" $b.image.tag }}
{{- else }}{{ fail (printf "prometheus.bundled.majorVersion: say 2 or 3, for the tag %q does not: the agent's flag differs" $b.image.tag) }}
{{- end -}}
{{- end }}

{{- define "integration.urlPort" -}}
{{- $u := urlParse . -}}
{{- if regexMatch ":[0-9]+$" $u.host }}{{ regexFind "[0-9]+$" $u.host }}{{ else }}{{ ternary 443 80 (eq $u.scheme "https") }}{{ end -}}
{{- end }}

{{/* Ports of egress that the values give to every part, the proxy's among them, as JSON. */}}
{{- define "integration.egressPorts" -}}
{{- $ports := .Values.networkPolicy.egressPorts -}}
{{- range list .Values.proxy.httpsProxy .Values.proxy.httpProxy }}
{{- if . }}{{ $ports = append $ports (include "integration.urlPort" . | int) }}{{ end -}}
{{- end -}}
{{ toJson $ports }}
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

{{/* Name of the ServiceAccount of one part: dict root, name. */}}
{{- define "integration.serviceAccount" -}}
{{- $s := .root.Values.serviceAccount -}}
{{ $s.name | default (ternary .name "default" $s.create) }}
{{- end }}

{{/* A ServiceAccount: dict root, name, component, and object where its name is another. */}}
{{- define "integration.serviceAccountObject" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "integration.metadata" . | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{/* The ServiceAccount of one part, where one is created and not named: dict root, name, component. */}}
{{- define "integration.ownServiceAccount" -}}
{{- $s := .root.Values.serviceAccount }}
{{- if and $s.create (not $s.name) }}
---
{{ include "integration.serviceAccountObject" . }}
{{- end }}
{{- end }}

{{/* Host and port to listen on, of this list of the root and a port: an IPv6 address stands in brackets. */}}
{{- define "integration.listen" -}}
{{- $address := (index . 0).Values.listenAddress -}}
{{ ternary (printf "[%s]" $address) $address (contains ":" $address) }}:{{ index . 1 }}
{{- end }}

{{/* The proxy, as environment variables. Kubernetes fills in the address of the API server, which clients in Pods use. */}}
{{- define "integration.proxyEnv" -}}
{{- with .Values.proxy }}
{{- if or .httpsProxy .httpProxy }}
- name: HTTPS_PROXY
  value: {{ .httpsProxy | default .httpProxy | quote }}
{{- with .httpProxy }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
# Addresses of the cluster are reached without the proxy.
- name: NO_PROXY
  value: {{ join "," (concat (list "localhost" "127.0.0.1" "::1" "$(KUBERNETES_SERVICE_HOST)" ".svc" ".cluster.local") .noProxy) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Certificates of private authorities for a program in Go, which trusts them beside those that its image brings. */}}
{{- define "integration.caEnv" -}}
{{- if include "integration.hasCa" . }}
- name: SSL_CERT_FILE
  value: /etc/kubecost-integration/ca/ca.crt
- name: SSL_CERT_DIR
  value: /etc/ssl/certs
{{- end }}
{{- end }}

{{- define "integration.hasCa" -}}
{{- if or .Values.caBundle.secret .Values.caBundle.configMap }}yes{{ end -}}
{{- end }}

{{/* The volume with the certificates of private authorities. */}}
{{- define "integration.caVolume" -}}
{{- with .Values.caBundle }}
- name: ca
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}

{{/* Rules of egress that every part has: DNS. */}}
{{- define "integration.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Egress that the values add: UDP ports and whole rules. */}}
{{- define "integration.moreEgress" -}}
{{- with .Values.networkPolicy.egressUdpPorts }}
- ports:
    {{- range . }}
    - {protocol: UDP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every Pod of the chart has. */}}
{{- define "integration.scheduling" -}}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key, $value := dict "topologySpreadConstraints" .Values.topologySpreadConstraints "hostAliases" .Values.hostAliases
      "dnsConfig" .Values.dnsConfig "dnsPolicy" .Values.dnsPolicy }}
{{- if $value }}
{{ toYaml (dict $key $value) }}
{{- end }}
{{- end }}
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

{{/* HTTPS where the exporter has a certificate (docs/TLS.md), else HTTP. What the scrapes of this chart could not show or trust is refused. */}}
{{- define "integration.metricsScheme" -}}
{{- $mode := .Values.prometheus.mode -}}
{{- $scheme := "HTTP" -}}
{{- range concat .Values.extraEnv .Values.exporter.extraEnv }}
{{- if eq .name "METRICS_TLS_CERT_FILE" }}{{ $scheme = "HTTPS" }}{{ end -}}
{{- if and (ne $mode "serviceMonitor") (has .name (list "METRICS_TLS_CERT_FILE" "METRICS_TOKEN" "METRICS_TOKEN_FILE" "METRICS_PASSWORD" "METRICS_PASSWORD_FILE")) }}
{{- fail (printf "%s: the scrapes of prometheus.mode=%s do not know it, and no cost would arrive; say who may reach /metrics with networkPolicy.metricsFrom, or use prometheus.mode=serviceMonitor and prometheus.serviceMonitor.endpoint" .name $mode) }}
{{- end -}}
{{- end -}}
{{ $scheme }}
{{- end }}

{{/* A scrape of the exporter that finds it by its Service's labels, in any namespace and release. */}}
{{- define "integration.discoveredScrape" -}}
- job_name: {{ include "integration.exporter" . }}
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

{{/* dict root, passwordFile; bundled: its Prometheus has the proxy in its environment. */}}
{{- define "integration.remoteWrite" -}}
{{- $root := .root -}}
{{- $w := $root.Values.remoteWrite -}}
- name: cloudtuner
  url: {{ $root.Values.remoteWrite.url | default "https://CLOUDTUNER/storage/api/v2/write" }}
  headers:
    Cloud-Account-Id: {{ $root.Values.tenantId | quote }}
    {{- range $name, $value := $w.headers }}
    {{ $name }}: {{ $value | quote }}
    {{- end }}
  {{- if $w.authorization.type }}
  authorization:
    type: {{ $w.authorization.type }}
    credentials_file: {{ .passwordFile }}
  {{- else }}
  basic_auth:
    username: {{ $root.Values.remoteWrite.username | default "USERNAME" | quote }}
    password_file: {{ .passwordFile }}
  {{- end }}
  {{- with $w.tlsConfig }}
  tls_config:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $w.proxyUrl }}
  proxy_url: {{ $w.proxyUrl | quote }}
  {{- else if and .bundled (include "integration.proxyEnv" $root) }}
  proxy_from_environment: true
  {{- end }}
  {{- with $w.queueConfig }}
  queue_config:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  write_relabel_configs:
    - source_labels: [__name__]
      regex: {{ $root.Values.remoteWrite.keepRegex | squote }}
      action: keep
  metadata_config:
    send: false
{{- end }}

{{/* Settings of Prometheus in the operator's spelling: dict what (their name in the values), settings, names. */}}
{{- define "integration.operatorSettings" -}}
{{- $what := .what -}}
{{- $names := .names -}}
{{- range $name, $value := .settings }}
{{- if not (hasKey $names $name) }}{{ fail (printf "%s.%s: the Prometheus operator has no such setting; it has those of %s" $what $name (keys $names | sortAlpha | join ", ")) }}{{ end }}
{{ toYaml (dict (get $names $name) $value) }}
{{- end }}
{{- end }}

{{/* The entry of remote_write in the operator's spelling, where user name and password are keys of a Secret beside it. */}}
{{- define "integration.operatorRemoteWrite" -}}
{{- $w := .Values.remoteWrite -}}
{{- $secret := include "integration.secretName" . -}}
- name: cloudtuner
  url: {{ $w.url | default "https://CLOUDTUNER/storage/api/v2/write" }}
  headers:
    Cloud-Account-Id: {{ .Values.tenantId | quote }}
    {{- range $name, $value := $w.headers }}
    {{ $name }}: {{ $value | quote }}
    {{- end }}
  {{- if $w.authorization.type }}
  authorization:
    type: {{ $w.authorization.type }}
    credentials: {name: {{ $secret }}, key: {{ $w.passwordKey }}}
  {{- else }}
  basicAuth:
    username: {name: {{ $secret }}, key: {{ $w.usernameKey }}}
    password: {name: {{ $secret }}, key: {{ $w.passwordKey }}}
  {{- end }}
  {{- with $w.tlsConfig }}
  tlsConfig:
    {{- include "integration.operatorSettings" (dict "what" "remoteWrite.tlsConfig" "settings" . "names" (dict
          "ca_file" "caFile" "cert_file" "certFile" "key_file" "keyFile" "server_name" "serverName"
          "insecure_skip_verify" "insecureSkipVerify" "min_version" "minVersion" "max_version" "maxVersion")) | trim | nindent 4 }}
  {{- end }}
  {{- with $w.proxyUrl }}
  proxyUrl: {{ . | quote }}
  {{- end }}
  {{- with $w.queueConfig }}
  queueConfig:
    {{- include "integration.operatorSettings" (dict "what" "remoteWrite.queueConfig" "settings" . "names" (dict
          "capacity" "capacity" "max_shards" "maxShards" "min_shards" "minShards" "max_samples_per_send" "maxSamplesPerSend"
          "batch_send_deadline" "batchSendDeadline" "min_backoff" "minBackoff" "max_backoff" "maxBackoff"
          "retry_on_http_429" "retryOnRateLimit" "sample_age_limit" "sampleAgeLimit")) | trim | nindent 4 }}
  {{- end }}
  writeRelabelConfigs:
    - sourceLabels: [__name__]
      regex: {{ $w.keepRegex | squote }}
      action: keep
  metadataConfig:
    send: false
{{- end }}

{{/* Seconds of the exporter's WINDOW. */}}
{{- define "integration.windowSeconds" -}}
{{- $w := toString .Values.exporter.window -}}
{{- $n := regexFind "[0-9]+" $w | int -}}
{{ mul $n (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (regexFind "[smhd]$" $w | default "s")) }}
{{- end }}

{{/* The alerts' file with this release's names and times: what it says of its own values, changed. */}}
{{- define "integration.alerts" -}}
{{- if eq .Values.prometheus.mode "bundled" -}}
{{ fail "alerts.enabled: no rule of the Prometheus operator sees the metrics of the bundled Prometheus; use prometheus.mode=serviceMonitor, or load files/alerts.yaml where its metrics arrive" }}
{{- end -}}
{{- $window := include "integration.windowSeconds" . | int -}}
{{- .Files.Get "files/alerts.yaml"
  | replace "(3600)" (printf "(%d)" $window)
  | replace "for: 90m # a window and half an hour" (printf "for: %ds" (add $window 1800))
  | replace "job=\"kubecost-allocation-exporter\"" (printf "job=%q" (include "integration.exporter" .))
  | replace "https://github.com/cloudtuner/kubecost-worker/blob/main/docs/RUNBOOK.md" .Values.alerts.runbookUrl | trim }}
{{- end }}
