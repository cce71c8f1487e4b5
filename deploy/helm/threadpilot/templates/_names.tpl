{{/* Each takes (dict "root" $ "service" "vehicle" | "insurance"). */}}

{{- define "threadpilot.name" -}}
{{ printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .service }}
{{- end }}

{{- define "threadpilot.selector" -}}
app.kubernetes.io/name: threadpilot
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "threadpilot.labels" -}}
{{ include "threadpilot.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "threadpilot.image" -}}
{{- $values := index .root.Values .service -}}
{{- $repository := printf "%s/threadpilot-%s" .root.Values.image.registry .service -}}
{{- if $values.image.digest -}}
{{ printf "%s@%s" $repository $values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* The service's prefix of environment variables. */}}
{{- define "threadpilot.prefix" -}}
{{ upper .service }}__
{{- end }}

{{- define "threadpilot.port" -}}
{{ get (dict "vehicle" "5081" "insurance" "5082") .service }}
{{- end }}

{{- define "threadpilot.managementPort" -}}
9090
{{- end }}

{{- define "threadpilot.gracePeriod" -}}
{{- with .Values.stop -}}
{{ add .preStopSeconds .drainSeconds .shutdownSeconds .slackSeconds }}
{{- end -}}
{{- end }}
