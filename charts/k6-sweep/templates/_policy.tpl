{{/*
The label policy: the API server adds the sidecar to a labelled Job when it is created. The container is the one of _cleanup.tpl, written as CEL.
*/}}

{{/* The value of the label k6-sweep/profile. */}}
{{- define "k6-sweep.profile" -}}
{{- default .Release.Name .Values.policy.profile -}}
{{- end -}}

{{/* Name of the policies, which belong to no namespace: it has the release's. */}}
{{- define "k6-sweep.policyName" -}}
{{- printf "k6-sweep-%s-%s" .Release.Namespace (include "k6-sweep.profile" .) -}}
{{- end -}}

{{/* API version of the mutating policy: stable since Kubernetes 1.36. */}}
{{- define "k6-sweep.policyVersion" -}}
admissionregistration.k8s.io/{{ ternary "v1" "v1beta1" (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) }}
{{- end -}}

{{/* Metadata of a policy or its binding. Takes a list: context, name. */}}
{{- define "k6-sweep.policyMetadata" -}}
{{- $context := first . -}}
name: {{ last . | quote }}
labels:
  {{- include "k6-sweep.labels" (list $context "policy") | nindent 2 }}
{{- with $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Which objects a policy is about. */}}
{{- define "k6-sweep.policyMatch" -}}
objectSelector:
  matchLabels: {k6-sweep/profile: {{ include "k6-sweep.profile" . | quote }}}
resourceRules:
  - {apiGroups: [batch], apiVersions: [v1], operations: [CREATE], resources: [jobs]}
{{- end -}}

