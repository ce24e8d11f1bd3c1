{{/* How the NOTES explain where the counts of a sweep are. */}}

{{/* The command that prints the termination message of each container. Takes a list: namespace, selector of the pods. */}}
{{- define "k6-sweep.countsCommand" -}}
{{- $line := "{.name}{': '}{['state','lastState'].terminated.message}{'\\n'}{end}" -}}
kubectl -n {{ first . }} get pod -l {{ last . }} -o jsonpath="{range .items[*].status['initContainerStatuses','containerStatuses'][*]}{{ $line }}"
{{- end -}}

{{/* What it means if that command prints no counts. Takes a list: context, the Job for kubectl logs; empty if there are many. */}}
{{- define "k6-sweep.aboutCounts" -}}
{{- $context := first . -}}
{{- $cleanup := $context.Values.cleanup -}}
The counts are behind "k6-sweep:". Nothing behind it means that k6-sweep has not ended yet, or that its pod was evicted. The status waiting or
sweeping means that k6-sweep was killed before it could finish. If it was restarted (RESTARTS of kubectl get pod), the last message is
of the run before: after a text such as "could not be located", only this one has the reason. No such line means that the pod is gone, and its message with it: a deletion of the
pod or the Job, a suspend, activeDeadlineSeconds and ttlSecondsAfterFinished remove the pod. The counts are then
{{- if $cleanup.emitEvent }} in an Event, for about an hour, and{{ end }}
in the log, if your cluster collects logs
{{- if $cleanup.pushgatewayUrl }}, and in the metrics{{ end }}.
{{- if not (and $cleanup.emitEvent $cleanup.pushgatewayUrl) }}
To have them in {{ if not $cleanup.emitEvent }}an Event (cleanup.emitEvent){{ end }}{{ if not (or $cleanup.emitEvent $cleanup.pushgatewayUrl) }} or {{ end }}{{ if not $cleanup.pushgatewayUrl }}metrics (cleanup.pushgatewayUrl){{ end }} as well, set this value.
{{- end }}
{{- if or $cleanup.emitEvent (last .) }}
{{ if last . }}
  kubectl -n {{ $context.Release.Namespace }} logs -f {{ last . }} -c k6-sweep
{{- end }}
{{- if $cleanup.emitEvent }}
  kubectl -n {{ $context.Release.Namespace }} get events | grep Sweep
{{- end }}
{{- end }}
{{- end -}}
