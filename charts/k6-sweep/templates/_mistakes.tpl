{{/* Finds mistakes in the texts that choose and protect: the address, the patterns, the guards. Helm's messages about a schema's pattern do not explain them. */}}

{{/* Mistakes in the values, as a YAML list of sentences. */}}
{{- define "k6-sweep.mistakes" -}}
{{- $cleanup := .Values.cleanup -}}
{{- $sweeps := include "k6-sweep.sweeps" . -}}
{{- $problems := list -}}
{{- $host := "([\\pL\\pN_.-]+|\\[[0-9A-Fa-f:.]+(%[\\pL\\pN_.-]+)?\\])(:[0-9]+)?" -}}
{{- $node := printf "rediss?://%s(/[0-9]+)?" $host -}}
{{- $sentinels := printf "rediss?\\+sentinel://%s(,%s)*/[^/?#\\s]+(/[0-9]+)?" $host $host -}}
{{- $url := $cleanup.redis.url -}}
{{- if and $sweeps (not $url) -}}
  {{- $problems = append $problems "the address of Redis is missing: set cleanup.redis.url to redis://HOST:PORT, or to rediss://HOST:PORT for TLS" -}}
{{- else if contains "@" $url -}}
  {{- $problems = append $problems "cleanup.redis.url contains a login, which everybody who can read the Job would see: set cleanup.redis.username and cleanup.redis.existingSecret, and remove the text before the @" -}}
{{- else if and $url (not (regexMatch (printf "^(%s|%s|unix:///[^?#\\s]+)$" $node $sentinels) $url)) -}}
  {{- $problems = append $problems "cleanup.redis.url is not an address of Redis: write it as redis://HOST:PORT, rediss://HOST:PORT (TLS), redis+sentinel://HOST:PORT,HOST:PORT/MASTER or unix:///PATH; a database number may follow after a slash" -}}
{{- end -}}
{{- if and $cleanup.pushgatewayUrl (not (regexMatch "^https?://[^@\\s]+$" $cleanup.pushgatewayUrl)) -}}
  {{- $problems = append $problems "cleanup.pushgatewayUrl is not the address of a Pushgateway: write it as http://HOST:PORT or https://HOST, without a login" -}}
{{- end -}}
{{- if and $sweeps (not $cleanup.patterns) (not $cleanup.preset) -}}
  {{- $problems = append $problems "the patterns of the test's keys are missing, because k6-sweep does not guess what is test data: set cleanup.patterns; or set cleanup.preset to guide for the seven patterns that the chart's README lists" -}}
{{- end -}}
{{- if and $cleanup.patterns $cleanup.preset -}}
  {{- $problems = append $problems (printf "cleanup.patterns and cleanup.preset (%s) both name what to sweep: set only one of them" $cleanup.preset) -}}
{{- end -}}
{{- range $name := list "patterns" "keep" -}}
  {{- range get $cleanup $name -}}
    {{- if not (regexMatch "^[^\\s]([^\\n]*[^\\s])?$" .) -}}
      {{- $problems = append $problems (printf "cleanup.%s has an entry that is empty or has a blank at an end, %q: correct it" $name .) -}}
    {{- else if contains "," . -}}
      {{- $problems = append $problems (printf "cleanup.%s has a comma in %q, but a comma separates patterns: give each pattern its own entry; for a comma in a key, write ?" $name .) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $cleanup.patterns -}}
  {{- if and (not $cleanup.allowBroadPatterns) (regexMatch "^([^*?\\[\\\\]{0,2})([*?\\[\\\\]|$)" .) -}}
    {{- $problems = append $problems (printf "the pattern %q has fewer than three literal leading characters, so it could match keys that are not test data: make it longer, or set cleanup.allowBroadPatterns to true" .) -}}
  {{- end -}}
{{- end -}}
{{- range $cleanup.keep -}}
  {{- if regexMatch "[\"'`;]|\\S\\s+\\S|^[\\^!#]|\\$$|\\$[A-Za-z({]|\\{\\{|\\\\$|[^\\w)\\]*?]\\.\\*" . -}}
    {{- $problems = append $problems (printf "cleanup.keep has an entry that is probably not meant so, %q: write a pattern without quotes, blanks, separators, regular expressions and unreplaced names; for such a character in a key, write ?" .) -}}
  {{- end -}}
{{- end -}}
{{- $variables := include "k6-sweep.variables" . | fromYamlArray -}}
{{- range $cleanup.extraEnv -}}
  {{- if and (regexMatch "(?i)^(K6_)?SWEEP_" (toString .name)) (not (has .name $variables)) -}}
    {{- $problems = append $problems (printf "cleanup.extraEnv has %s, which k6-sweep does not know and would refuse while k6 runs: docs/settings.md lists its variables" .name) -}}
  {{- end -}}
{{- end -}}
{{- include "k6-sweep.guardMistakes" . | fromYamlArray | concat $problems | toYaml -}}
{{- end -}}

