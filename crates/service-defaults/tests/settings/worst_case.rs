use std::time::Duration;

use settings::Quantity;

use super::support::Place;

/// The figure of this name that these settings have, and its sum in words.
fn figure(config: &str, name: &str) -> (Quantity, String) {
    let settings = Place::new().with_config(config).load().unwrap();
    let figures = settings.worst_case();
    let figure = figures.into_iter().find(|figure| figure.name == name);
    let figure = figure.unwrap();
    (figure.quantity, figure.because)
}

#[test]
fn each_figure_is_the_sum_that_it_names() {
    let config = "[server]\nmax_connections = 2000\nrequest_deadline = \"7s\"\n\
                  drain_delay = \"3s\"\nshutdown_timeout = \"8s\"\n\
                  [limits]\nmax_requests_in_progress = 50\n";
    let managed = format!("{config}[management]\nport = 9000\n");
    for (config, name, quantity, because) in [
        (
            config,
            "longest_request",
            Quantity::Duration(Duration::from_secs(7)),
            "server.request_deadline 7s, from its head to its answer",
        ),
        (
            config,
            "most_requests_in_progress",
            Quantity::Count(50),
            "limits.max_requests_in_progress 50",
        ),
        (
            config,
            "most_connections",
            Quantity::Count(2000),
            "server.max_connections 2000",
        ),
        (
            &managed,
            "most_connections",
            Quantity::Count(4000),
            "server.max_connections 2000 x 2, because of management.port 9000",
        ),
        (
            config,
            "request_memory",
            Quantity::Bytes(2_000 * (131_072 + 65_536)),
            "most_connections 2000 x (128KiB for a head + 64KiB for a body)",
        ),
        (
            config,
            "stop_time",
            Quantity::Duration(Duration::from_secs(11)),
            "server.drain_delay 3s + server.shutdown_timeout 8s, until the last connection closes",
        ),
        (
            "[sample]\npause = \"4s\"",
            "longest_pause",
            Quantity::Duration(Duration::from_secs(4)),
            "sample.pause",
        ),
    ] {
        assert_eq!(figure(config, name), (quantity, because.to_owned()));
    }
}
