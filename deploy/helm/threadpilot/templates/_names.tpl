{{/* The services of this release, with a blank between. */}}
{{- define "threadpilot.services" -}}
{{ ternary "vehicle " "" .Values.vehicle.enabled }}insurance
{{- end }}

{{/* Each of these takes (dict "root" $ "service" "vehicle" | "insurance"). */}}

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
{{- $repository := $values.image.repository -}}
{{- if not $repository -}}
{{- $registry := required "image.registry: say where the images are, or give each service an image.repository" .root.Values.image.registry -}}
{{- $repository = printf "%s/%s-service" $registry .service -}}
{{- end -}}
{{- if $values.image.digest -}}
{{ printf "%s@%s" $repository $values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{- define "threadpilot.port" -}}
{{ get (dict "vehicle" "5081" "insurance" "5082") .service }}
{{- end }}

{{/* Where Vehicle listens, from $: here, or by the URL of one that is elsewhere. */}}
{{- define "threadpilot.vehiclePort" -}}
{{- if .Values.vehicle.enabled -}}
{{ include "threadpilot.port" (dict "service" "vehicle") }}
{{- else -}}
{{ regexFind ":[0-9]+$" (urlParse .Values.insurance.settings.vehicle_client.base_url).host | trimPrefix ":" | default "443" }}
{{- end -}}
{{- end }}

{{- define "threadpilot.managementPort" -}}
9090
{{- end }}

{{- define "threadpilot.gracePeriod" -}}
{{- with .Values.stop -}}
{{ add .preStopSeconds .drainSeconds .shutdownSeconds .slackSeconds }}
{{- end -}}
{{- end }}
