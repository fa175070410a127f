{{- define "worker.name" -}}
{{ .Values.fullnameOverride }}
{{- end }}

{{- define "worker.selectorLabels" -}}
app: kubecost-worker
app.kubernetes.io/name: kubecost-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels that an object and its Pods share: dict root, component. */}}
{{- define "worker.recommendedLabels" -}}
{{ include "worker.selectorLabels" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: cloudtuner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Labels of an object: dict root, component. */}}
{{- define "worker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "worker.recommendedLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata of an object: dict root, component, and suffix where its name has one. */}}
{{- define "worker.metadata" -}}
name: {{ include "worker.name" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "worker.labels" . | nindent 2 }}
{{- end }}

{{/* The image by its digest: the one given, else the known one of this name and tag; else by its tag. */}}
{{- define "worker.image" -}}
{{- $name := printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- $digest := .Values.image.digest | default (get (.Files.Get "files/images.yaml" | fromYaml) $name) -}}
{{- if $digest }}{{ .Values.image.repository }}@{{ $digest }}{{ else }}{{ $name }}{{ end -}}
{{- end }}

{{- define "worker.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else -}}
{{ ternary (include "worker.name" .) "default" .Values.serviceAccount.create }}
{{- end -}}
{{- end }}

{{- define "worker.secretName" -}}
{{- if and .Values.secrets.existingSecret .Values.secrets.values }}
{{- fail "secrets.values: not read beside secrets.existingSecret; put them into that Secret and name its keys in secrets.keys" }}
{{- end -}}
{{- if .Values.secrets.existingSecret -}}
{{ .Values.secrets.existingSecret }}
{{- else if .Values.secrets.values -}}
{{ include "worker.name" . }}
{{- else -}}
{{ fail "secrets.existingSecret: name a Secret that holds MONGO_URL and what else secrets.keys lists (kubectl create secret generic ...); for a trial, secrets.values" }}
{{- end -}}
{{- end }}

{{/* Settings that are secrets, each from the key that holds it. */}}
{{- define "worker.secretKeys" -}}
{{- $_ := include "worker.secretName" . -}}
{{- if .Values.secrets.existingSecret -}}
{{ toJson .Values.secrets.keys }}
{{- else -}}
{{- $keys := dict }}{{ range $name, $_ := .Values.secrets.values }}{{ $_ := set $keys $name $name }}{{ end -}}
{{ toJson $keys }}
{{- end -}}
{{- end }}

{{/* Host and port to listen on: an IPv6 address stands in brackets. */}}
{{- define "worker.listen" -}}
{{- $address := .Values.listenAddress -}}
{{ ternary (printf "[%s]" $address) $address (contains ":" $address) }}:{{ .Values.metrics.port }}
{{- end }}

{{/* Seconds between two runs: as given, or read from the usual forms of a cron expression. */}}
{{- define "worker.intervalSeconds" -}}
{{- $s := .Values.schedule -}}
{{- if .Values.alerts.scheduleSeconds -}}
{{ int .Values.alerts.scheduleSeconds }}
{{- else if regexMatch "^\\*/[0-9]+ \\* \\* \\* \\*$" $s -}}
{{ mul 60 (regexFind "[0-9]+" $s | int) }}
{{- else if regexMatch "^\\* \\* \\* \\* \\*$" $s -}}
60
{{- else if or (eq $s "@hourly") (regexMatch "^[0-9]+ \\* \\* \\* \\*$" $s) -}}
3600
{{- else if regexMatch "^[0-9]+ \\*/[0-9]+ \\* \\* \\*$" $s -}}
{{ mul 3600 (regexFind "/[0-9]+" $s | trimPrefix "/" | int) }}
{{- else if or (eq $s "@daily") (regexMatch "^[0-9]+ [0-9]+ \\* \\* \\*$" $s) -}}
86400
{{- else -}}
{{ fail (printf "alerts.scheduleSeconds: say how many seconds lie between two runs of schedule %q, for the alerts' thresholds" $s) }}
{{- end -}}
{{- end }}

{{/* Ports of egress: those of the values, and of each address in them, as JSON. */}}
{{- define "worker.egressPorts" -}}
{{- $urls := list .Values.proxy.httpsProxy .Values.proxy.httpProxy .Values.metrics.pushUrl -}}
{{- range $name, $value := .Values.config }}{{ if hasSuffix "_URL" $name }}{{ $urls = append $urls $value }}{{ end }}{{ end -}}
{{- $ports := list }}{{ range .Values.networkPolicy.egressPorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- range $urls }}
{{- if . }}
{{- $u := urlParse . -}}
{{- $host := ternary $u.host (printf "%s:%s" $u.host (ternary "443" "80" (eq $u.scheme "https"))) (regexMatch ":[0-9]+$" $u.host) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" $host | int) -}}
{{- end -}}
{{- end -}}
{{ toJson (uniq $ports) }}
{{- end }}

{{/* Seconds of a time as the settings write it: 90, 15m, 2h. */}}
{{- define "worker.seconds" -}}
{{- $time := toString . -}}
{{ mul (regexFind "^[0-9]+" $time | int) (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (regexFind "[smhd]$" $time | default "s")) }}
{{- end }}

{{/* Seconds after which a Job is ended: never before the run ends by itself. */}}
{{- define "worker.jobDeadline" -}}
{{- $run := include "worker.seconds" (.Values.config.RUN_DEADLINE_SECONDS | default 3600) | int -}}
{{- $account := include "worker.seconds" (.Values.config.ACCOUNT_DEADLINE_SECONDS | default 120) | int -}}
{{ max (int .Values.job.activeDeadlineSeconds) (add $run $account 180) }}
{{- end }}

{{/* HTTPS where /metrics has a certificate (docs/TLS.md), else HTTP. */}}
{{- define "worker.metricsScheme" -}}
{{- $scheme := "HTTP" -}}
{{- range .Values.extraEnv }}{{ if eq .name "METRICS_TLS_CERT_FILE" }}{{ $scheme = "HTTPS" }}{{ end }}{{ end -}}
{{ $scheme }}
{{- end }}

{{/* Environment of proxies, of the certificates to trust and of the client's own. */}}
{{- define "worker.networkEnv" -}}
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
  value: {{ join "," (concat (list "localhost" "127.0.0.1" "::1" ".svc" ".cluster.local") .noProxy) | quote }}
{{- end }}
{{- end }}
{{- if or .Values.caBundle.secret .Values.caBundle.configMap }}
- name: CA_FILE
  value: /etc/kubecost-worker/ca/ca.crt
{{- end }}
{{- if .Values.clientCertificate.secret }}
- name: CLIENT_CERT_FILE
  value: /etc/kubecost-worker/client/tls.crt
- name: CLIENT_KEY_FILE
  value: /etc/kubecost-worker/client/tls.key
{{- end }}
{{- end }}

{{/* Retrying corrects neither a wrong configuration nor an account's own trouble: the next run comes anyway. Argument: dict sharded. */}}
{{- define "worker.podFailurePolicy" -}}
podFailurePolicy:
  rules:
    # A Pod that was evicted or whose node went away does not count as a try, whatever it ended with. The first rule that fits counts.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    - action: FailJob
      onExitCodes:
        containerName: kubecost-worker
        operator: In
        values: [2]
    - action: {{ ternary "FailIndex" "FailJob" .sharded }}
      onExitCodes:
        containerName: kubecost-worker
        operator: In
        values: [1]
{{- end }}
