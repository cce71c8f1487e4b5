{{/* Each takes (dict "root" $ "service" "vehicle" | "insurance"). */}}

{{- define "threadpilot.database" -}}
{{ mergeOverwrite (deepCopy .root.Values.database) (index .root.Values .service "database") | toJson }}
{{- end }}

{{- define "threadpilot.databaseUrl" -}}
{{- $database := include "threadpilot.database" . | fromJson -}}
{{- $url := printf "postgres://%s:%d/%s?sslmode=%s" (required "database.host: say where PostgreSQL is" $database.host) (int $database.port) $database.name $database.sslMode -}}
{{- if $database.caSecret.name -}}
{{- $url = printf "%s&sslrootcert=/etc/threadpilot/database-ca/%s" $url $database.caSecret.key -}}
{{- end -}}
{{ $url }}
{{- end }}

{{/* The service's whole settings: the values' and those that the chart sets. */}}
{{- define "threadpilot.settings" -}}
{{- $settings := dict
  "server" (dict
    "address" "0.0.0.0"
    "port" (include "threadpilot.port" . | int)
    "drain_delay" (printf "%ds" (int .root.Values.stop.drainSeconds))
    "shutdown_timeout" (printf "%ds" (int .root.Values.stop.shutdownSeconds)))
  "management" (dict "port" (include "threadpilot.managementPort" . | int))
  "database" (dict "url" (include "threadpilot.databaseUrl" .))
-}}
{{- with .root.Values.nats -}}
{{- if .url -}}
{{- $_ := set $settings "relay" (dict "replicas" (int .replicas) "nats" (dict "url" .url)) -}}
{{- end -}}
{{- end -}}
{{- if eq .service "insurance" -}}
{{- $client := dict
  "max_degree_of_parallelism_single" (include "threadpilot.cap" (dict "root" .root "kind" "single") | int)
  "max_degree_of_parallelism_batch" (include "threadpilot.cap" (dict "root" .root "kind" "batch") | int)
-}}
{{- $vehicle := dict "root" .root "service" "vehicle" -}}
{{- if .root.Values.vehicle.enabled -}}
{{- $_ := set $client "base_url" (printf "http://%s.%s.svc:%s" (include "threadpilot.name" $vehicle) .root.Release.Namespace (include "threadpilot.port" $vehicle)) -}}
{{- else if .root.Values.vehicle.caSecret.name -}}
{{- $_ := set $client "ca_certificate" (printf "/etc/threadpilot/vehicle-ca/%s" .root.Values.vehicle.caSecret.key) -}}
{{- end -}}
{{- $_ := set $settings "vehicle_client" $client -}}
{{- end -}}
{{ mergeOverwrite (deepCopy (index .root.Values .service "settings")) $settings | toJson }}
{{- end }}

{{/* The settings' file, in a ConfigMap. */}}
{{- define "threadpilot.configMap" -}}
config.toml: |
  {{- include "threadpilot.toml" (dict "path" list "tree" (include "threadpilot.settings" . | fromJson)) | trim | nindent 2 }}
{{- end }}

{{/* A tree of settings as TOML, a line for each: `server.port = 5081`. */}}
{{- define "threadpilot.toml" -}}
{{- $path := .path -}}
{{- range $name, $value := .tree }}
{{- if kindIs "map" $value }}
{{- include "threadpilot.toml" (dict "path" (append $path $name) "tree" $value) }}
{{- else }}
{{ join "." (append $path $name) }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* What only takes effect at a start: the settings without those that a service re-reads. */}}
{{- define "threadpilot.startSettings" -}}
{{- $settings := omit (include "threadpilot.settings" . | fromJson) "feature_toggles" "personal_identity_number" -}}
{{- if $settings.enrichment -}}
{{- $_ := set $settings "enrichment" (omit $settings.enrichment "strategy") -}}
{{- end -}}
{{ $settings | toJson }}
{{- end }}
