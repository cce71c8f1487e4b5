variable "legacy_capacity" {
  description = "Calls in flight that the legacy system behind Vehicle takes from Insurance's fleet."
  type = object({
    single_calls = number
    batch_calls  = number
  })

  validation {
    condition     = alltrue([for calls in values(var.legacy_capacity) : calls >= 1 && floor(calls) == calls])
    error_message = "A capacity is a whole number of calls, 1 or more."
  }
}

variable "caps" {
  description = "Calls in flight of one Insurance process; null = the capacity divided by the pods."
  type = object({
    single = optional(number)
    batch  = optional(number)
  })
  default = {}

  validation {
    condition     = alltrue([for cap in values(var.caps) : cap == null ? true : cap >= 1 && cap <= 1000 && floor(cap) == cap])
    error_message = "max_degree_of_parallelism_* is 1 to 1000."
  }
}

variable "vehicle" {
  description = "Vehicle's replicas, the pods that a rolling update adds, and of each process the pool, the connections served at once and the memory limit."
  type = object({
    min_replicas     = number
    max_replicas     = number
    max_surge        = optional(number, 1)
    pool_size        = optional(number, 8)
    max_connections  = optional(number, 512)
    memory_mebibytes = optional(number, 256)
  })

  validation {
    condition     = var.vehicle.min_replicas >= 1 && var.vehicle.max_replicas >= var.vehicle.min_replicas && var.vehicle.max_surge >= 1
    error_message = "1 <= min_replicas <= max_replicas and max_surge >= 1."
  }

  validation {
    condition     = var.vehicle.pool_size >= 1 && var.vehicle.pool_size <= 1000
    error_message = "database.max_connections is 1 to 1000."
  }

  validation {
    condition     = var.vehicle.max_connections >= 1 && var.vehicle.max_connections <= 100000
    error_message = "server.max_connections is 1 to 100000."
  }
}

variable "insurance" {
  description = "The same of Insurance, whose memory also holds the cache."
  type = object({
    min_replicas     = number
    max_replicas     = number
    max_surge        = optional(number, 1)
    pool_size        = optional(number, 8)
    max_connections  = optional(number, 512)
    memory_mebibytes = optional(number, 384)
  })

  validation {
    condition     = var.insurance.min_replicas >= 1 && var.insurance.max_replicas >= var.insurance.min_replicas && var.insurance.max_surge >= 1
    error_message = "1 <= min_replicas <= max_replicas and max_surge >= 1."
  }

  validation {
    condition     = var.insurance.pool_size >= 1 && var.insurance.pool_size <= 1000
    error_message = "database.max_connections is 1 to 1000."
  }

  validation {
    condition     = var.insurance.max_connections >= 1 && var.insurance.max_connections <= 100000
    error_message = "server.max_connections is 1 to 100000."
  }
}

variable "cache_mebibytes" {
  description = "Memory of one Insurance process for Vehicle's answers."
  type        = number
  default     = 64

  validation {
    condition     = var.cache_mebibytes >= 1 && var.cache_mebibytes <= 16384
    error_message = "The cache is 1 MiB to 16 GiB."
  }
}

variable "postgres" {
  description = "max_connections of the server that both services use, and how many of these are not for them."
  type = object({
    max_connections      = number
    reserved_connections = optional(number, 10)
  })
}
