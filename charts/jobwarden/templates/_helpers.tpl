{{- define "jobwarden.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "jobwarden.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "jobwarden.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "jobwarden.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "jobwarden.selector" -}}
app.kubernetes.io/name: {{ include "jobwarden.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jobwarden.labels" -}}
{{ include "jobwarden.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "jobwarden.account" -}}
{{- default (ternary (include "jobwarden.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{- define "jobwarden.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end }}

{{- define "jobwarden.claim" -}}
{{- default (printf "%s-data" (include "jobwarden.fullname" .)) .Values.database.sqlite.existingClaim -}}
{{- end }}

{{- define "jobwarden.strategy" -}}
{{- default (ternary "RollingUpdate" "Recreate" (ne .Values.database.postgresql.existingSecret "")) .Values.strategy -}}
{{- end }}

{{/* The egress proxy: its own name in labels, so that no Service and no budget of the controller counts its Pods. */}}
{{- define "jobwarden.egressName" -}}
{{- printf "%s-egress" (include "jobwarden.fullname" .) -}}
{{- end }}

{{- define "jobwarden.egressSelector" -}}
app.kubernetes.io/name: {{ include "jobwarden.name" . }}-egress
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "jobwarden.egressLabels" -}}
{{ include "jobwarden.egressSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The Secret that holds what passes of runs are signed with. */}}
{{- define "jobwarden.egressSecret" -}}
{{- default (include "jobwarden.egressName" .) .Values.pods.egressProxy.existingSecret }}
{{- end }}

{{/* Restricted Pod Security, for every container of the chart. */}}
{{- define "jobwarden.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "jobwarden.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What values.schema.json cannot say, with words. */}}
{{- define "jobwarden.check" -}}
{{- if not .Values.database.postgresql.existingSecret -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail "replicas: several controllers need PostgreSQL; set database.postgresql.existingSecret, or replicas to 1" -}}
{{- end -}}
{{- if eq .Values.strategy "RollingUpdate" -}}
{{- fail "strategy: RollingUpdate has two controllers at a time, which needs PostgreSQL; set database.postgresql.existingSecret, or leave strategy empty" -}}
{{- end -}}
{{- end -}}
{{- $watched := .Values.watch.namespaces -}}
{{- range $field := list "secrets" "serviceAccounts" -}}
{{- range $namespace := keys (index $.Values.credentials $field) | sortAlpha -}}
{{- if and $watched (not (has $namespace $watched)) (ne $namespace $.Release.Namespace) -}}
{{- fail (printf "credentials.%s.%s: no provider of that namespace is looked at; add it to watch.namespaces, or remove it here" $field $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.pods.egressProxy.enabled (not .Values.pods.networkPoliciesEnforced) -}}
{{- fail "pods.egressProxy: without NetworkPolicies Pods would go round it; set pods.networkPoliciesEnforced where your CNI enforces them, or leave the proxy out" -}}
{{- end -}}
{{- if and .Values.database.sqlite.ephemeral .Values.database.sqlite.existingClaim -}}
{{- fail "database.sqlite: ephemeral and existingClaim exclude each other" -}}
{{- end -}}
{{- end }}

{{/* jobwarden.yaml */}}
{{- define "jobwarden.configuration" -}}
apiVersion: jobwarden.dev/v1alpha1
kind: ControllerConfiguration
{{- with .Values.limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
sources:
  - name: kubernetes
    kubernetes:
      namespaces: {{ toJson .Values.watch.namespaces }}
      lease: {{ include "jobwarden.fullname" . }}
{{- $image := default (include "jobwarden.image" .) .Values.jobs.image }}
{{- $pods := omit .Values.pods "egressProxy" "fenceCheck" }}
{{- if and .Values.pods.networkPoliciesEnforced .Values.pods.fenceCheck }}
{{- $pods = set $pods "fenceCheckImage" (include "jobwarden.image" .) }}
{{- end }}
{{- with .Values.pods.egressProxy }}
{{- if .enabled }}
{{- $host := printf "%s.%s.svc" (include "jobwarden.egressName" $) $.Release.Namespace }}
{{- $labels := include "jobwarden.egressSelector" $ | fromYaml }}
{{- $proxy := dict "host" $host "port" .port "namespace" $.Release.Namespace "podLabels" $labels "keyFile" "/etc/jobwarden-egress/key" }}
{{- $pods = set $pods "egressProxy" $proxy }}
{{- end }}
{{- end }}
{{- $ours := dict "executors" .Values.executors "image" $image "pods" $pods }}
settings:
  {{- toYaml (merge $ours (deepCopy .Values.settings)) | nindent 2 }}
{{- end }}

{{/* What the controller may do where it watches. Keep manifests/kubernetes/rights.yaml the same. */}}
{{- define "jobwarden.rules" -}}
{{- if .Values.notifications.secrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
- apiGroups: [jobwarden.dev]
  resources: [scheduledjobs, resourcepools, notificationtargets, identityprofiles, credentialpolicies, trustcontracts, authorizationpolicies, credentialproviders]
  verbs: [get, list, watch]
- apiGroups: [jobwarden.dev]
  resources: [scheduledjobs/status, resourcepools/status, notificationtargets/status, identityprofiles/status, credentialpolicies/status, trustcontracts/status, authorizationpolicies/status, credentialproviders/status, runrequests/status, approvals/status]
  verbs: [patch]
- apiGroups: [jobwarden.dev]
  resources: [runrequests]
  verbs: [get, list, watch, delete]
- apiGroups: [jobwarden.dev]
  resources: [approvals]
  verbs: [get, list, watch, create, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if has "Kubernetes" .Values.executors }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Why Kubernetes makes no Pod for a run.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Made for a run and removed with it; none is ever read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete]
{{- if .Values.pods.networkPoliciesEnforced }}
# One in each namespace where runs without a network were started, and one for those that reach listed hosts; they stay.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, create]
{{- end }}
{{- end }}
{{- end }}

{{- define "jobwarden.clusterRules" -}}
- apiGroups: [jobwarden.dev]
  resources: [clusterresourcepools, clusternotificationtargets, clustertrustcontracts, clusterauthorizationpolicies, clustercredentialproviders]
  verbs: [get, list, watch]
- apiGroups: [jobwarden.dev]
  resources: [clusterresourcepools/status, clusternotificationtargets/status, clustertrustcontracts/status, clusterauthorizationpolicies/status, clustercredentialproviders/status]
  verbs: [patch]
{{- end }}

{{- define "jobwarden.subject" -}}
- kind: ServiceAccount
  name: {{ include "jobwarden.account" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* The Secret that holds the token of the history. */}}
{{- define "jobwarden.historySecret" -}}
{{- default (printf "%s-history" (include "jobwarden.fullname" .)) .Values.history.existingSecret }}
{{- end }}
