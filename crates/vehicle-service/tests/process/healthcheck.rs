use std::net::TcpListener;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use test_support::{Issuer, Lie, TestDatabase};
use tokio::net::TcpSocket;
use vehicle_service::SCHEMA;

use super::{
    binary::{Serving, command, run, text},
    caller::within,
    fifo::Fifo,
};

/// Asks with these settings: the exit code and what was said.
async fn ask(database: &TestDatabase, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(database, &["--healthcheck"], settings).await;
    assert_eq!(text(&output.stdout), "");
    (output.status.code(), text(&output.stderr))
}

fn healthy() -> (Option<i32>, String) {
    (Some(0), String::new())
}

#[tokio::test]
async fn a_service_that_is_ready_is_healthy() {
    let database = TestDatabase::new(vehicle_service::NAME, SCHEMA).await;
    let serving = Serving::start(&database, &[]).await;
    let port = ("SERVER__PORT", &*serving.address.port().to_string());
    assert_eq!(ask(&database, &[port]).await, healthy());
    // A container listens on every address.
    let every = [port, ("SERVER__ADDRESS", "0.0.0.0")];
    assert_eq!(ask(&database, &every).await, healthy());
}

#[tokio::test]
async fn a_service_that_is_not_ready_is_not_healthy() {
    let database = TestDatabase::empty(vehicle_service::NAME).await;
    let serving = Serving::start(&database, &[]).await;
    let port = serving.address.port().to_string();
    let (code, said) = ask(&database, &[("SERVER__PORT", &port)]).await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is not ready") && said.contains("run migrate"),
        "{said}"
    );
}

#[tokio::test]
async fn a_service_that_does_not_listen_or_answer_is_not_healthy() {
    let database = TestDatabase::empty(vehicle_service::NAME).await;
    // Has the port and does not listen.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let (code, said) = ask(&database, &[("SERVER__PORT", &port)]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be asked"), "{said}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let (code, said) = ask(&database, &[("SERVER__PORT", &port)]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("gave no answer within 2s"), "{said}");

    let (code, said) = ask(&database, &[("SERVER__PORT", "0")]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("server.port is 0"), "{said}");
}

#[tokio::test]
async fn a_file_that_stalls_holds_no_answer_up() {
    let fifo = Fifo::new();
    let settings = [
        ("API_KEYS__TEST__KEY", "test-key-0123456789"),
        ("SERVER__TLS_CERTIFICATE", fifo.path()),
        ("SERVER__TLS_PRIVATE_KEY", fifo.path()),
    ];
    let output = within(command(&["--healthcheck"], &settings).output()).await;
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("the settings were not read within 2s"),
        "{said}"
    );
}

#[tokio::test]
async fn the_management_port_is_asked_where_there_is_one() {
    let database = TestDatabase::new(vehicle_service::NAME, SCHEMA).await;
    // Nobody else is given the port while this has it, and who wants it by its number gets it.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let own = reserved.local_addr().unwrap().port().to_string();
    let serving = Serving::start(&database, &[("MANAGEMENT__PORT", &own)]).await;
    let port = serving.address.port().to_string();
    let main = ("SERVER__PORT", &*port);
    let management = ("MANAGEMENT__PORT", &*own);
    assert_eq!(ask(&database, &[main, management]).await, healthy());
    let (code, said) = ask(&database, &[main]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("is not ready: 401"), "{said}");
}

#[tokio::test]
async fn https_is_asked_where_there_is_a_certificate() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["vehicle.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = write("certificate.pem", cert.pem());
    let key = write("key.pem", signing_key.serialize_pem());
    let tls = [
        ("SERVER__TLS_CERTIFICATE", &*certificate),
        ("SERVER__TLS_PRIVATE_KEY", &*key),
    ];
    let database = TestDatabase::new(vehicle_service::NAME, SCHEMA).await;
    let serving = Serving::start(&database, &tls).await;
    let port = serving.address.port().to_string();
    let main = ("SERVER__PORT", &*port);
    assert_eq!(ask(&database, &[main, tls[0], tls[1]]).await, healthy());
    // Plain HTTP gets no HTTP answer from it.
    assert_eq!(ask(&database, &[main]).await.0, Some(1));
}

#[tokio::test]
async fn a_service_listens_before_its_issuer_has_answered() {
    let database = TestDatabase::new(vehicle_service::NAME, SCHEMA).await;
    let issuer = Issuer::start().await;
    issuer.lie(Lie::Slow);
    let serving = Serving::start(&database, &issuer.settings()).await;
    let gave_up = "the keys of tokens could not be fetched";
    assert!(!serving.log.iter().any(|line| line.contains(gave_up)));
}
