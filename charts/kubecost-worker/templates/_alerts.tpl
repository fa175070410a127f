{{/* The alerts' file with this release's names and times: what it says of its own values, changed. */}}
{{- define "worker.alerts" -}}
{{- include "worker.refuseAlertsWithoutMetrics" . -}}
{{- $interval := include "worker.intervalSeconds" . | int -}}
{{- $window := int .Values.alerts.windowSeconds -}}
{{- $shards := "" -}}
{{- $failing := "All accounts" -}}
{{- if ne (default "account" .Values.config.FAIL_ON) "run" }}{{ $failing = "Some accounts" }}{{ end -}}
{{- if gt (int .Values.shards) 1 }}{{ $shards = join "|" (until (int .Values.shards)) }}{{ $failing = "The accounts of some shard" }}{{ end -}}
{{- .Files.Get "files/alerts.yaml"
  | replace "(3600)" (printf "(%d)" $window)
  | replace "(300)" (printf "(%d)" $interval)
  | replace "for: 15m # three runs" (printf "for: %ds" (max 900 (mul 3 $interval)))
  | replace "offset 30m" (printf "offset %ds" (add (mul 2 $interval) 1200))
  | replace "{severity: critical, hop: worker} # of all accounts" (printf "{severity: %s, hop: worker}" (ternary "critical" "warning" (eq $failing "All accounts")))
  | replace "All accounts of {{ $labels.namespace }}, hop worker: Job" (printf "%s of {{ $labels.namespace }}, hop worker: Job" $failing)
  | replace "for: 2h # a window and an hour" (printf "for: %ds" (add $window 3600))
  | replace "shard=~\".*\"" (printf "shard=~%q" $shards)
  | replace "< (1)" (printf "< (%d)" (int .Values.shards))
  | replace "namespace=~\".*\"" (printf "namespace=%q" .Release.Namespace)
  | replace "cronjob=\"kubecost-worker\"" (printf "cronjob=%q" (include "worker.name" .))
  | replace "deployment=\"kubecost-worker\"" (printf "deployment=%q" (include "worker.name" .))
  | replace "job_name=~\"kubecost-worker-" (printf "job_name=~\"%s-" (include "worker.name" .))
  | replace "https://github.com/cloudtuner/kubecost-worker/blob/main/docs/RUNBOOK.md" .Values.alerts.runbookUrl
  | trim }}
{{- end }}

{{/* A Job that pushes nothing has no metrics to alert on: KubecostWorkerAbsent would fire for ever. */}}
{{- define "worker.refuseAlertsWithoutMetrics" -}}
{{- $pushes := not (empty .Values.metrics.pushUrl) -}}
{{- range .Values.extraEnv }}
{{- if has .name (list "METRICS_PUSHGATEWAY_URL" "METRICS_TEXTFILE") }}{{ $pushes = true }}{{ end -}}
{{- end -}}
{{- if and (eq .Values.mode "cronjob") (not $pushes) -}}
{{ fail "alerts.enabled: with mode=cronjob a run leaves metrics only where metrics.pushUrl is set (or METRICS_PUSHGATEWAY_URL in extraEnv, where it has credentials)" }}
{{- end -}}
{{- end }}
