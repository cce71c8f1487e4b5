output "pods" {
  description = "Pods of each service that can run at once."
  value       = local.pods
}

output "caps" {
  description = "max_degree_of_parallelism_* of one Insurance process."
  value       = local.caps

  precondition {
    condition     = min(local.caps.single, local.caps.batch) >= 1
    error_message = "${local.pods.insurance} pods of Insurance can run at once and each makes at least one call, but the legacy system takes ${var.legacy_capacity.single_calls} single and ${var.legacy_capacity.batch_calls} batch calls."
  }
}

output "fleet_calls" {
  description = "Calls of all Insurance pods in flight at once, at most."
  value       = local.fleet_calls

  precondition {
    condition     = local.fleet_calls.single <= var.legacy_capacity.single_calls
    error_message = "${local.caps.single} single calls in ${local.pods.insurance} pods are ${local.fleet_calls.single}, more than the legacy system's ${var.legacy_capacity.single_calls}."
  }

  precondition {
    condition     = local.fleet_calls.batch <= var.legacy_capacity.batch_calls
    error_message = "${local.caps.batch} batch calls in ${local.pods.insurance} pods are ${local.fleet_calls.batch}, more than the legacy system's ${var.legacy_capacity.batch_calls}."
  }
}

output "database_connections" {
  description = "Connections of both services and their migrations, at most."
  value       = local.connections

  precondition {
    condition     = local.connections + var.postgres.reserved_connections <= var.postgres.max_connections
    error_message = "The services take ${local.connections} connections and ${var.postgres.reserved_connections} are reserved, more than max_connections = ${var.postgres.max_connections}."
  }
}

output "memory_mebibytes" {
  description = "Memory limits of all pods, for a quota."
  value       = local.memory_mebibytes

  precondition {
    condition     = var.vehicle.memory_mebibytes >= local.needed_mebibytes.vehicle
    error_message = "A Vehicle pod needs ${local.needed_mebibytes.vehicle} MiB at worst, more than its ${var.vehicle.memory_mebibytes}."
  }

  precondition {
    condition     = var.insurance.memory_mebibytes >= local.needed_mebibytes.insurance
    error_message = "An Insurance pod needs ${local.needed_mebibytes.insurance} MiB at worst, more than its ${var.insurance.memory_mebibytes}."
  }
}

output "helm_values" {
  description = "The chart's values that follow, as YAML."
  value       = "# Written by deploy/terraform; `terraform output -raw helm_values`.\n${yamlencode(local.helm_values)}"
}
