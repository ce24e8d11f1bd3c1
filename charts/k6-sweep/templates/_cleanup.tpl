{{/*
The containers of k6-sweep, and the parts of a pod that they need. `k6-sweep inject` adds the same to manifests; a test compares the two.
Other charts include k6-sweep.podSpec, k6-sweep.podSpec.initContainers, .containers and .volumes; or the
single containers: k6-sweep.nativeSidecar, k6-sweep.container. All take the context of this chart:
`index .Subcharts "k6-sweep"`.
*/}}

{{/*
Settings of the sweep that the container's command takes, in the order of docs/settings.md. Takes a list: context, command.
The templates double each $, because the kubelet replaces $$ with $.
*/}}
{{- define "k6-sweep.sweepEnv" -}}
{{- $cleanup := (first .).Values.cleanup -}}
{{- $command := last . -}}
{{- $deletes := not (has $command (list "check" "snapshot")) -}}
- name: SWEEP_REDIS_URL
  value: {{ $cleanup.redis.url | replace "$" "$$" | quote }}
{{- with $cleanup.redis.username }}
- name: SWEEP_REDIS_USERNAME
  value: {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- if $cleanup.redis.existingSecret }}
- name: SWEEP_REDIS_PASSWORD_FILE
  value: /etc/k6-sweep/password
{{- end }}
{{- if or $cleanup.redis.tls.caConfigMap $cleanup.redis.tls.caSecret }}
- name: SWEEP_REDIS_CA_FILE
  value: /etc/k6-sweep/ca.crt
{{- end }}
{{- if $cleanup.redis.tls.clientSecret }}
- name: SWEEP_REDIS_CERT_FILE
  value: /etc/k6-sweep/tls.crt
- name: SWEEP_REDIS_KEY_FILE
  value: /etc/k6-sweep/tls.key
{{- end }}
{{- with $cleanup.redis.tls.serverName }}
- name: SWEEP_REDIS_TLS_SERVER_NAME
  value: {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- if $cleanup.redis.tls.insecure }}
- name: SWEEP_REDIS_TLS_INSECURE
  value: "true"
{{- end }}
- name: SWEEP_PATTERN
  value: {{ join "\n" (include "k6-sweep.patterns" (first .) | fromYamlArray) | replace "$" "$$" | quote }}
{{- if and $cleanup.keep (ne $command "snapshot") }}
- name: SWEEP_KEEP
  value: {{ join "\n" $cleanup.keep | replace "$" "$$" | quote }}
{{- end }}
{{- if and $cleanup.dryRun $deletes }}
- name: SWEEP_DRY_RUN
  value: "true"
{{- end }}
{{- if $cleanup.allowBroadPatterns }}
- name: SWEEP_ALLOW_BROAD_PATTERNS
  value: "true"
{{- end }}
{{- with $cleanup.guards.allowedNamespaces }}
- name: SWEEP_ALLOWED_NAMESPACE
  value: {{ join "\n" . | quote }}
{{- end }}
{{- with $cleanup.guards.requireMarker }}
- name: SWEEP_REQUIRE_MARKER
  value: {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- if and $cleanup.guards.maxKeys (ne $command "snapshot") }}
- name: SWEEP_MAX_KEYS
  value: {{ int64 $cleanup.guards.maxKeys | quote }}
{{- end }}
- name: SWEEP_TIMEOUT
  value: {{ int64 $cleanup.timeoutSeconds | quote }}
{{- if and $cleanup.maxRate $deletes }}
- name: SWEEP_MAX_RATE
  value: {{ int64 $cleanup.maxRate | quote }}
{{- end }}
{{- end -}}

