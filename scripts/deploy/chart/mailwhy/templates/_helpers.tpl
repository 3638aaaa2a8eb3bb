{{- define "mailwhy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mailwhy.fullname" -}}
{{- $name := include "mailwhy.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mailwhy.selector" -}}
app.kubernetes.io/name: {{ include "mailwhy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mailwhy.labels" -}}
{{ include "mailwhy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "mailwhy.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mailwhy.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mailwhy.secretName" -}}
{{- if .Values.existingSecret }}{{ .Values.existingSecret }}
{{- else if .Values.secret }}{{ include "mailwhy.fullname" . }}
{{- end }}
{{- end }}

{{- define "mailwhy.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* What the container is in every pod; the address to listen at is the argument "listen". */}}
{{- define "mailwhy.container" -}}
{{- $r := .root }}
name: mailwhy
image: {{ include "mailwhy.image" $r | quote }}
imagePullPolicy: {{ $r.Values.image.pullPolicy }}
args: [serve]
env:
  - {name: MAILWHY_LISTEN, value: {{ .listen | quote }}}
  - {name: MAILWHY_METRICS_LISTEN, value: ":9125"}
  {{- if $r.Values.config.relay }}
  - {name: MAILWHY_CONFIG, value: /etc/mailwhy/relay.toml}
  {{- end }}
  {{- if $r.Values.certs.existingSecret }}
  - {name: MAILWHY_TLS_CERT_FILE, value: {{ printf "%s/tls.crt" $r.Values.certs.path | quote }}}
  - {name: MAILWHY_TLS_KEY_FILE, value: {{ printf "%s/tls.key" $r.Values.certs.path | quote }}}
  {{- end }}
  {{- with $r.Values.cluster }}
  {{- $url := printf "%s/%s" $r.Values.mountSecret.path .urlKey }}
  {{- if .queue }}
  - {name: MAILWHY_SPOOL_ENGINE, value: postgres}
  - {name: MAILWHY_SPOOL_URL_FILE, value: {{ $url | quote }}}
  {{- else if .limits }}
  - {name: MAILWHY_CLUSTER_URL_FILE, value: {{ $url | quote }}}
  {{- end }}
  {{- if and (or .queue .limits) .secretKey }}
  - {name: MAILWHY_CLUSTER_SECRET_FILE, value: {{ printf "%s/%s" $r.Values.mountSecret.path .secretKey | quote }}}
  {{- end }}
  {{- end }}
  {{- with $r.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
envFrom:
  - configMapRef: {name: {{ include "mailwhy.fullname" $r }}-env}
  {{- if and (include "mailwhy.secretName" $r) (not $r.Values.mountSecret.enabled) }}
  - secretRef: {name: {{ include "mailwhy.secretName" $r }}}
  {{- end }}
ports:
  - {name: smtp, containerPort: 2525}
  - {name: metrics, containerPort: 9125}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{- toYaml $r.Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: spool, mountPath: /spool}
  {{- if $r.Values.config.relay }}
  - {name: mailwhy-config, mountPath: /etc/mailwhy, readOnly: true}
  {{- end }}
  {{- if and (include "mailwhy.secretName" $r) $r.Values.mountSecret.enabled }}
  - {name: mailwhy-secret, mountPath: {{ $r.Values.mountSecret.path | quote }}, readOnly: true}
  {{- end }}
  {{- if $r.Values.certs.existingSecret }}
  - {name: mailwhy-tls, mountPath: {{ $r.Values.certs.path | quote }}, readOnly: true}
  {{- end }}
  {{- with $r.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The volumes of the container, but for the spool. */}}
{{- define "mailwhy.volumes" -}}
{{- if .Values.config.relay }}
- name: mailwhy-config
  configMap: {name: {{ include "mailwhy.fullname" . }}}
{{- end }}
{{- if and (include "mailwhy.secretName" .) .Values.mountSecret.enabled }}
- name: mailwhy-secret
  secret: {secretName: {{ include "mailwhy.secretName" . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.certs.existingSecret }}
- name: mailwhy-tls
  secret: {secretName: {{ .Values.certs.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
A native sidecar for the pods of your own chart, with this chart as a dependency and its values under "mailwhy":

  initContainers:
    {{- include "mailwhy.sidecar" .Subcharts.mailwhy | nindent 4 }}
  volumes:
    {{- include "mailwhy.volumes" .Subcharts.mailwhy | nindent 4 }}
    - name: spool
      ...

It listens on 127.0.0.1:2525. Set replicaCount: 0 if nothing else is to use the relay.
*/}}
{{- define "mailwhy.sidecar" -}}
- restartPolicy: Always
  {{- include "mailwhy.container" (dict "root" . "listen" "127.0.0.1:2525") | nindent 2 }}
{{- end }}
