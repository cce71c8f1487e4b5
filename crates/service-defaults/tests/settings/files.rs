//! Only a regular file of a bounded size is read, and nobody waits for another one.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use service_defaults::process::Process;
use tokio::time::sleep;

use super::support::{Place, Sample};

const MIB: usize = 1024 * 1024;

/// Puts something at a path.
type Make = fn(&Path);

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// A good file of this length.
fn of_length(bytes: usize) -> String {
    let start = "[sample]\nword = \"long\"\n#";
    format!("{start}{}", "x".repeat(bytes - start.len()))
}

/// Why the place is refused; a start that hangs fails the test instead of holding it up.
fn refused_in_time(place: Place) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(place.refused()));
    let said = receiver.recv_timeout(Duration::from_secs(30));
    said.expect("the start hangs")
}

#[test]
fn what_is_no_regular_file_is_refused_at_the_start() {
    let make: [(&str, Make); 5] = [
        ("fifo", make_fifo),
        ("link to a fifo", |path| {
            let fifo = path.with_extension("fifo");
            make_fifo(&fifo);
            symlink(fifo, path).unwrap();
        }),
        ("endless device", |path| {
            symlink("/dev/zero", path).unwrap();
        }),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
    ];
    for (what, make) in make {
        let place = Place::new();
        let path = place.path("odd.toml");
        make(&path);
        let message = refused_in_time(place.with_config_at(&path));
        assert!(
            message.contains("odd.toml: is no regular file"),
            "{what}: {message}"
        );
    }
}

#[test]
fn a_file_over_one_mebibyte_is_refused() {
    let word = |place: Place| place.load().map(|settings| settings.service.sample.word);
    let most = Place::new().with_config(&of_length(MIB));
    assert_eq!(word(most).unwrap(), "long");
    let more = Place::new().with_config(&of_length(MIB + 1));
    let message = more.refused();
    assert!(
        message.contains("config.toml: is larger than 1 MiB"),
        "{message}"
    );
    let secrets = format!("{{}}{}", " ".repeat(MIB));
    let message = Place::new().with_secrets(&secrets).refused();
    assert!(
        message.contains("secrets.json: is larger than 1 MiB"),
        "{message}"
    );
}

#[test]
fn a_section_is_not_named_with_a_dot() {
    let both = "\"server.port\" = 1\n[server]\nport = 2";
    let message = Place::new().with_config(both).refused();
    assert!(message.contains("server.port"), "{message}");
    let both = r#"{"sample": {"server.port": 1, "server": {"port": 2}}}"#;
    let message = Place::new().with_secrets(both).refused();
    assert!(message.contains("server.port"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_becomes_something_else_is_ignored_until_it_is_one_again() {
    let make: [(Make, &str); 3] = [
        (make_fifo, "is no regular file"),
        (
            |path| symlink("/dev/zero", path).unwrap(),
            "is no regular file",
        ),
        (
            |path| fs::write(path, of_length(MIB + 1)).unwrap(),
            "is larger than 1 MiB",
        ),
    ];
    for (make, reason) in make {
        let place = Place::new().with_config("[sample]\nword = \"good\"");
        let process = Process::<Sample>::new("sample", place.sources()).unwrap();
        let word = || process.settings().service.sample.word.clone();
        tokio::spawn(process.follow_settings());
        let path = place.path("config.toml");
        fs::remove_file(&path).unwrap();
        make(&path);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(word(), "good");
        let error = process.live().last_error().unwrap();
        assert!(error.contains(reason), "{error}");
        fs::remove_file(&path).unwrap();
        place.write("config.toml", "[sample]\nword = \"mended\"");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(
            (word().as_str(), process.live().last_error()),
            ("mended", None)
        );
    }
}