{{/*
A value as CEL. CEL wants one type for all values of a list or a map, hence dyn(). Strings of the form "\u0000cel:…" are expressions.
*/}}
{{- define "k6-sweep.cel" -}}
{{- if kindIs "map" . -}}
dyn({ {{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not $first }}, {{ end }}{{ $first = false }}{{ $key | toJson }}: {{ include "k6-sweep.cel" $value }}
{{- end -}} })
{{- else if kindIs "slice" . -}}
dyn([ {{- range $number, $value := . }}{{ if $number }}, {{ end }}{{ include "k6-sweep.cel" $value }}{{ end -}} ])
{{- else if and (kindIs "string" .) (hasPrefix "cel:" .) -}}
dyn({{ trimPrefix "cel:" . }})
{{- else if kindIs "string" . -}}
dyn({{ toJson . }})
{{- else if kindIs "bool" . -}}
dyn({{ . }})
{{- else -}}
dyn({{ if eq (floor .) (float64 .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }})
{{- end -}}
{{- end -}}

{{/* One operation that adds a value. Takes a list: path below the Job, the value. */}}
{{- define "k6-sweep.patch" -}}
JSONPatch{op: "add", path: {{ first . | toJson }}, value: {{ include "k6-sweep.cel" (last .) }}}
{{- end -}}

{{/* The init containers for the pod of a labelled Job, as a YAML list; what depends on the Job is an expression. */}}
{{- define "k6-sweep.policyContainers" -}}
{{- $all := list -}}
{{- if .Values.cleanup.preflight.enabled -}}
{{- $all = concat $all (include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep-check" "args" (list "check")) | fromYamlArray) -}}
{{- end -}}
{{- if .Values.cleanup.preserveExisting -}}
{{- $all = concat $all (include "k6-sweep.podContainer" (dict "context" . "name" "k6-sweep-snapshot" "args" (list "snapshot" "--out" "/snapshot/keys")) | fromYamlArray) -}}
{{- end -}}
{{- $all = concat $all (include "k6-sweep.nativeSidecar" . | fromYamlArray) -}}
{{- $replaced := dict "SWEEP_GRACE_PERIOD" "cel:string(variables.gracePeriod)" -}}
{{- if kindIs "invalid" .Values.cleanup.messageLimit -}}
{{- $_ := set $replaced "SWEEP_MESSAGE_LIMIT" "cel:string(variables.messageLimit)" -}}
{{- end -}}
{{- range $all -}}
  {{- range .env -}}
    {{- if and .value (hasKey $replaced .name) -}}{{- $_ := set . "value" (get $replaced .name) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* The volumes for the pod of a labelled Job. */}}
{{- define "k6-sweep.policyVolumes" -}}
{{- include "k6-sweep.ownVolumes" . }}
{{- if .Values.cleanup.preserveExisting }}
- name: k6-sweep-snapshot
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* A glob of a namespace as a regular expression; _mistakes.tpl allows no other special characters in it. */}}
{{- define "k6-sweep.globAsRegex" -}}
^{{ . | replace "[!" "[^" | replace "*" ".*" | replace "?" "." }}$
{{- end -}}

{{/* Whether a container c runs k6, as CEL. */}}
{{- define "k6-sweep.celRunsK6" -}}
(c.name == 'k6' || c.image.matches('{{ include "k6-sweep.k6Image" . }}') || (has(c.command) && c.command.exists(w, w.matches('{{ include "k6-sweep.k6Word" . }}'))))
{{- end -}}

{{/*
What a labelled Job must be, as a YAML list: name, expression, message. The mutating policy leaves other Jobs as they are; the validating one
refuses them. The expressions hold before and after the mutation.
*/}}
{{- define "k6-sweep.policyChecks" -}}
{{- $pod := "object.spec.template.spec" -}}
{{- $user := .Values.cleanup.securityContext.runAsUser -}}
- name: one-pod
  expression: "!has(object.spec.parallelism) || object.spec.parallelism == 1"
  message: "a test in several pods needs one watcher beside it, not a sidecar in each pod: set parallelism to 1, or see docs/kubernetes.md"
- name: no-restart
  expression: >-
    {{ $pod }}.restartPolicy == 'Never' && {{ $pod }}.containers.all(c, !{{ include "k6-sweep.celRunsK6" . }} ||
    ((!has(c.restartPolicy) || c.restartPolicy == 'Never') && !has(c.restartPolicyRules)))
  message: "restartPolicy must be Never, otherwise the kubelet starts k6 again after its end"
- name: no-restart-of-all
  expression: >-
    ({{ $pod }}.containers + (has({{ $pod }}.initContainers) ? {{ $pod }}.initContainers : [])).all(c, !has(c.restartPolicyRules) ||
    c.restartPolicyRules.all(r, r.action != 'RestartAllContainers'))
  message: "a container has a rule that restarts all containers, by which the kubelet starts k6 again: remove it"
- name: a-k6
  expression: {{ printf "%s.containers.exists(c, %s)" $pod (include "k6-sweep.celRunsK6" .) | quote }}
  message: "no container is named k6, has an image named k6, or has a command with k6 in it"
- name: processes-are-shared
  expression: "(!has({{ $pod }}.shareProcessNamespace) || {{ $pod }}.shareProcessNamespace) && (!has({{ $pod }}.hostPID) || !{{ $pod }}.hostPID)"
  message: "k6-sweep must see the processes of this pod, and only those: remove shareProcessNamespace: false and hostPID"
{{- if not (kindIs "invalid" $user) }}
- name: another-user
  expression: >-
    (!has({{ $pod }}.securityContext) || !has({{ $pod }}.securityContext.runAsUser) || {{ $pod }}.securityContext.runAsUser != {{ int64 $user }})
    && {{ $pod }}.containers.all(c, !has(c.securityContext) || !has(c.securityContext.runAsUser) || c.name.startsWith('k6-sweep') ||
    c.securityContext.runAsUser != {{ int64 $user }})
  message: "k6 must not run as user {{ int64 $user }}, k6-sweep's own: it could read k6-sweep's password"
{{- end }}
{{- with .Values.cleanup.guards.allowedNamespaces }}
{{- $globs := list }}
{{- range . }}{{ $globs = append $globs (include "k6-sweep.globAsRegex" .) }}{{ end }}
- name: an-allowed-namespace
  expression: {{ printf "request.namespace.matches(%s)" (join "|" $globs | squote) | quote }}
  message: {{ printf "k6-sweep may not sweep from this namespace: cleanup.guards.allowedNamespaces is %s" (join ", " .) | quote }}
{{- end }}
{{- end -}}
