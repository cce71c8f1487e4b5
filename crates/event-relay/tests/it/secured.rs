//! Who we are to the broker, and who it is to us.

use std::{fs, path::Path, time::Duration};

use event_relay::{ReadError, RelaySettings, StreamReader};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use service_defaults::chain;
use tempfile::TempDir;
use test_support::Nats;

use crate::support::{Bed, within_limit};

/// Makes an authority, and what it signs for a server and for a client.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for (name, address) in [("server", "127.0.0.1"), ("client", "relay")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([address.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_broker_and_its_clients_prove_who_they_are() {
    let folder = TempDir::new().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let nats = Nats::configured(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n\
         authorization {{ user: relay, password: test }}\n",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    ));
    let Some(nats) = nats else { return };
    let lines = vec![
        format!("nats.url = {:?}", nats.url().replace("nats://", "tls://")),
        format!("nats.ca_certificate = {:?}", file("ca.pem")),
        format!("nats.tls_certificate = {:?}", file("client.pem")),
        format!("nats.tls_private_key = {:?}", file("client.key")),
        "nats.user = \"relay\"\nnats.password = \"test\"".to_owned(),
    ];
    let settings = |lines: &[String]| -> RelaySettings {
        settings::parse("relay", &lines.join("\n")).unwrap()
    };
    let mut bed = Bed::beside(nats).await;
    bed.place();
    bed.relay_with(settings(&lines));
    bed.append(10).await;
    let (log, wait) = (bed.log_id().await, Duration::from_millis(50));
    let reader = |lines: &[String]| StreamReader::new(settings(lines).nats, "test", "insurance");
    let mut known = reader(&lines);
    let published = async {
        while !matches!(known.events(log, None, 10, wait).await, Ok(it) if it.len() == 10) {}
    };
    within_limit("the events", published).await;

    let mut wrong = lines.clone();
    wrong[4] = "nats.user = \"relay\"\nnats.password = \"wrong\"".to_owned();
    let mut untrusted = lines.clone();
    untrusted.remove(1);
    let mut unproved = lines.clone();
    unproved.drain(2..4);
    for (lines, because) in [
        (wrong, "authorization violation"),
        (lines[..4].to_vec(), "authorization violation"),
        (untrusted, "UnknownIssuer"),
        (unproved, ""),
    ] {
        let refused = reader(&lines).events(log, None, 10, wait).await;
        let Err(ReadError::Broker(error)) = refused else {
            panic!("{because}: it was let in");
        };
        let error = chain(&*error);
        assert!(error.contains(because), "{error}");
    }
}
