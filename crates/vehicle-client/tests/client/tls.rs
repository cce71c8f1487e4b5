//! TLS to Vehicle: its certificate is checked.

use std::{net::SocketAddr, sync::Arc};

use contracts::Source;
use test_support::FakeVehicle;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};
use vehicle_client::FailureKind;

use crate::setup::{client, found, kind, patient, unhurried};

/// A listener with a certificate for `localhost` in front of this Vehicle; its address and the
/// certificate as PEM.
async fn with_tls(vehicle: &FakeVehicle) -> (SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let vehicle = vehicle.address();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not trust the certificate hangs up here.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut plain = TcpStream::connect(vehicle).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut stream, &mut plain).await });
            }
        }
    });
    (address, certified.cert.pem())
}

#[tokio::test]
async fn only_a_certificate_that_is_trusted_and_for_its_name_is_taken() {
    let fake = FakeVehicle::healthy().await;
    let (address, pem) = with_tls(&fake).await;
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("vehicle.pem");
    std::fs::write(&file, pem).unwrap();
    let trusted = file.to_str().unwrap();
    for (host, ca_certificate, is_taken) in [
        ("localhost", trusted, true),
        ("127.0.0.1", trusted, false),
        ("localhost", "", false),
    ] {
        let mut options = patient(&fake);
        let url = format!("https://{host}:{}", address.port());
        options.base_url = url.parse().unwrap();
        options.ca_certificate = ca_certificate.to_owned();
        let before = fake.calls();
        let lookup = client(&options).one("ABC123", &unhurried()).await;
        if is_taken {
            assert_eq!(found(&lookup), Source::Live, "{host}");
        } else {
            assert_eq!(kind(&lookup), FailureKind::Connection, "{host}");
            assert_eq!(fake.calls(), before);
        }
    }
}
