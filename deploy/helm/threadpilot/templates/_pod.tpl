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
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
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
{{- end }}

{{/* A password in a variable, from (dict … "setting" "PASSWORD" "secret" reference). */}}
{{- define "threadpilot.password" -}}
- name: {{ include "threadpilot.prefix" . }}DATABASE__{{ .setting }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret.name }}
      key: {{ .secret.key }}
{{- end }}

{{- define "threadpilot.secretMounts" -}}
{{- $database := include "threadpilot.database" . | fromJson -}}
- name: secrets
  mountPath: /etc/threadpilot/secrets
  readOnly: true
{{- if $database.caSecret.name }}
- name: database-ca
  mountPath: /etc/threadpilot/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "threadpilot.secretVolumes" -}}
{{- $database := include "threadpilot.database" . | fromJson -}}
{{- $file := index .root.Values .service "secrets" "file" -}}
- name: secrets
  secret:
    secretName: {{ $file.name }}
    defaultMode: 0440
    items:
      - key: {{ $file.key }}
        path: secrets.json
{{- if $database.caSecret.name }}
- name: database-ca
  secret:
    secretName: {{ $database.caSecret.name }}
    defaultMode: 0440
    items:
      - key: {{ $database.caSecret.key }}
        path: {{ $database.caSecret.key }}
{{- end }}
{{- end }}
