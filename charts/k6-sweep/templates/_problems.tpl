{{/* Refuses values that contradict each other. */}}

{{/* Fails if "." is not the context of this chart. */}}
{{- define "k6-sweep.ourContext" -}}
{{- if not (and . .Values .Values.cleanupJob) -}}
{{- fail "a template of k6-sweep needs the context of this chart: pass it index .Subcharts with the name of the dependency, or with its alias if it has one" -}}
{{- end -}}
{{- end -}}

{{/* Fails with all problems of the values that the schema cannot find. */}}
{{- define "k6-sweep.validate" -}}
{{- include "k6-sweep.ourContext" . -}}
{{- $cleanup := .Values.cleanup -}}
{{- $distributed := or .Values.testRun.enabled (gt (int .Values.k6.parallelism) 1) -}}
{{- $problems := include "k6-sweep.mistakes" . | fromYamlArray -}}
{{- if and (include "k6-sweep.sweeps" .) (not .Values.image.registry) -}}
  {{- $problems = append $problems (printf "image.registry is empty, and no image of k6-sweep is published: build one in a checkout with docker build -t REGISTRY/%s:%s . (or buildah bud), push it to your registry, and set image.registry to REGISTRY" .Values.image.repository .Chart.AppVersion) -}}
{{- end -}}
{{- range $name, $registry := dict "image.registry" .Values.image.registry "k6.image.registry" .Values.k6.image.registry -}}
  {{- if regexMatch "://|/$" $registry -}}
    {{- $problems = append $problems (printf "%s is %q, but the name of an image has no scheme, and the chart adds the slash after the registry: write it as HOST, HOST:PORT or HOST/PATH" $name $registry) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.api.enabled (not (regexMatch "^[a-z][-a-z0-9]*$" (include "k6-sweep.apiName" .))) -}}
  {{- $problems = append $problems (printf "the endpoint's Service would have the name %s, but it must begin with a letter, and have only lower-case letters, digits and -: set fullnameOverride to such a name" (include "k6-sweep.apiName" .)) -}}
{{- end -}}
{{- if and .Values.cleanupJob.enabled (not .Values.cleanupJob.schedule) .Values.k6.enabled -}}
  {{- $problems = append $problems "cleanupJob.enabled without cleanupJob.schedule sweeps at once, while the test of the same release runs: set cleanup.enabled instead, or set k6.enabled to false" -}}
{{- end -}}
{{- range $name, $enabled := dict "cleanupJob" .Values.cleanupJob.enabled "api" .Values.api.enabled -}}
  {{- if and $enabled $cleanup.preserveExisting -}}
    {{- $problems = append $problems (printf "%s has no snapshot, so it would delete the keys that cleanup.preserveExisting spares: set only one of %s.enabled and cleanup.preserveExisting" $name $name) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.serviceAccount.annotations (not .Values.serviceAccount.create) -}}
  {{- $problems = append $problems "serviceAccount.annotations has no account to annotate: set serviceAccount.create to true, or annotate the existing account yourself" -}}
{{- end -}}
{{- range concat .Values.k6.extraInitContainers .Values.k6.extraContainers -}}
  {{- $mayRestartK6 := and (include "k6-sweep.runsK6" .) (or (has .restartPolicy (list "Always" "OnFailure")) .restartPolicyRules) -}}
  {{- if and $cleanup.enabled (or $mayRestartK6 (contains "RestartAllContainers" (toJson .restartPolicyRules))) -}}
    {{- $problems = append $problems (printf "container %s has a restartPolicy or restartPolicyRules of its own, by which the kubelet starts a k6 again after its end: remove them" .name) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.api.serviceMonitor.enabled (not .Values.api.enabled) -}}
  {{- $problems = append $problems "api.serviceMonitor.enabled has nothing to scrape, because api.enabled is false: set both to true, or both to false" -}}
{{- end -}}
{{- if and .Values.k6.enabled .Values.k6.script .Values.k6.existingConfigMap -}}
  {{- $problems = append $problems "k6.script and k6.existingConfigMap both bring the script of the test: set only one of them" -}}
{{- end -}}
{{- if and .Values.k6.enabled (not .Values.testRun.enabled) (not (or .Values.k6.script .Values.k6.existingConfigMap .Values.k6.command)) -}}
  {{- $problems = append $problems "there is no test to run: set k6.script, k6.existingConfigMap or k6.command; to run no test, set k6.enabled to false" -}}
{{- end -}}
{{- if and .Values.api.enabled (not .Values.api.existingSecret) -}}
  {{- $problems = append $problems "the endpoint has no token, so everybody could call it: set api.existingSecret to the name of the Secret that holds the token" -}}
{{- end -}}
{{- range $name, $enabled := dict "ingress" .Values.api.ingress.enabled "httpRoute" .Values.api.httpRoute.enabled -}}
  {{- if and $enabled (not $.Values.api.enabled) -}}
    {{- $problems = append $problems (printf "api.%s.enabled leads to no endpoint, because api.enabled is false: set both to true, or both to false" $name) -}}
  {{- end -}}
{{- end -}}
{{- $clients := dict "the controller of api.ingress" .Values.api.ingress.enabled "the controller of api.httpRoute" .Values.api.httpRoute.enabled "the Prometheus of api.serviceMonitor" .Values.api.serviceMonitor.enabled -}}
{{- range $client, $enabled := $clients -}}
  {{- if and $enabled $.Values.api.networkPolicy.enabled (not $.Values.api.networkPolicy.namespaces) -}}
    {{- $problems = append $problems (printf "the endpoint's network policy does not admit %s: add its namespace to api.networkPolicy.namespaces, or set api.networkPolicy.enabled to false" $client) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
  {{- $problems = append $problems "api.ingress would take the requests for every host: set api.ingress.host" -}}
{{- end -}}
{{- if and .Values.api.httpRoute.enabled (not (and .Values.api.httpRoute.parentRefs .Values.api.httpRoute.hostnames)) -}}
  {{- $problems = append $problems "api.httpRoute needs a Gateway and a host: set api.httpRoute.parentRefs and api.httpRoute.hostnames" -}}
{{- end -}}
{{- if and .Values.testRun.enabled .Values.k6.command -}}
  {{- $problems = append $problems "a TestRun cannot use k6.command: set k6.args instead" -}}
{{- end -}}
{{- range $name := list "activeDeadlineSeconds" "backoffLimit" "extraContainers" -}}
  {{- if and $.Values.testRun.enabled (get $.Values.k6 $name) -}}
    {{- $problems = append $problems (printf "a TestRun has no field for k6.%s: remove it, or set testRun.enabled to false" $name) -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.testRun.enabled (regexMatch "\\s" (join "" .Values.k6.args)) -}}
  {{- $problems = append $problems "k6.args has an argument with a space in it, but a TestRun has one text for all arguments: use an environment variable (k6.env) instead" -}}
{{- end -}}
{{- if and $cleanup.enabled (not .Values.k6.enabled) .Chart.IsRoot -}}
  {{- $problems = append $problems "cleanup.enabled sweeps after the test of this release, but k6.enabled is false: set k6.enabled to true, or set cleanupJob.enabled instead of cleanup.enabled" -}}
{{- end -}}
{{- if and $cleanup.enabled (not .Values.k6.enabled) (not .Chart.IsRoot) $distributed -}}
  {{- $problems = append $problems "k6.parallelism above 1 or testRun.enabled needs a watcher, but this chart does not know the name of the parent chart's Job: run k6-sweep watch --target in a Job of your own" -}}
{{- end -}}
{{- if .Values.policy.enabled -}}
  {{- if not (semverCompare ">=1.34.0-0" .Capabilities.KubeVersion.Version) -}}
    {{- $problems = append $problems (printf "policy.enabled needs Kubernetes 1.34 or newer, but the cluster has %s: use k6-sweep inject, or cleanup.enabled" .Capabilities.KubeVersion.Version) -}}
  {{- end -}}
  {{- if or (ne $cleanup.detector "process") (ne $cleanup.when "always") $cleanup.emitEvent -}}
    {{- $problems = append $problems "policy.enabled gives no Job a service account, which cleanup.emitEvent, cleanup.when and cleanup.detector kubernetes need: leave these at their defaults" -}}
  {{- end -}}
  {{- if or $cleanup.failJob (eq $cleanup.sidecar.mode "container") -}}
    {{- $problems = append $problems "policy.enabled adds a native sidecar: leave cleanup.failJob and cleanup.sidecar.mode at their defaults" -}}
  {{- end -}}
{{- end -}}
{{- if $cleanup.enabled -}}
  {{- if $distributed -}}
    {{- range $name, $enabled := dict "preserveExisting" $cleanup.preserveExisting "preflight.enabled" $cleanup.preflight.enabled "failJob" $cleanup.failJob -}}
      {{- if $enabled -}}
        {{- $problems = append $problems (printf "cleanup.%s needs a sidecar, but a test in several pods has a watcher: remove cleanup.%s, or set k6.parallelism to 1 and testRun.enabled to false" $name $name) -}}
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
    {{- $problems = append $problems (printf "cleanup.sidecar.mode native needs Kubernetes 1.29 or newer, but the cluster has %s: set it to auto or container" .Capabilities.KubeVersion.Version) -}}
  {{- end -}}
  {{- $theirs := coalesce .Values.k6.securityContext.runAsUser .Values.k6.podSecurityContext.runAsUser -}}
  {{- if and (not $distributed) (eq $cleanup.detector "process") $theirs (eq (toString $theirs) (toString $cleanup.securityContext.runAsUser)) -}}
    {{- $problems = append $problems "k6's runAsUser (k6.securityContext or k6.podSecurityContext) and cleanup.securityContext.runAsUser must differ, because in a shared process namespace, containers of the same user can read each other's secrets: set one of them to another user" -}}
  {{- end -}}
{{- end -}}
{{- if $problems -}}
  {{- fail (printf "these values cannot be used:\n- %s" (join "\n- " $problems)) -}}
{{- end -}}
{{- end -}}
