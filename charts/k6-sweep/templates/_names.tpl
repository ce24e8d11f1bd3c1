{{/* Names, labels and images. */}}

{{- define "k6-sweep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 43 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the k6 Job; 43 characters leave room for "-cleanup" in a CronJob's name, and for a pod's random suffix. */}}
{{- define "k6-sweep.fullname" -}}
{{- $name := include "k6-sweep.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 43 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of the watcher, the service account and the Role. */}}
{{- define "k6-sweep.besideName" -}}
{{- include "k6-sweep.fullname" . }}-sweep
{{- end -}}

{{/* Labels that select a component's pods. Takes a list: context, component. */}}
{{- define "k6-sweep.selectorLabels" -}}
{{- $context := first . -}}
app.kubernetes.io/name: {{ include "k6-sweep.name" $context | quote }}
app.kubernetes.io/instance: {{ $context.Release.Name | quote }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Labels of a component's resources. Takes a list: context, component. */}}
{{- define "k6-sweep.labels" -}}
{{- $context := first . -}}
{{ include "k6-sweep.selectorLabels" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A resource's metadata. Takes a list: context, component, name. */}}
{{- define "k6-sweep.metadata" -}}
{{- $context := first . -}}
name: {{ last . | quote }}
namespace: {{ $context.Release.Namespace | quote }}
labels:
  {{- include "k6-sweep.labels" (list $context (index . 1)) | nindent 2 }}
{{- with $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A pod's metadata. Takes a list: context, component. */}}
{{- define "k6-sweep.podMetadata" -}}
{{- $context := first . -}}
labels:
  {{- $labels := include "k6-sweep.labels" . | fromYaml }}
  {{- toYaml (merge (dict) (include "k6-sweep.selectorLabels" . | fromYaml) $context.Values.podLabels $labels) | nindent 2 }}
{{- with merge (dict) $context.Values.podAnnotations $context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run, and the Secrets for pulling its images. Takes a list: context, the component's own scheduling. */}}
{{- define "k6-sweep.placement" -}}
{{- $values := (first .).Values -}}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with ternary (get (last $) $field) (get $values $field) (hasKey (last $) $field) }}
{{ toYaml (dict $field .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Full name of an image. Takes the image's values, which must contain a tag. */}}
{{- define "k6-sweep.imageName" -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{- define "k6-sweep.image" -}}
{{- include "k6-sweep.imageName" (merge (dict "tag" (default .Chart.AppVersion .Values.image.tag)) .Values.image) -}}
{{- end -}}