{{/* Variables with the name, namespace and uid of the pod. */}}
{{- define "k6-sweep.podEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end -}}

{{/*
One container. Takes a dict: context, name, args, env (YAML), restartPolicy, containers (the pod's number of containers), mounts (a
list), and more (other fields of the container).
*/}}
{{- define "k6-sweep.anyContainer" -}}
{{- $context := .context -}}
{{- $cleanup := $context.Values.cleanup -}}
- name: {{ .name }}
  image: {{ include "k6-sweep.image" $context | quote }}
  imagePullPolicy: {{ $context.Values.image.pullPolicy }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  args: {{ toJson .args }}
  env:
    {{- $env := printf "%s\n%s" (include "k6-sweep.sweepEnv" (list $context (first .args))) (default "" .env) | fromYamlArray }}
    {{- $limit := dict "name" "SWEEP_MESSAGE_LIMIT" "value" (include "k6-sweep.messageLimit" (list $context .containers)) }}
    {{- $env = concat $env (list $limit) (include "k6-sweep.podEnv" $context | fromYamlArray) }}
    {{- $replaced := list }}
    {{- range $cleanup.extraEnv }}{{ $replaced = append $replaced .name }}{{ end }}
    {{- range $env }}
    {{- if not (has .name $replaced) }}
    {{- list . | toYaml | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- with $cleanup.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- toYaml (merge (default dict .more) (dict "resources" $cleanup.resources)) | nindent 2 }}
  securityContext:
    {{- toYaml $cleanup.securityContext | nindent 4 }}
  {{- $mounts := list -}}
  {{- if include "k6-sweep.files" $context -}}
    {{- $mounts = append $mounts (dict "name" "k6-sweep-files" "mountPath" "/etc/k6-sweep" "readOnly" true) -}}
  {{- end -}}
  {{- if and $cleanup.preserveExisting .inTheTestsPod -}}
    {{- $mounts = append $mounts (dict "name" "k6-sweep-snapshot" "mountPath" "/snapshot") -}}
  {{- end -}}
  {{- with concat $mounts (default list .mounts) $cleanup.extraVolumeMounts }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Where k6-sweep reports the end, in addition to the termination message. */}}
{{- define "k6-sweep.tellingEnv" -}}
{{- if .Values.cleanup.emitEvent }}
- name: SWEEP_EMIT_EVENT
  value: "true"
{{- end }}
{{- with .Values.cleanup.pushgatewayUrl }}
- name: SWEEP_PUSHGATEWAY_URL
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
Uid of k6's processes; empty if it is not known. The Job of this chart puts its own k6's uid into the context as ourK6User; of a k6 that another
chart or a labelled Job runs, only the caller knows it.
*/}}
{{- define "k6-sweep.k6User" -}}
{{- if not (kindIs "invalid" .Values.cleanup.k6User) -}}
{{- int64 .Values.cleanup.k6User -}}
{{- else -}}
{{- default "" .ourK6User -}}
{{- end -}}
{{- end -}}

{{/*
Uid of the processes of this chart's own k6; empty if it is not in the values, or is root, who may start k6 as another user. Empty, too, if an
extra container may run a k6: the sweep must wait for that one, whatever its user is.
*/}}
{{- define "k6-sweep.ourK6User" -}}
{{- $uid := .Values.k6.podSecurityContext.runAsUser -}}
{{- if not (kindIs "invalid" .Values.k6.securityContext.runAsUser) }}{{ $uid = .Values.k6.securityContext.runAsUser }}{{ end -}}
{{- if not (or (kindIs "invalid" $uid) (contains "k6" (toJson .Values.k6.extraContainers))) -}}
{{- with int64 $uid }}{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Settings of a sidecar: how it waits and reports. Takes a list: context, form. */}}
{{- define "k6-sweep.sidecarEnv" -}}
{{- $context := first . -}}
{{- $cleanup := $context.Values.cleanup -}}
{{- if $cleanup.preserveExisting }}
- name: SWEEP_PRESERVE_EXISTING
  value: /snapshot/keys
{{- end }}
{{- if eq $cleanup.detector "kubernetes" }}
- name: SWEEP_DETECTOR
  value: kubernetes
{{- else }}
{{- with include "k6-sweep.k6User" $context }}
- name: SWEEP_K6_USER
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- if ne $cleanup.when "always" }}
- name: SWEEP_WHEN
  value: {{ $cleanup.when }}
{{- end }}
- name: SWEEP_GRACE_PERIOD
  value: {{ include "k6-sweep.gracePeriod" $context | quote }}
{{- include "k6-sweep.tellingEnv" $context }}
{{- if and (eq (last .) "container") (ne (int $context.Values.k6.backoffLimit) 0) }}
- name: SWEEP_FAILURE_POLICY # otherwise the Job runs the load test again if Redis is unreachable for a moment
  value: ignore
{{- end }}
{{- end -}}

{{/* One container of the test's pod. Takes a dict: context, name, args, and form if it is a sidecar. */}}
{{- define "k6-sweep.podContainer" -}}
{{- include "k6-sweep.ourContext" .context -}}
{{- $more := dict "inTheTestsPod" true "containers" (include "k6-sweep.containerCount" .context | int) -}}
{{- with .form -}}
  {{- $_ := set $more "env" (include "k6-sweep.sidecarEnv" (list $.context .) | trim) -}}
  {{- if eq . "native" }}{{ $_ := set $more "restartPolicy" "Always" }}{{ end -}}
{{- end -}}
{{- include "k6-sweep.anyContainer" (merge $more .) -}}
{{- end -}}

