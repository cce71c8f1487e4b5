variables {
  legacy_capacity = { single_calls = 50, batch_calls = 10 }
  vehicle         = { min_replicas = 2, max_replicas = 6 }
  insurance       = { min_replicas = 2, max_replicas = 8 }
  postgres        = { max_connections = 200 }
}

run "divides_the_capacity_by_all_pods_that_can_run_at_once" {
  command = plan

  assert {
    condition     = output.pods == { vehicle = 8, insurance = 10 }
    error_message = "Replicas, surge and draining pods count."
  }

  assert {
    condition     = output.caps == { single = 5, batch = 1 }
    error_message = "50 / 10 and 10 / 10."
  }

  assert {
    condition     = output.database_connections == 146
    error_message = "(8 + 10) pods × 8 + 2 migrations."
  }

  assert {
    condition     = output.memory_mebibytes == 5888
    error_message = "8 × 256 + 10 × 384."
  }
}

run "rounds_down" {
  command = plan

  variables {
    legacy_capacity = { single_calls = 59, batch_calls = 19 }
  }

  assert {
    condition     = output.fleet_calls == { single = 50, batch = 10 }
    error_message = "A remainder is left unused."
  }
}

run "keeps_an_explicit_cap_that_fits" {
  command = plan

  variables {
    caps = { single = 3 }
  }

  assert {
    condition     = output.caps == { single = 3, batch = 1 }
    error_message = "3 × 10 fits in 50."
  }
}

run "stays_within_the_setting" {
  command = plan

  variables {
    legacy_capacity = { single_calls = 100000, batch_calls = 10 }
    insurance       = { min_replicas = 2, max_replicas = 8, memory_mebibytes = 2048 }
  }

  assert {
    condition     = output.caps.single == 1000
    error_message = "The setting ends at 1000."
  }
}

run "refuses_more_pods_than_calls" {
  command = plan

  variables {
    legacy_capacity = { single_calls = 9, batch_calls = 10 }
  }

  expect_failures = [output.caps]
}

run "refuses_a_fleet_of_single_calls_beyond_the_capacity" {
  command = plan

  variables {
    caps = { single = 6 }
  }

  expect_failures = [output.fleet_calls]
}

run "refuses_a_fleet_of_batch_calls_beyond_the_capacity" {
  command = plan

  variables {
    caps = { batch = 2 }
  }

  expect_failures = [output.fleet_calls]
}

run "accepts_the_last_connection" {
  command = plan

  variables {
    postgres = { max_connections = 156 }
  }
}

run "refuses_one_connection_too_many" {
  command = plan

  variables {
    postgres = { max_connections = 155 }
  }

  expect_failures = [output.database_connections]
}

run "accepts_the_last_mebibyte" {
  command = plan

  variables {
    # 64 + 192 + 64 + 6
    insurance = { min_replicas = 2, max_replicas = 8, memory_mebibytes = 326 }
  }
}

run "refuses_a_cache_beyond_the_memory" {
  command = plan

  variables {
    cache_mebibytes = 123
  }

  expect_failures = [output.memory_mebibytes]
}

run "refuses_no_capacity" {
  command = plan

  variables {
    legacy_capacity = { single_calls = 0, batch_calls = 10 }
  }

  expect_failures = [var.legacy_capacity]
}

run "refuses_connections_beyond_the_memory" {
  command = plan

  variables {
    vehicle = { min_replicas = 2, max_replicas = 6, max_connections = 513 }
  }

  expect_failures = [output.memory_mebibytes]
}

run "refuses_a_cap_outside_the_setting" {
  command = plan

  variables {
    legacy_capacity = { single_calls = 100000, batch_calls = 10 }
    caps            = { single = 1001 }
  }

  expect_failures = [var.caps]
}

run "refuses_fewer_at_most_than_at_least" {
  command = plan

  variables {
    insurance = { min_replicas = 9, max_replicas = 8 }
  }

  expect_failures = [var.insurance]
}

run "refuses_no_surge" {
  command = plan

  variables {
    vehicle = { min_replicas = 2, max_replicas = 6, max_surge = 0 }
  }

  expect_failures = [var.vehicle]
}

run "refuses_a_pool_outside_the_setting" {
  command = plan

  variables {
    vehicle  = { min_replicas = 2, max_replicas = 6, pool_size = 1001 }
    postgres = { max_connections = 100000 }
  }

  expect_failures = [var.vehicle]
}

run "refuses_no_cache" {
  command = plan

  variables {
    cache_mebibytes = 0
  }

  expect_failures = [var.cache_mebibytes]
}
