{{/* The alerts' file with this release's names and times: what it says of its own values, changed. */}}
{{- define "worker.alerts" -}}
{{- $interval := include "worker.intervalSeconds" . | int -}}
{{- $window := int .Values.alerts.windowSeconds -}}
{{- $shards := "" -}}
{{- if gt (int .Values.shards) 1 }}{{ $shards = join "|" (until (int .Values.shards)) }}{{ end -}}
{{- .Files.Get "files/alerts.yaml"
  | replace "(3600)" (printf "(%d)" $window)
  | replace "(300)" (printf "(%d)" $interval)
  | replace "for: 15m # three runs" (printf "for: %ds" (max 900 (mul 3 $interval)))
  | replace "for: 2h # a window and an hour" (printf "for: %ds" (add $window 3600))
  | replace "shard=~\".*\"" (printf "shard=~%q" $shards)
  | replace "< (1)" (printf "< (%d)" (int .Values.shards))
  | replace "namespace=~\".*\"" (printf "namespace=%q" .Release.Namespace)
  | replace "cronjob=\"kubecost-worker\"" (printf "cronjob=%q" (include "worker.name" .))
  | replace "job_name=~\"kubecost-worker-" (printf "job_name=~\"%s-" (include "worker.name" .))
  | replace "https://github.com/cloudtuner/kubecost-worker/blob/main/docs/RUNBOOK.md" .Values.alerts.runbookUrl
  | trim }}
{{- end }}