{{/* The sidecar as an init container that keeps running (Kubernetes 1.29 or newer). */}}
{{- define "k6-sweep.nativeSidecar" -}}
{{- include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep" "args" (list "watch" "--native") "form" "native") -}}
{{- end -}}

{{/* The sidecar as an ordinary container; include it before k6's container. */}}
{{- define "k6-sweep.container" -}}
{{- include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep" "args" (list "watch") "form" "container") -}}
{{- end -}}

{{/* The init containers of k6-sweep; include them after all others. */}}
{{- define "k6-sweep.podSpec.initContainers" -}}
{{- $form := include "k6-sweep.form" . -}}
{{- if has $form (list "native" "container") -}}
{{- if .Values.cleanup.preflight.enabled }}
{{ include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep-check" "args" (list "check")) }}
{{- end }}
{{- if .Values.cleanup.preserveExisting }}
{{ include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep-snapshot" "args" (list "snapshot" "--out" "/snapshot/keys")) }}
{{- end }}
{{- if eq $form "native" }}
{{ include "k6-sweep.nativeSidecar" . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The ordinary container of k6-sweep; include it before k6's container. */}}
{{- define "k6-sweep.podSpec.containers" -}}
{{- if eq (include "k6-sweep.form" .) "container" -}}
{{- include "k6-sweep.container" . -}}
{{- end -}}
{{- end -}}

{{/* Sources of the password and certificates; each becomes a file in /etc/k6-sweep. */}}
{{- define "k6-sweep.files" -}}
{{- $redis := .Values.cleanup.redis -}}
{{- with $redis.existingSecret }}
- secret: {name: {{ . | quote }}, items: [{key: {{ $redis.existingSecretPasswordKey | quote }}, path: password}]}
{{- end }}
{{- with $redis.tls.caConfigMap }}
- configMap: {name: {{ . | quote }}, items: [{key: {{ $redis.tls.caKey | quote }}, path: ca.crt}]}
{{- end }}
{{- with $redis.tls.caSecret }}
- secret: {name: {{ . | quote }}, items: [{key: {{ $redis.tls.caKey | quote }}, path: ca.crt}]}
{{- end }}
{{- with $redis.tls.clientSecret }}
- secret: {name: {{ . | quote }}, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
{{- end }}
{{- end -}}

{{/* Volumes of k6-sweep's own pods. */}}
{{- define "k6-sweep.ownVolumes" -}}
{{- with include "k6-sweep.files" . }}
- name: k6-sweep-files
  projected:
    sources:
      {{- . | trim | nindent 6 }}
{{- end }}
{{- with .Values.cleanup.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Volumes that the test's pod needs for k6-sweep. */}}
{{- define "k6-sweep.podSpec.volumes" -}}
{{- if has (include "k6-sweep.form" .) (list "native" "container") -}}
{{- include "k6-sweep.ownVolumes" . }}
{{- if .Values.cleanup.preserveExisting }}
- name: k6-sweep-snapshot
  emptyDir: {}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Fields of the test's pod that k6-sweep needs. */}}
{{- define "k6-sweep.podSpec" -}}
{{- if has (include "k6-sweep.form" .) (list "native" "container") -}}
{{- if eq .Values.cleanup.detector "process" -}}
shareProcessNamespace: true
{{ end -}}
terminationGracePeriodSeconds: {{ include "k6-sweep.gracePeriod" . }}
{{- with include "k6-sweep.serviceAccountName" . }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- if include "k6-sweep.rules" . }}
automountServiceAccountToken: true
{{- end }}
{{- end -}}
{{- end -}}

{{/* Service account, Role and RoleBinding; empty if k6-sweep does not ask the API. */}}
{{- define "k6-sweep.rbac" -}}
{{- $name := include "k6-sweep.besideName" . -}}
{{- $account := include "k6-sweep.serviceAccountName" . -}}
{{- if and .Values.serviceAccount.create $account }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $account | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- include "k6-sweep.labels" (list . "cleanup") | nindent 4 }}
  {{- with merge (dict) .Values.serviceAccount.annotations .Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with include "k6-sweep.rules" . }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "k6-sweep.metadata" (list $ "cleanup" $name) | nindent 2 }}
rules:
  {{- . | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "k6-sweep.metadata" (list $ "cleanup" $name) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name | quote }}
subjects:
  - kind: ServiceAccount
    name: {{ $account | default "default" | quote }}
    namespace: {{ $.Release.Namespace | quote }}
{{- end }}
{{- end -}}

{{/* Spec of one of k6-sweep's own pods, without its container. Takes a list: context, whether the pod asks the API, its own scheduling. */}}
{{- define "k6-sweep.ownPodSpec" -}}
{{- $context := first . -}}
restartPolicy: Never
{{- with include "k6-sweep.serviceAccountName" $context }}
serviceAccountName: {{ . | quote }}
{{- end }}
automountServiceAccountToken: {{ ternary "true" "false" (index . 1) }}
{{- with include "k6-sweep.placement" (list $context (last .)) | trim }}
{{ . }}
{{- end }}
{{- with include "k6-sweep.ownVolumes" $context | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}
