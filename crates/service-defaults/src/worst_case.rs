//! What the edge of a service allows at worst.

use ::settings::{Figure, Quantity, format_duration};

use crate::{limits::MAX_BODY_BYTES, server::HEAD_BUFFER_BYTES, settings::CommonSettings};

impl CommonSettings {
    /// What the edge of a service allows at worst.
    pub fn worst_case(&self) -> Vec<Figure> {
        vec![
            self.longest_request(),
            self.most_requests_in_progress(),
            self.most_connections(),
            self.request_memory(),
            self.stop_time(),
        ]
    }

    fn longest_request(&self) -> Figure {
        let deadline = self.server.request_deadline;
        let because = format_args!(
            "server.request_deadline {}, from its head to its answer",
            format_duration(deadline)
        );
        Figure::duration("longest_request", deadline, because)
    }

    fn most_requests_in_progress(&self) -> Figure {
        let most = self.limits.max_requests_in_progress as u64;
        let because = format_args!("limits.max_requests_in_progress {most}");
        Figure::count("most_requests_in_progress", most, because)
    }

    fn most_connections(&self) -> Figure {
        let (most, because) = self.connections();
        Figure::count("most_connections", most, because)
    }

    /// Each listener has places of its own.
    fn connections(&self) -> (u64, String) {
        let (wanted, each) = (self.server.max_connections, self.connections_each());
        let mut because = format!("server.max_connections {wanted}");
        if each < wanted {
            because = format!("{each} of {because}, by the system's limit on open files");
        }
        if self.management.port != 0 {
            let port = self.management.port;
            because = format!("{because} x 2, because of management.port {port}");
        }
        (self.listeners().saturating_mul(each as u64), because)
    }

    /// A head is read into a buffer that is larger than the limits, so that these answer first.
    fn request_memory(&self) -> Figure {
        let (connections, _) = self.connections();
        let (head, body) = (HEAD_BUFFER_BYTES as u64, MAX_BODY_BYTES as u64);
        let because = format_args!(
            "most_connections {connections} x ({} for a head + {} for a body)",
            Quantity::Bytes(head),
            Quantity::Bytes(body)
        );
        let bytes = connections.saturating_mul(head.saturating_add(body));
        Figure::bytes("request_memory", bytes, because)
    }

    fn stop_time(&self) -> Figure {
        let (drain, shutdown) = (self.server.drain_delay, self.server.shutdown_timeout);
        let because = format_args!(
            "server.drain_delay {} + server.shutdown_timeout {}, until the last connection closes",
            format_duration(drain),
            format_duration(shutdown)
        );
        Figure::duration("stop_time", drain.saturating_add(shutdown), because)
    }
}
