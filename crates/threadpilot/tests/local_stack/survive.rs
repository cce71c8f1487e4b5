//! What ends by itself is started again.

use std::net::TcpListener;

use tokio::io::AsyncReadExt;

use super::running::{
    Running, client, command, data_dir, is_alive, keeper_of, kill, server_pid, service_of, until,
};

#[tokio::test]
async fn a_service_that_ends_by_itself_is_started_again_and_the_other_goes_on() {
    let folder = data_dir();
    let mut stack = Running::start(folder.path(), &[]).await;
    let program = stack.process.id().unwrap();
    for (name, other) in [("vehicle", "insurance"), ("insurance", "vehicle")] {
        let (killed, spared) = (service_of(program, name), service_of(program, other));
        kill(killed.unwrap());
        let told = stack.says(&format!("{name} has ended")).await;
        assert!(told.contains("SIGKILL") && told.contains(".log"), "{told}");
        stack.says(&format!("{name} runs again")).await;
        assert_ne!(service_of(program, name), killed);
        assert_eq!(service_of(program, other), spared);
    }
    // A port that is taken meanwhile is tried again.
    let address = stack.vehicle.trim_start_matches("http://").to_owned();
    kill(service_of(program, "vehicle").unwrap());
    stack.says("starting vehicle again in").await;
    let taken = TcpListener::bind(&address).unwrap();
    stack.says("starting vehicle again in").await;
    drop(taken);
    stack.says("vehicle runs again").await;
    let url = format!("{}/api/v1/insurances/199001011234", stack.insurance);
    let (status, text) = stack.get(&client(None), &url).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains(r#""source":"live""#), "{text}");
}

#[tokio::test]
async fn a_service_that_cannot_start_at_all_ends_the_stack_with_the_reason() {
    let folder = data_dir();
    let mut process = command(folder.path(), &[])
        .env("VEHICLE__LIMITS__MAX_REQUESTS_IN_PROGRESS", "0")
        .spawn()
        .unwrap();
    let mut complaint = String::new();
    let mut stderr = process.stderr.take().unwrap();
    stderr.read_to_string(&mut complaint).await.unwrap();
    assert_eq!(process.wait().await.unwrap().code(), Some(1));
    assert!(
        complaint.contains("limits.max_requests_in_progress"),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_database_server_that_ends_by_itself_is_started_again_ever_later_with_its_data() {
    let folder = data_dir();
    let mut stack = Running::start(folder.path(), &[]).await;
    let server = server_pid(folder.path());
    kill(server);
    stack.says("starting it again in 500 ms").await;
    stack.says("PostgreSQL runs again").await;
    assert!(!is_alive(server));
    // What it ends with: a crash, or the loss of the process that would stop it.
    kill(keeper_of(folder.path()).unwrap());
    let told = stack
        .says("PostgreSQL is not running; starting it again")
        .await;
    assert!(!told.contains(" 500 ms"), "{told}");
    stack.says("PostgreSQL runs again").await;
    assert!(keeper_of(folder.path()).is_some());
    let url = format!("{}/api/v1/insurances/199001011234", stack.insurance);
    let client = client(None);
    until(async || stack.get(&client, &url).await.0 == 200).await;
}
