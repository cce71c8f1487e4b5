use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::TestDatabase;

/// Stands between a service and its database, counts the connections, and lets in as many as a
/// test allows. Ends with its drop.
#[derive(Debug)]
pub struct Relay {
    /// Where the database is through the relay, without a user.
    pub url: String,
    opened: Arc<AtomicUsize>,
    allowed: Arc<Semaphore>,
    _task: JoinSet<()>,
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
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://{}/{name}", door.local_addr().unwrap());
        let opened = Arc::new(AtomicUsize::new(0));
        let allowed = Arc::new(Semaphore::new(connections));
        let mut task = JoinSet::new();
        task.spawn(relay(
            door,
            server.to_owned(),
            opened.clone(),
            allowed.clone(),
        ));
        Self {
            url,
            opened,
            allowed,
            _task: task,
        }
    }

    /// Lets so many more connections in.
    pub fn allow(&self, connections: usize) {
        self.allowed.add_permits(connections);
    }

    /// How many connections were let in so far.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

async fn relay(
    door: TcpListener,
    server: String,
    opened: Arc<AtomicUsize>,
    allowed: Arc<Semaphore>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (mut caller, _) = door.accept().await.unwrap();
        allowed.acquire().await.unwrap().forget();
        opened.fetch_add(1, Ordering::SeqCst);
        let server = server.clone();
        connections.spawn(async move {
            let mut server = TcpStream::connect(server).await.unwrap();
            // One of both has closed its end.
            let _ = copy_bidirectional(&mut caller, &mut server).await;
        });
    }
}
