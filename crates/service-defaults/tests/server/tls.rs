use std::sync::Arc;

use axum::{Router, routing::get};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use service_defaults::{install_crypto_provider, process::Process};
use settings::{Arguments, Sources};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::support::{Caller, KEY, Nothing, Running, within};

/// A certificate for `localhost` and its key, in files.
fn certificate() -> (TempDir, String, String, RootCertStore) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = write("certificate.pem", cert.pem());
    let key = write("key.pem", signing_key.serialize_pem());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    (folder, certificate, key, roots)
}

fn routes() -> Router {
    Router::new().route("/", get(async || "done"))
}

#[tokio::test]
async fn a_server_with_a_certificate_speaks_https_and_tells_browsers_to_stay_with_it() {
    install_crypto_provider();
    let (_folder, certificate, key, roots) = certificate();
    let settings = [
        ("TLS_CERTIFICATE", &*certificate),
        ("TLS_PRIVATE_KEY", &*key),
    ];
    let server = Running::behind_edge(&settings, routes()).await;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut caller = Caller(within(connector.connect(name, stream)).await.unwrap());
    caller.get("/").await;
    let (head, body) = caller.answer().await;
    assert_eq!(body, "done");
    let promise = "strict-transport-security: max-age=31536000\r\n";
    assert!(head.contains(promise), "{head}");
}

#[tokio::test]
async fn without_a_certificate_browsers_are_promised_none() {
    let server = Running::behind_edge(&[], routes()).await;
    let mut caller = server.connect().await;
    caller.get("/").await;
    let (head, body) = caller.answer().await;
    assert_eq!(body, "done");
    assert!(!head.contains("strict-transport-security"), "{head}");
}

#[tokio::test]
async fn a_handshake_that_does_not_begin_is_ended() {
    let (_folder, certificate, key, _) = certificate();
    let settings = [
        ("TLS_CERTIFICATE", &*certificate),
        ("TLS_PRIVATE_KEY", &*key),
    ];
    let server = Running::impatient(&settings, routes()).await;
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut plain = server.connect().await;
    plain.get("/").await;
    assert!(!plain.rest().await.contains("HTTP/1.1 200"));
}

#[test]
fn tls_files_that_cannot_be_used_stop_the_start() {
    let (folder, certificate, key, _) = certificate();
    let (_other, _, other_key, _) = self::certificate();
    let missing = folder.path().join("missing.pem");
    let missing = missing.to_str().unwrap();
    for (certificate, key, reason) in [
        (&*certificate, &*other_key, "does not fit"),
        (&certificate, missing, "missing.pem: No such file"),
        (missing, &key, "missing.pem: No such file"),
        (&key, &key, "tls_certificate"),
        (&certificate, "", "is needed together with"),
    ] {
        let error = refused(certificate, key);
        assert!(
            error.contains("server.tls_certificate: ") && error.contains(reason),
            "{error}"
        );
        assert!(!error.contains("PRIVATE KEY"), "{error}");
    }
}

fn refused(certificate: &str, key: &str) -> String {
    let sources = Sources::new("sample", &[], Arguments::default()).with_environment([
        ("SAMPLE__API_KEYS__TEST__KEY", KEY),
        ("SAMPLE__SERVER__TLS_CERTIFICATE", certificate),
        ("SAMPLE__SERVER__TLS_PRIVATE_KEY", key),
    ]);
    Process::<Nothing>::new("sample", sources)
        .err()
        .unwrap()
        .to_string()
}
