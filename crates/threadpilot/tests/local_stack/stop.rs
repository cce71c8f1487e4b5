use std::fs;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use super::running::{
    Running, command, data_dir, interrupt, is_alive, said, server_pid, services_of, until,
};

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_everything_and_a_second_start_keeps_keys_and_data() {
    let folder = data_dir();
    let made = || {
        let version = fs::metadata(folder.path().join("pg/data/PG_VERSION"));
        version.unwrap().modified().unwrap()
    };
    let mut seen = Vec::new();
    for stop in [
        |stack: &Running| stack.signal(Signal::TERM),
        Running::interrupt,
    ] {
        let mut stack = Running::start(folder.path(), &[]).await;
        let server = server_pid(folder.path());
        stop(&stack);
        assert_eq!(stack.ended().await, Some(0));
        until(async || !is_alive(server)).await;
        for service in [&stack.vehicle, &stack.insurance] {
            assert!(std::net::TcpStream::connect(address(service)).is_err());
        }
        seen.push((stack.key, stack.operations_key, made()));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn nothing_is_left_when_the_program_is_killed_while_it_starts() {
    let folder = data_dir();
    let mut process = command(folder.path(), &[]).spawn().unwrap();
    said(&mut process, "starting both services").await;
    let (program, server) = (process.id().unwrap(), server_pid(folder.path()));
    process.kill().await.unwrap();
    until(async || !is_alive(server)).await;
    until(async || services_of(program).is_empty()).await;
}

#[tokio::test]
async fn ctrl_c_while_it_starts_is_no_error() {
    for line in ["bringing both schemas", "starting both services"] {
        let folder = data_dir();
        let mut process = command(folder.path(), &[]).spawn().unwrap();
        said(&mut process, line).await;
        let program = process.id().unwrap();
        interrupt(&process);
        assert_eq!(process.wait().await.unwrap().code(), Some(130));
        let mut complaint = String::new();
        process
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut complaint)
            .await
            .unwrap();
        assert_eq!(complaint, "");
        until(async || services_of(program).is_empty()).await;
    }
}

#[tokio::test]
async fn nothing_is_left_when_the_program_is_killed_while_vehicle_is_paused() {
    let folder = data_dir();
    let mut stack = Running::start(folder.path(), &["--vehicle-fault", "slow"]).await;
    let (program, server) = (stack.process.id().unwrap(), server_pid(folder.path()));
    assert_eq!(services_of(program).len(), 2);
    stack.signal(Signal::KILL);
    assert_eq!(stack.ended().await, None);
    until(async || !is_alive(server)).await;
    until(async || services_of(program).is_empty()).await;
}
