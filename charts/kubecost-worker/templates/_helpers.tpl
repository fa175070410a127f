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
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
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

{{/* Ports of egress: those of the values and the proxy's, as JSON. */}}
{{- define "worker.egressPorts" -}}
{{- $ports := .Values.networkPolicy.egressPorts -}}
{{- range list .Values.proxy.httpsProxy .Values.proxy.httpProxy }}
{{- if . }}
{{- $u := urlParse . -}}
{{- $host := ternary $u.host (printf "%s:%s" $u.host (ternary "443" "80" (eq $u.scheme "https"))) (regexMatch ":[0-9]+$" $u.host) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" $host | int) -}}
{{- end -}}
{{- end -}}
{{ toJson (uniq $ports) }}
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
    # A Pod that was evicted or whose node went away does not count as a try.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
{{- end }}
