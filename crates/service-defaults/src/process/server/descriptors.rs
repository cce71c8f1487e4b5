//! How many connections the system's limit on open files leaves room for (`RLIMIT_NOFILE`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::ServerSettings;

/// Descriptors for everything but callers' connections: the database's, those to other services,
/// the log, files. No more than half of a small limit.
const KEPT: u64 = 256;

/// Most connections that can be open at once, however far the limit is raised; none = no limit.
pub(crate) fn room() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum.map(room_under)
}

fn room_under(limit: u64) -> u64 {
    limit - KEPT.min(limit / 2)
}

/// Raises the limit as far as the connections of all listeners need and the system allows; says
/// what each listener may use then.
pub(crate) fn prepare(server: &ServerSettings, listeners: u64, each: usize) -> ServerSettings {
    let wanted = server.max_connections;
    if each < wanted {
        tracing::warn!(
            max_connections = wanted,
            connections = each,
            "the system's limit on open files allows fewer connections than the settings"
        );
    }
    if let Err(error) = make_room(listeners.saturating_mul(each as u64)) {
        tracing::warn!(%error, "the limit on open files was not raised");
    }
    let mut server = server.clone();
    server.max_connections = each;
    server
}

fn make_room(connections: u64) -> std::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = connections.saturating_add(KEPT);
    let wanted = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_none_or(|current| wanted <= current) {
        return Ok(());
    }
    let current = Some(wanted);
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

#[cfg(test)]
mod tests {
    use super::room_under;

    #[test]
    fn some_descriptors_are_kept_for_other_things_than_connections() {
        for (limit, room) in [(1, 1), (100, 50), (512, 256), (1_024, 768), (4_352, 4_096)] {
            assert_eq!(room_under(limit), room, "{limit}");
        }
    }
}
