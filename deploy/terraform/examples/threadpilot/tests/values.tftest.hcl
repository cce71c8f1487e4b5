# The chart's check renders the committed file, so what this module writes is what the chart takes.
run "writes_the_values_that_the_chart_is_checked_with" {
  command = plan

  assert {
    condition     = output.helm_values == file("../../../helm/threadpilot/examples/sized-by-terraform.yaml")
    error_message = "Write it anew: scripts/check-terraform.sh --write"
  }
}
