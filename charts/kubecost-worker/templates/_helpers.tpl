{{- define "worker.name" -}}
{{ .Values.fullnameOverride }}
{{- end }}

{{- define "worker.selectorLabels" -}}
app: kubecost-worker
app.kubernetes.io/name: kubecost-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "worker.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "worker.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "worker.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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

{{/* The Pod of every Job and of the Deployment: dict root, args, and what differs. */}}
{{- define "worker.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "worker.selectorLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed setting makes a new Pod.
    checksum/config: {{ toJson (dict "config" $root.Values.config "secrets" $root.Values.secrets.values) | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  serviceAccountName: {{ include "worker.name" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: kubecost-worker
      image: {{ include "worker.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: ["/usr/local/bin/kubecost-worker"]
      args: {{ toJson .args }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: ["ALL"]
      envFrom:
        - configMapRef:
            name: {{ include "worker.name" $root }}
      env:
        {{- range $name, $key := include "worker.secretKeys" $root | fromJson }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef:
              name: {{ include "worker.secretName" $root }}
              key: {{ $key }}
        {{- end }}
        {{- if .shards }}
        # Kubernetes itself sets JOB_COMPLETION_INDEX.
        - name: SHARD_COUNT
          value: {{ .shards | quote }}
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .ports }}
      ports:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml $root.Values.resources | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
{{- end }}

{{/* Retrying does not correct a wrong configuration. */}}
{{- define "worker.podFailurePolicy" -}}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        containerName: kubecost-worker
        operator: In
        values: [2]
    # A Pod that was evicted or whose node went away does not count as a try.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
{{- end }}
