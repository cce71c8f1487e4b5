use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::TestDatabase;

/// Stands between a service and its database, counts the connections, lets in as many as a test
/// allows, and stops forwarding when it wants. Ends with its drop.
#[derive(Debug)]
pub struct Relay {
    /// Where the database is through the relay, without a user.
    pub url: String,
    door: Arc<Door>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Door {
    server: String,
    opened: AtomicUsize,
    allowed: Semaphore,
    silence: watch::Sender<()>,
}

impl Relay {
    /// Lets every connection in.
    pub async fn open(database: &TestDatabase) -> Self {
        Self::allowing(database, Semaphore::MAX_PERMITS).await
    }

    /// Lets so many connections in; further ones wait for [`Self::allow`].
    pub async fn allowing(database: &TestDatabase, connections: usize) -> Self {
        let address = database.url();
        let (server, name) = address
            .trim_start_matches("postgres://")
            .split_once('/')
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://{}/{name}", listener.local_addr().unwrap());
        let door = Arc::new(Door {
            server: server.to_owned(),
            opened: AtomicUsize::new(0),
            allowed: Semaphore::new(connections),
            silence: watch::Sender::new(()),
        });
        let mut task = JoinSet::new();
        task.spawn(relay(listener, door.clone()));
        Self {
            url,
            door,
            _task: task,
        }
    }

    /// Lets so many more connections in.
    pub fn allow(&self, connections: usize) {
        self.door.allowed.add_permits(connections);
    }

    /// Forwards nothing any more on the connections that are open; they stay open.
    pub fn fall_silent(&self) {
        self.door.silence.send_replace(());
    }

    /// How many connections were let in so far.
    pub fn opened(&self) -> usize {
        self.door.opened.load(Ordering::SeqCst)
    }
}

async fn relay(listener: TcpListener, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut caller, _) = listener.accept().await.unwrap();
        door.allowed.acquire().await.unwrap().forget();
        door.opened.fetch_add(1, Ordering::SeqCst);
        let mut silence = door.silence.subscribe();
        let mut server = TcpStream::connect(&door.server).await.unwrap();
        connections.spawn(async move {
            tokio::select! {
                biased;
                _ = silence.changed() => std::future::pending().await,
                // One of both has closed its end.
                _ = copy_bidirectional(&mut caller, &mut server) => {}
            }
        });
    }
}
