# How large the fleet may be: the sums of the Helm chart, and those that it cannot know because
# they are the platform's. No provider.

terraform {
  required_version = ">= 1.6"
}

locals {
  # What each process needs at worst, as its `check` adds it up: 64 MiB of its own; for each
  # connection of both listeners 128 KiB for a head and 64 KiB for a body; the cache; 1 MiB for
  # each answer of Vehicle that is on its way.
  needed_mebibytes = {
    vehicle = 64 + ceil(var.vehicle.max_connections * 2 * 192 / 1024)
    insurance = (
      64 + ceil(var.insurance.max_connections * 2 * 192 / 1024)
      + var.cache_mebibytes
      + local.caps.single + local.caps.batch
    )
  }

  # One connection for each service's migration, which may run while all pods do.
  migration_connections = 2

  # The most replicas, those that a rolling update adds, and those that it has just replaced and
  # that still drain. The chart makes these at most as many as it adds.
  pods = {
    vehicle   = var.vehicle.max_replicas + 2 * var.vehicle.max_surge
    insurance = var.insurance.max_replicas + 2 * var.insurance.max_surge
  }

  # 1000 is the setting's upper bound. An explicit cap is checked, not changed.
  caps = {
    single = coalesce(var.caps.single, min(1000, floor(var.legacy_capacity.single_calls / local.pods.insurance)))
    batch  = coalesce(var.caps.batch, min(1000, floor(var.legacy_capacity.batch_calls / local.pods.insurance)))
  }

  fleet_calls = {
    single = local.caps.single * local.pods.insurance
    batch  = local.caps.batch * local.pods.insurance
  }

  connections = (
    local.pods.vehicle * var.vehicle.pool_size
    + local.pods.insurance * var.insurance.pool_size
    + local.migration_connections
  )

  memory_mebibytes = (
    local.pods.vehicle * var.vehicle.memory_mebibytes
    + local.pods.insurance * var.insurance.memory_mebibytes
  )

  services = { vehicle = var.vehicle, insurance = var.insurance }

  helm_values = merge(
    { legacy = { capacity = {
      singleCalls = var.legacy_capacity.single_calls
      batchCalls  = var.legacy_capacity.batch_calls
    } } },
    { for name, service in local.services : name => {
      maxSurge = service.max_surge
      autoscaling = {
        enabled     = true
        minReplicas = service.min_replicas
        maxReplicas = service.max_replicas
      }
      resources = { limits = { memory = "${service.memory_mebibytes}Mi" } }
      settings = merge(
        {
          server   = { max_connections = service.max_connections }
          limits   = { max_requests_in_progress = min(1024, service.max_connections) }
          database = { max_connections = service.pool_size }
        },
        name != "insurance" ? {} : { vehicle_client = {
          max_degree_of_parallelism_single = local.caps.single
          max_degree_of_parallelism_batch  = local.caps.batch
          cache                            = { max_bytes = var.cache_mebibytes * 1024 * 1024 }
        } }
      )
    } }
  )
}
