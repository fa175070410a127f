{{/* The Pod of every Job and of the Deployment: dict root, component, args, and what differs. */}}
{{- define "worker.pod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "worker.recommendedLabels" . | nindent 4 }}
    {{- with merge (dict) $root.Values.podLabels $root.Values.commonLabels }}
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
  serviceAccountName: {{ include "worker.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  {{- with $root.Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $key, $value := dict "imagePullSecrets" $root.Values.imagePullSecrets "priorityClassName" $root.Values.priorityClassName
        "nodeSelector" $root.Values.nodeSelector "tolerations" $root.Values.tolerations "affinity" $root.Values.affinity
        "topologySpreadConstraints" $root.Values.topologySpreadConstraints "hostAliases" $root.Values.hostAliases
        "dnsConfig" $root.Values.dnsConfig "dnsPolicy" $root.Values.dnsPolicy }}
  {{- if $value }}
  {{- toYaml (dict $key $value) | nindent 2 }}
  {{- end }}
  {{- end }}
  containers:
    - name: kubecost-worker
      image: {{ include "worker.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: ["/usr/local/bin/kubecost-worker"]
      args: {{ toJson .args }}
      {{- with $root.Values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      envFrom:
        - configMapRef:
            name: {{ include "worker.name" $root }}
        {{- with $root.Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
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
        {{- include "worker.networkEnv" $root | nindent 8 | trimSuffix "\n        " }}
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
        {{- if or $root.Values.caBundle.secret $root.Values.caBundle.configMap }}
        - name: ca
          mountPath: /etc/kubecost-worker/ca
          readOnly: true
        {{- end }}
        {{- if $root.Values.clientCertificate.secret }}
        - name: client-certificate
          mountPath: /etc/kubecost-worker/client
          readOnly: true
        {{- end }}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with $root.Values.caBundle }}
    {{- if or .secret .configMap }}
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
    {{- with $root.Values.clientCertificate.secret }}
    - name: client-certificate
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