{{/* Mistakes in the guards, as a YAML list of sentences. */}}
{{- define "k6-sweep.guardMistakes" -}}
{{- $cleanup := .Values.cleanup -}}
{{- $guards := $cleanup.guards -}}
{{- $problems := list -}}
{{- $hasSnapshot := and $cleanup.preserveExisting (not .Values.cleanupJob.enabled) (not .Values.api.enabled) -}}
{{- $hasGuard := or $guards.allowedNamespaces $guards.requireMarker $guards.maxKeys $guards.none $hasSnapshot -}}
{{- if and (include "k6-sweep.sweeps" .) (not $hasGuard) -}}
  {{- $problems = append $problems "a guard is missing, which keeps k6-sweep away from data that is not the test's: set allowedNamespaces, requireMarker or maxKeys in cleanup.guards, or cleanup.preserveExisting (with a sidecar); to sweep without a guard, set cleanup.guards.none to true" -}}
{{- end -}}
{{- if and $guards.requireMarker (not (regexMatch "^[^\\s\"'`$]([^\"'`]*[^\\s\"'`])?$" $guards.requireMarker)) -}}
  {{- $problems = append $problems (printf "cleanup.guards.requireMarker is not the name of a key, %q: remove quotes, a leading $, and blanks at the ends" $guards.requireMarker) -}}
{{- end -}}
{{- $wrong := false -}}
{{- range $guards.allowedNamespaces -}}
  {{- if not (regexMatch "^([-a-z0-9*?]|\\[!?[-a-z0-9]+\\])+$" .) -}}
    {{- $wrong = true -}}
    {{- $problems = append $problems (printf "cleanup.guards.allowedNamespaces has %q, which no namespace can match: write a name or a glob such as load-*, with lower-case letters, digits and -" .) -}}
  {{- end -}}
{{- end -}}
{{- $sweepsHere := or $cleanup.enabled .Values.cleanupJob.enabled .Values.api.enabled -}}
{{- if and $sweepsHere $guards.allowedNamespaces (not $wrong) (not (include "k6-sweep.namespaceMayBeAllowed" .)) -}}
  {{- $problems = append $problems (printf "the release is for the namespace %s, but cleanup.guards.allowedNamespaces allows only %s: install it into such a namespace (-n), or correct the list" .Release.Namespace (join ", " $guards.allowedNamespaces)) -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end -}}

{{/* "true" if the release's namespace matches a guard's glob, or if only k6-sweep itself can match one: a range in a class, such as [a-k]. */}}
{{- define "k6-sweep.namespaceMayBeAllowed" -}}
{{- range .Values.cleanup.guards.allowedNamespaces -}}
{{- if regexMatch "\\[[^\\]]*-" . }}true{{ else if regexMatch (include "k6-sweep.globAsRegex" .) $.Release.Namespace }}true{{ end -}}
{{- end -}}
{{- end -}}
