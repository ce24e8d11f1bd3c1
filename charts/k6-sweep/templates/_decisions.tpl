{{/* What follows from the values: the patterns, the form of the cleanup, its times, and its permissions. */}}

{{/* "true" if any part of this release sweeps. */}}
{{- define "k6-sweep.sweeps" -}}
{{- if or .Values.cleanup.enabled .Values.cleanupJob.enabled .Values.api.enabled .Values.policy.enabled }}true{{ end -}}
{{- end -}}

{{/* A container runs k6 if it is named so, or if this matches its image or a word of its command: k6-sweep.runsK6, and in CEL k6-sweep.celRunsK6. */}}
{{- define "k6-sweep.k6Image" -}}(^|/)k6([:@].*)?${{- end -}}
{{- define "k6-sweep.k6Word" -}}(^|[/ ;&|])[a-z0-9._-]*k6( |$){{- end -}}

{{/* "true" if a container runs k6. Takes the container. */}}
{{- define "k6-sweep.runsK6" -}}
{{- if or (eq (toString .name) "k6") (regexMatch (include "k6-sweep.k6Image" .) (toString .image)) -}}true
{{- else -}}
{{- range .command }}{{ if regexMatch (include "k6-sweep.k6Word" $) (toString .) }}true{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "k6-sweep.clusterHasNative" -}}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* Patterns of the keys to sweep, as a YAML list: those of the values, or those of the preset. */}}
{{- define "k6-sweep.patterns" -}}
{{- $presets := dict "guide" (list "stream:*" "dedupe:*" "waiting_token:*" "reservation_token:*" "idempotency:*" "ratelimit:*" "queue:*") -}}
{{- toYaml (get $presets .Values.cleanup.preset | default .Values.cleanup.patterns) -}}
{{- end -}}

{{/*
The form of the cleanup: "none", "native" (the last init container), "container" (an ordinary container, before k6), or
"watcher" (a separate Job, for a test in several pods).
*/}}
{{- define "k6-sweep.form" -}}
{{- include "k6-sweep.validate" . -}}
{{- $cleanup := .Values.cleanup -}}
{{- if not $cleanup.enabled -}}none
{{- else if or .Values.testRun.enabled (gt (int .Values.k6.parallelism) 1) -}}watcher
{{- else if or $cleanup.failJob (eq $cleanup.sidecar.mode "container") (not (include "k6-sweep.clusterHasNative" .)) -}}container
{{- else -}}native
{{- end -}}
{{- end -}}

{{/* Grace period of the test's pod in seconds: k6's shutdown, the sweep, a reserve. */}}
{{- define "k6-sweep.gracePeriod" -}}
{{- add .Values.k6.shutdownSeconds .Values.cleanup.timeoutSeconds 10 -}}
{{- end -}}

{{/* Grace period of a pod without k6 in seconds: the sweep, a reserve. */}}
{{- define "k6-sweep.watcherGracePeriod" -}}
{{- add .Values.cleanup.timeoutSeconds 10 -}}
{{- end -}}

{{/*
Maximum bytes of the termination message. Takes a list: context, the pod's number of containers. Kubernetes keeps 4,096 bytes for
one container, and 12,288 for all containers of a pod.
*/}}
{{- define "k6-sweep.messageLimit" -}}
{{- $context := first . -}}
{{- $context.Values.cleanup.messageLimit | default (max 512 (min 4096 (div 12288 (last .)))) | int64 -}}
{{- end -}}

{{/* Number of containers in the test's pod. */}}
{{- define "k6-sweep.containerCount" -}}
{{- $count := add 2 (len .Values.k6.extraInitContainers) (len .Values.k6.extraContainers) -}}
{{- if .Values.cleanup.preflight.enabled }}{{ $count = add1 $count }}{{ end -}}
{{- if .Values.cleanup.preserveExisting }}{{ $count = add1 $count }}{{ end -}}
{{- $count -}}
{{- end -}}

{{/* Rules of the Role; empty if k6-sweep does not ask the API. */}}
{{- define "k6-sweep.rules" -}}
{{- $form := include "k6-sweep.form" . -}}
{{- if eq $form "watcher" }}
{{- if .Values.testRun.enabled }}
- apiGroups: [k6.io]
  resources: [testruns]
{{- else }}
- apiGroups: [batch]
  resources: [jobs]
{{- end }}
  resourceNames: [{{ include "k6-sweep.fullname" . | quote }}]
  verbs: [list, watch]
{{- end }}
{{- if or (eq $form "watcher") (and (ne $form "none") (or (eq .Values.cleanup.detector "kubernetes") (ne .Values.cleanup.when "always"))) }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- if and .Values.cleanup.emitEvent (or (ne $form "none") .Values.cleanupJob.enabled) }}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* "true" if k6-sweep's pods need their own service account. */}}
{{- define "k6-sweep.needsServiceAccount" -}}
{{- if include "k6-sweep.sweeps" . -}}
{{- if or .Values.serviceAccount.annotations (include "k6-sweep.rules" .) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* The account that is not of this chart; empty if there is none. k6's pods have it, too, so that the toggle does not change the test's identity. */}}
{{- define "k6-sweep.existingAccount" -}}
{{- if not .Values.serviceAccount.create }}{{ .Values.serviceAccount.name }}{{ end -}}
{{- end -}}

{{/* Service account of k6-sweep's pods; empty for the namespace's default. */}}
{{- define "k6-sweep.serviceAccountName" -}}
{{- if not .Values.serviceAccount.create -}}
{{- include "k6-sweep.existingAccount" . -}}
{{- else if include "k6-sweep.needsServiceAccount" . -}}
{{- default (include "k6-sweep.besideName" .) .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
