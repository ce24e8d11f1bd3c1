{{/* What the values come to: the form of the cleanup, its times, and what it must be allowed. */}}

{{/* Whether anything here sweeps. */}}
{{- define "k6-sweep.sweeps" -}}
{{- if or .Values.cleanup.enabled .Values.cleanupJob.enabled .Values.api.enabled }}true{{ end -}}
{{- end -}}

{{- define "k6-sweep.clusterHasNative" -}}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end -}}

{{/* Fails with everything that speaks against the values, and that a schema can't know. */}}
{{- define "k6-sweep.validate" -}}
{{- $cleanup := .Values.cleanup -}}
{{- $distributed := or .Values.testRun.enabled (gt (int .Values.k6.parallelism) 1) -}}
{{- $problems := list -}}
{{- if and .Values.cleanupJob.enabled (not .Values.cleanupJob.schedule) .Values.k6.enabled -}}
  {{- $problems = append $problems "cleanupJob.enabled without a schedule sweeps at once, while the test of the same release runs: use cleanup.enabled for it, or set k6.enabled to false" -}}
{{- end -}}
{{- range $name, $enabled := dict "cleanupJob" .Values.cleanupJob.enabled "api" .Values.api.enabled -}}
  {{- if and $enabled $cleanup.preserveExisting -}}
    {{- $problems = append $problems (printf "%s has no snapshot, and would delete what cleanup.preserveExisting spares: leave out one of them" $name) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.api.serviceMonitor.enabled (not .Values.api.enabled) -}}
  {{- $problems = append $problems "api.serviceMonitor.enabled has nothing to scrape: set api.enabled, too" -}}
{{- end -}}
{{- if and .Values.testRun.enabled .Values.k6.command -}}
  {{- $problems = append $problems "k6.command has no place in a TestRun: use k6.args" -}}
{{- end -}}
{{- if and .Values.testRun.enabled (regexMatch "\\s" (join "" .Values.k6.args)) -}}
  {{- $problems = append $problems "an argument of k6 with a blank in it can't be handed on to a TestRun, which has one text for all: use an environment variable" -}}
{{- end -}}
{{- if and $cleanup.enabled (not .Values.k6.enabled) .Chart.IsRoot -}}
  {{- $problems = append $problems "cleanup.enabled is for the test of this release, and k6.enabled is false: enable k6, or cleanupJob in place of cleanup" -}}
{{- end -}}
{{- if and $cleanup.enabled (not .Values.k6.enabled) (not .Chart.IsRoot) $distributed -}}
  {{- $problems = append $problems "k6.parallelism above 1 makes a watcher, which can't know the Job of a parent chart: use k6-sweep watch --target in a Job of your own" -}}
{{- end -}}
{{- if $cleanup.enabled -}}
  {{- if $distributed -}}
    {{- range $name, $wanted := dict "preserveExisting" $cleanup.preserveExisting "preflight.enabled" $cleanup.preflight.enabled "failJob" $cleanup.failJob -}}
      {{- if $wanted -}}
        {{- $problems = append $problems (printf "cleanup.%s needs a sidecar, and a test in several pods has a watcher: leave it out, or set k6.parallelism to 1" $name) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if and $cleanup.failJob (ne (int .Values.k6.backoffLimit) 0) -}}
    {{- $problems = append $problems (printf "cleanup.failJob with k6.backoffLimit %d would run the load test again after a failed sweep: set k6.backoffLimit to 0" (int .Values.k6.backoffLimit)) -}}
  {{- end -}}
  {{- if and $cleanup.failJob (eq $cleanup.sidecar.mode "native") -}}
    {{- $problems = append $problems "cleanup.failJob needs the ordinary container, because a Job ignores a native sidecar's exit code: set cleanup.sidecar.mode to auto or container" -}}
  {{- end -}}
  {{- if and (eq $cleanup.sidecar.mode "native") (not (include "k6-sweep.clusterHasNative" .)) -}}
    {{- $problems = append $problems (printf "cleanup.sidecar.mode native needs Kubernetes 1.29 or newer, not %s: set it to auto or container" .Capabilities.KubeVersion.Version) -}}
  {{- end -}}
  {{- $theirs := coalesce .Values.k6.securityContext.runAsUser .Values.k6.podSecurityContext.runAsUser -}}
  {{- if and (not $distributed) (eq $cleanup.detector "process") $theirs (eq (toString $theirs) (toString $cleanup.securityContext.runAsUser)) -}}
    {{- $problems = append $problems "k6's runAsUser and cleanup.securityContext.runAsUser must differ: containers of one user can read each other's secrets in a shared process namespace" -}}
  {{- end -}}
{{- end -}}
{{- if $problems -}}
  {{- fail (printf "these values cannot be used: %s" (join "; " $problems)) -}}
{{- end -}}
{{- end -}}

{{/*
How the test is cleaned up after: "none", "native" (the last init container), "container" (an ordinary one, before k6), or
"watcher" (a Job of its own, for a test in several pods).
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

{{/* Seconds that SIGTERM leaves: k6's shutdown, the sweep, a reserve. */}}
{{- define "k6-sweep.gracePeriod" -}}
{{- add .Values.k6.shutdownSeconds .Values.cleanup.timeoutSeconds 10 -}}
{{- end -}}

{{/* The same for a pod without k6. */}}
{{- define "k6-sweep.watcherGracePeriod" -}}
{{- add .Values.cleanup.timeoutSeconds 10 -}}
{{- end -}}

{{/* The termination message's limit where a pod has so many containers: Kubernetes keeps 4,096 bytes of one, 12,288 of all. */}}
{{- define "k6-sweep.messageLimit" -}}
{{- $context := first . -}}
{{- $context.Values.cleanup.messageLimit | default (max 512 (min 4096 (div 12288 (last .)))) | int64 -}}
{{- end -}}

{{/* How many containers the test's pod has. */}}
{{- define "k6-sweep.containerCount" -}}
{{- $count := add 2 (len .Values.k6.extraInitContainers) (len .Values.k6.extraContainers) -}}
{{- if .Values.cleanup.preflight.enabled }}{{ $count = add1 $count }}{{ end -}}
{{- if .Values.cleanup.preserveExisting }}{{ $count = add1 $count }}{{ end -}}
{{- $count -}}
{{- end -}}

{{/* The rules of the Role, for what is asked of the API; nothing where nothing is. */}}
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

{{/* Whether a service account of its own is of use. */}}
{{- define "k6-sweep.needsServiceAccount" -}}
{{- if include "k6-sweep.sweeps" . -}}
{{- if or .Values.serviceAccount.annotations (include "k6-sweep.rules" .) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* The service account of k6-sweep's pods; nothing where the namespace's default will do. */}}
{{- define "k6-sweep.serviceAccountName" -}}
{{- if not .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name -}}
{{- else if include "k6-sweep.needsServiceAccount" . -}}
{{- default (include "k6-sweep.besideName" .) .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
