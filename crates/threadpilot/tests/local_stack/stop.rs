use std::{fs, time::Duration};

use rustix::process::Signal;
use tokio::time::{interval, timeout};

use crate::running::{Running, client, data_dir, is_alive, server_pid};

/// Far more than any of these ends takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(mut done: impl FnMut() -> bool) {
    let mut looks = interval(Duration::from_millis(20));
    timeout(PATIENCE, async {
        while !done() {
            looks.tick().await;
        }
    })
    .await
    .unwrap();
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_everything() {
    for stop in [
        |stack: &Running| stack.signal(Signal::TERM),
        Running::interrupt,
    ] {
        let folder = data_dir();
        let mut stack = Running::start(folder.path(), &[]).await;
        let server = server_pid(folder.path());
        stop(&stack);
        assert_eq!(stack.ended().await, Some(0));
        until(|| !is_alive(server)).await;
        for service in [&stack.vehicle, &stack.insurance] {
            assert!(std::net::TcpStream::connect(address(service)).is_err());
        }
    }
}

#[tokio::test]
async fn a_second_start_keeps_keys_and_data() {
    let folder = data_dir();
    let mut first = Running::start(folder.path(), &[]).await;
    first.signal(Signal::TERM);
    assert_eq!(first.ended().await, Some(0));
    let made = fs::metadata(folder.path().join("pg/data/PG_VERSION"))
        .unwrap()
        .modified()
        .unwrap();

    let second = Running::start(folder.path(), &[]).await;
    assert_eq!(second.key, first.key);
    let still = fs::metadata(folder.path().join("pg/data/PG_VERSION"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(made, still);
}

#[tokio::test]
async fn nothing_is_left_when_the_program_is_killed() {
    let folder = data_dir();
    let mut stack = Running::start(folder.path(), &[]).await;
    let server = server_pid(folder.path());
    stack.signal(Signal::KILL);
    assert_eq!(stack.ended().await, None);
    until(|| !is_alive(server)).await;
    let services = [address(&stack.vehicle), address(&stack.insurance)];
    until(|| {
        services
            .iter()
            .all(|place| std::net::TcpStream::connect(place).is_err())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_ends_by_itself_ends_the_stack_with_the_reason() {
    let folder = data_dir();
    let mut stack = Running::start(folder.path(), &[]).await;
    let metrics = format!("{}/metrics", stack.vehicle);
    assert_eq!(stack.get(&client(None), &metrics).await.0, 200);
    let children = fs::read_to_string(format!(
        "/proc/{0}/task/{0}/children",
        stack.process.id().unwrap()
    ));
    let Ok(children) = children else {
        eprintln!("skipped: this system does not list a process's children");
        return;
    };
    let service = children.split_whitespace().find(|id| {
        fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains("vehicle"))
    });
    let id = service.unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), Signal::KILL)
        .unwrap();
    assert_eq!(stack.ended().await, Some(1));
}
