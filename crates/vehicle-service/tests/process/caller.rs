use std::{net::SocketAddr, time::Duration};

use test_support::API_KEY;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One connection that is kept alive.
pub(crate) struct Caller(TcpStream);

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Asks with the test key: the answer's head in lower case, and its body.
    pub(crate) async fn get(&mut self, path: &str) -> (String, String) {
        self.get_with(path.as_bytes(), b"").await
    }

    /// Asks with more header lines, all as they are.
    pub(crate) async fn get_with(&mut self, path: &[u8], headers: &[u8]) -> (String, String) {
        let key = format!("X-Api-Key: {API_KEY}\r\n");
        let parts = [
            b"GET ",
            path,
            b" HTTP/1.1\r\nHost: test\r\n",
            key.as_bytes(),
            headers,
            b"\r\n",
        ];
        self.0.write_all(&parts.concat()).await.unwrap();
        within(self.answer()).await
    }

    async fn answer(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }
}

/// Fails a test instead of letting it hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .expect("nothing happened for a minute")
}
