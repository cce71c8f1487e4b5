use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use reqwest::Client;
use tokio::io::AsyncReadExt;

use super::running::{Running, client, command, command_with_umask, data_dir, said, until};

#[tokio::test]
async fn one_command_serves_what_it_prints() {
    let folder = data_dir();
    let stack = Running::start(folder.path(), &[]).await;
    let client = client(None);
    both_apis_have_the_sample_data(&stack, &client).await;
    the_printed_lines_name_what_is_served(&stack, &client).await;
    only_the_printed_operations_key_controls_the_guard(&stack, &client).await;
    a_toggle_in_the_printed_file_takes_effect(&stack, &client).await;
}

async fn both_apis_have_the_sample_data(stack: &Running, client: &Client) {
    let url = format!("{}/api/v1/vehicles/abc%20123", stack.vehicle);
    let (status, text) = stack.get(client, &url).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(
        text,
        r#"{"registrationNumber":"ABC123","make":"Volvo","model":"XC60","modelYear":2021}"#
    );
    let url = format!("{}/api/v1/insurances/19900101-1234", stack.insurance);
    let (status, text) = stack.get(client, &url).await;
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains(r#""model":"XC60""#) && text.contains(r#""source":"live""#),
        "{text}"
    );
    assert!(text.contains(r#""totalMonthlyCost":40.00"#), "{text}");
    for service in [&stack.vehicle, &stack.insurance] {
        assert_eq!(
            stack.get(client, &format!("{service}/swagger/")).await.0,
            200
        );
        let ready = format!("{service}/readyz");
        until(async || stack.get(client, &ready).await.0 == 200).await;
    }
}

async fn the_printed_lines_name_what_is_served(stack: &Running, client: &Client) {
    for line in &stack.curls {
        assert!(
            line.contains(&format!("'X-Api-Key: {}'", stack.key)),
            "{line}"
        );
        let url = line.split_whitespace().last().unwrap();
        let mut request = client.get(url);
        if let Some(body) = line.split("-d '").nth(1) {
            let body = body.split('\'').next().unwrap().to_owned();
            request = client
                .post(url)
                .header("content-type", "application/json")
                .body(body);
        }
        let response = request
            .header("x-api-key", &stack.key)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{line}");
    }
}

async fn only_the_printed_operations_key_controls_the_guard(stack: &Running, client: &Client) {
    let url = format!("{}/api/v1/operations/vehicle-guard", stack.insurance);
    assert_eq!(stack.get(client, &url).await.0, 403);
    let state = client
        .get(&url)
        .header("x-api-key", &stack.operations_key)
        .send()
        .await
        .unwrap();
    assert_eq!(state.status(), 200);
    let text = state.text().await.unwrap();
    assert!(text.starts_with(r#"{"mode":"automatic""#), "{text}");
}

async fn a_toggle_in_the_printed_file_takes_effect(stack: &Running, client: &Client) {
    let url = format!("{}/api/v1/insurances/199001011234", stack.insurance);
    assert!(
        stack
            .get(client, &url)
            .await
            .1
            .contains(r#""source":"live""#)
    );
    fs::write(
        &stack.toggles,
        "[feature_toggles]\nenable_batch_vehicle_call = true\n",
    )
    .unwrap();
    until(async || {
        let (_, text) = stack.get(client, &url).await;
        text.contains(r#""source":"batch""#)
    })
    .await;
}

#[tokio::test]
async fn https_is_served_with_a_certificate_made_for_this_machine() {
    let folder = data_dir();
    let mut command = command_with_umask("022", folder.path(), &["--https"]);
    let stack = Running::of(command.spawn().unwrap()).await;
    secrets_are_kept(&folder.path().join("stack"));
    assert!(
        stack.insurance.starts_with("https://127.0.0.1:"),
        "{}",
        stack.insurance
    );
    let client = client(Some(&folder.path().join("stack/certificate.pem")));
    let url = format!("{}/api/v1/insurances/199001011234", stack.insurance);
    let (status, text) = stack.get(&client, &url).await;
    assert_eq!(status, 200, "{text}");
    // Insurance trusts Vehicle's certificate as well.
    assert!(text.contains(r#""status":"enriched""#), "{text}");
}

/// The folder and every file in it but those that hold no secret are closed to others.
fn secrets_are_kept(folder: &Path) {
    let is_open = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077 != 0;
    assert!(!is_open(folder));
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let (open, closed): (Vec<_>, Vec<_>) = files.partition(|file| is_open(&file.path()));
    for file in open {
        let name = file.file_name().into_string().unwrap();
        let public = [
            "certificate.pem",
            "insurance.toml",
            "insurance.log",
            "vehicle.log",
        ];
        assert!(public.contains(&&*name), "{name}");
    }
    // Four roles, three keys of the API, two of the logs, those of the fingerprints and the certificate.
    assert_eq!(closed.len(), 11, "{closed:?}");
}

#[tokio::test]
async fn it_starts_under_a_strict_umask_and_tells_that_database_url_is_not_used() {
    let (parent, production) = (data_dir(), TcpListener::bind("127.0.0.1:0").unwrap());
    production.set_nonblocking(true).unwrap();
    let place = format!("{}/production", production.local_addr().unwrap());
    let folder = parent.path().join("made/by/the/program");
    let mut command = command_with_umask("077", &folder, &[]);
    command.env("DATABASE_URL", format!("postgres://owner:s3cret@{place}"));
    let stack = Running::of(command.spawn().unwrap()).await;
    let said = stack.said.join("\n");
    assert!(
        said.contains(&format!("DATABASE_URL is not used ({place})")),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
    let (client, url) = (client(None), format!("{}/readyz", stack.vehicle));
    until(async || stack.get(&client, &url).await.0 == 200).await;
    let called = production.accept();
    assert!(called.is_err(), "the server of DATABASE_URL was called");
}

#[tokio::test]
async fn a_server_of_ones_own_is_told_by_host_and_database() {
    let folder = data_dir();
    // Nothing listens there.
    let own = "postgres://owner:s3cret@127.0.0.1:1/development";
    let mut process = command(folder.path(), &[])
        .env("THREADPILOT_DATABASE_URL", own)
        .spawn()
        .unwrap();
    said(&mut process, "using your server: 127.0.0.1:1/development").await;
    assert_eq!(process.wait().await.unwrap().code(), Some(1));
    assert!(!folder.path().join("pg").exists());
}

#[tokio::test]
async fn a_taken_port_is_told_with_what_to_do_before_anything_starts() {
    let (folder, taken) = (data_dir(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = taken.local_addr().unwrap().port().to_string();
    let mut process = command(folder.path(), &[])
        .args(["--vehicle-port", &port])
        .spawn()
        .unwrap();
    let mut complaint = String::new();
    process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .await
        .unwrap();
    assert_eq!(process.wait().await.unwrap().code(), Some(1));
    assert!(
        complaint.contains(&format!("port {port} is taken")),
        "{complaint}"
    );
    assert!(complaint.contains("--vehicle-port"), "{complaint}");
    assert!(!folder.path().join("pg").exists());
}
