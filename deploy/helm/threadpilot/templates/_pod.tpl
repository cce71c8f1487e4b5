{{/* Each takes (dict "root" $ "service" "vehicle" | "insurance"). */}}

{{- define "threadpilot.podDefaults" -}}
serviceAccountName: {{ .root.Values.serviceAccountName }}
automountServiceAccountToken: false
# Kubernetes' own VEHICLE_… variables are not wanted beside the settings'.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index .root.Values .service "affinity" }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "threadpilot.containerDefaults" -}}
image: {{ include "threadpilot.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml (index .root.Values .service "resources") | nindent 2 }}
volumeMounts:
  # Whole folders: a mount by subPath never sees a change.
  {{- range $folder := include "threadpilot.folders" . | fromJsonArray }}
  - name: {{ $folder.name }}
    mountPath: /etc/threadpilot/{{ $folder.name }}
    readOnly: true
  {{- end }}
{{- end }}

{{/* The options before a command, and the command. */}}
{{- define "threadpilot.args" -}}
args:
  - --config=/etc/threadpilot/config/config.toml
  - --secrets=/etc/threadpilot/secrets/secrets.json
  - {{ .command }}
{{- end }}

{{/* A password from (dict … "setting" "PASSWORD" "secret" reference), where there is one, and the values' own variables. */}}
{{- define "threadpilot.env" -}}
{{- $extra := index .root.Values .service "extraEnv" -}}
{{- if or .secret.name $extra -}}
env:
  {{- if .secret.name }}
  - name: {{ upper .service }}__DATABASE__{{ .setting }}
    valueFrom:
      secretKeyRef:
        name: {{ .secret.name }}
        key: {{ .secret.key }}
  {{- end }}
  {{- with $extra }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What is mounted besides the settings' ConfigMap: each Secret, its key and the name of its folder. */}}
{{- define "threadpilot.secretFolders" -}}
{{- $file := index .root.Values .service "secrets" "file" -}}
{{- $folders := list (dict "name" "secrets" "secret" $file.name "key" $file.key "path" "secrets.json") -}}
{{- $authorities := dict "database-ca" (include "threadpilot.database" . | fromJson).caSecret -}}
{{- if and (eq .service "insurance") (not .root.Values.vehicle.enabled) -}}
{{- $_ := set $authorities "vehicle-ca" .root.Values.vehicle.caSecret -}}
{{- end -}}
{{- range $name, $secret := $authorities -}}
{{- if $secret.name -}}
{{- $folders = append $folders (dict "name" $name "secret" $secret.name "key" $secret.key "path" $secret.key) -}}
{{- end -}}
{{- end -}}
{{ $folders | toJson }}
{{- end }}

{{- define "threadpilot.folders" -}}
{{ prepend (include "threadpilot.secretFolders" . | fromJsonArray) (dict "name" "config") | toJson }}
{{- end }}

{{/* From (dict … "config" name of the ConfigMap). */}}
{{- define "threadpilot.volumes" -}}
volumes:
  - name: config
    configMap:
      name: {{ .config }}
      defaultMode: 0440
  {{- range $folder := include "threadpilot.secretFolders" . | fromJsonArray }}
  - name: {{ $folder.name }}
    secret:
      secretName: {{ $folder.secret }}
      defaultMode: 0440
      items:
        - key: {{ $folder.key }}
          path: {{ $folder.path }}
  {{- end }}
{{- end }}
