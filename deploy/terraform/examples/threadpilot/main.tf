# The sums for the Helm chart's example `operators.yaml`:
#   terraform init && terraform apply
#   terraform output -raw helm_values >sized.yaml
#   helm upgrade --install threadpilot deploy/helm/threadpilot -f operators.yaml -f sized.yaml

terraform {
  required_version = ">= 1.6"
}

module "sizing" {
  source = "../../modules/sizing"

  legacy_capacity = { single_calls = 50, batch_calls = 10 }
  vehicle         = { min_replicas = 2, max_replicas = 6 }
  insurance       = { min_replicas = 2, max_replicas = 8 }

  # As in the chart's examples/cloudnativepg.yaml.
  postgres = { max_connections = 200 }
}

output "helm_values" {
  value = module.sizing.helm_values
}

output "fleet_calls" {
  value = module.sizing.fleet_calls
}
