{{/*
How many pods of Insurance can run at once: the most replicas, those that a rolling update adds,
and those that it has just replaced and that still drain. There are as many of these as it adds,
because minReadySeconds is the grace period: no step begins before the last one's pods are gone.
*/}}
{{- define "threadpilot.insurancePods" -}}
{{- with .Values.insurance -}}
{{ add (ternary .autoscaling.maxReplicas .replicas .autoscaling.enabled) (mul 2 .maxSurge) }}
{{- end -}}
{{- end }}

{{/*
The cap of one process, from (dict "root" $ "kind" "single" | "batch"): the capacity of the legacy
system divided by the pods. Fails where the fleet could exceed the capacity.
*/}}
{{- define "threadpilot.cap" -}}
{{- $pods := include "threadpilot.insurancePods" .root | int -}}
{{- $stated := printf "legacy.capacity.%sCalls" .kind -}}
{{- $capacity := get .root.Values.legacy.capacity (printf "%sCalls" .kind) | int -}}
{{- $name := printf "max_degree_of_parallelism_%s" .kind -}}
{{- $explicit := dig "vehicle_client" $name 0 .root.Values.insurance.settings | int -}}
{{- if lt $capacity $pods -}}
{{- fail (printf "%s = %d is less than the %d pods of Insurance that can run at once, and each makes at least one call: lower the replicas or state more" $stated $capacity $pods) -}}
{{- end -}}
{{- if gt (mul $explicit $pods) $capacity -}}
{{- fail (printf "insurance.settings.vehicle_client.%s = %d in %d pods of Insurance is a fleet of %d calls, more than %s = %d; at most %d fits" $name $explicit $pods (mul $explicit $pods) $stated $capacity (div $capacity $pods)) -}}
{{- end -}}
{{ $explicit | default (min 1000 (div $capacity $pods)) }}
{{- end }}
