use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Search, default_data_dir, find, temporary_data_dir};

use super::*;

fn binaries() -> Binaries {
    find(&Search::of_this_machine(), &mut |_, _| {}).unwrap()
}

fn temporary() -> Options {
    Options {
        data_dir: temporary_data_dir(),
        lifetime: Lifetime::Temporary,
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < give_up, "still not: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn server_pid(data_dir: &Path) -> String {
    let file = fs::read_to_string(data_dir.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

/// A kept folder that goes with the test.
struct Kept(Options);

impl Kept {
    fn new() -> Self {
        Self(Options {
            data_dir: temporary_data_dir(),
            lifetime: Lifetime::Kept,
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.data_dir);
    }
}

/// Another process that holds a cluster: this test binary, running [`owner`] only.
struct Owner {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    port: u16,
    keeper: String,
}

const OWNED_FOLDER: &str = "PRIVATE_POSTGRES_OWNED_FOLDER";
const OWNED_LIFETIME: &str = "PRIVATE_POSTGRES_OWNED_LIFETIME";

#[test]
#[ignore = "started by other tests as a process of its own"]
fn owner() {
    let Some(data_dir) = env::var_os(OWNED_FOLDER) else {
        return;
    };
    let kept = env::var_os(OWNED_LIFETIME) == Some(OsString::from("Kept"));
    let lifetime = if kept {
        Lifetime::Kept
    } else {
        Lifetime::Temporary
    };
    let cluster = Cluster::start(
        &binaries(),
        &Options {
            data_dir: data_dir.into(),
            lifetime,
        },
    )
    .unwrap();
    let line = format!(
        "owner {} {}\n",
        cluster.port(),
        cluster.keeper.as_ref().unwrap().id()
    );
    io::Write::write_all(&mut io::stdout(), line.as_bytes()).unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

impl Owner {
    fn start(options: &Options) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([
            "--exact",
            "cluster::tests::owner",
            "--ignored",
            "--nocapture",
        ]);
        command
            .env(OWNED_FOLDER, &options.data_dir)
            .env(OWNED_LIFETIME, format!("{:?}", options.lifetime));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("owner ") {
            said.clear();
            assert_ne!(
                stdout.read_line(&mut said).unwrap(),
                0,
                "the owner started no cluster"
            );
        }
        let mut numbers = said
            .split_whitespace()
            .skip_while(|word| *word != "owner")
            .skip(1);
        let port = numbers.next().unwrap().parse().unwrap();
        let keeper = numbers.next().unwrap().to_owned();
        Self {
            process,
            stdout,
            port,
            keeper,
        }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Returns only when nobody else holds the owner's output.
        self.stdout.read_to_end(&mut Vec::new()).unwrap();
    }
}

fn signal(signal: Signal, pid: &str) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_temporary_cluster_listens_and_leaves_nothing_behind() {
    let options = temporary();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let port = cluster.port();
    assert!(listens(port));
    assert!(cluster.admin_url().starts_with("postgres://postgres:"));
    assert!(
        cluster
            .admin_url()
            .ends_with(&format!("@127.0.0.1:{port}/postgres"))
    );
    cluster.stop().unwrap();
    assert!(!listens(port));
    assert!(!options.data_dir.exists());
}

#[test]
fn a_server_that_was_killed_is_noticed_and_starts_again_on_its_port() {
    let options = temporary();
    let mut cluster = Cluster::start(&binaries(), &options).unwrap();
    assert!(cluster.is_running());
    signal(Signal::KILL, &server_pid(&options.data_dir));
    wait_until("the end is noticed", || !cluster.is_running());
    // A child that the server has just forked holds its socket until it notices.
    wait_until("the port is free", || !listens(cluster.port()));

    wait_until("it starts again", || cluster.start_again().is_ok());
    assert!(cluster.is_running());
    assert!(listens(cluster.port()));
    cluster.stop().unwrap();
    assert!(!options.data_dir.exists());
}

#[test]
fn a_keeper_that_was_killed_is_noticed_and_replaced_with_its_server() {
    let options = temporary();
    let mut cluster = Cluster::start(&binaries(), &options).unwrap();
    let keeper = cluster.keeper.as_ref().unwrap().id();
    signal(Signal::KILL, &keeper.to_string());
    wait_until("the end is noticed", || !cluster.is_running());

    let server = server_pid(&options.data_dir);
    wait_until("it starts again", || cluster.start_again().is_ok());
    assert!(cluster.is_running());
    assert_ne!(cluster.keeper.as_ref().unwrap().id(), keeper);
    assert_ne!(server_pid(&options.data_dir), server);
    assert!(listens(cluster.port()));
    cluster.stop().unwrap();
    assert!(!options.data_dir.exists());
}

#[test]
fn dropping_stops_too() {
    let options = temporary();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let port = cluster.port();
    drop(cluster);
    assert!(!listens(port));
    assert!(!options.data_dir.exists());
}

#[test]
fn the_password_is_in_a_private_file_and_not_in_the_debug_form() {
    let options = temporary();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let file = options.data_dir.join("password");
    let password = fs::read_to_string(&file).unwrap();
    assert_eq!(password.len(), 48);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(&options.data_dir).unwrap().mode() & 0o777,
        0o700
    );
    assert!(cluster.admin_url().contains(&password));
    assert!(!format!("{cluster:?}").contains(&password));
    let rules = fs::read_to_string(options.data_dir.join("data/pg_hba.conf")).unwrap();
    let mut rules = rules
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(rules.all(|line| line.ends_with("scram-sha-256")));
}

#[test]
fn a_kept_cluster_starts_again_with_its_data_and_its_password() {
    let kept = Kept::new();
    let first = Cluster::start(&binaries(), &kept.0).unwrap();
    let password = |cluster: &Cluster| cluster.admin_url().split('@').next().unwrap().to_owned();
    let (secret, made) = (
        password(&first),
        fs::metadata(kept.0.data_dir.join("data")).unwrap().ino(),
    );
    first.stop().unwrap();
    let second = Cluster::start(&binaries(), &kept.0).unwrap();
    assert_eq!(password(&second), secret);
    assert_eq!(
        fs::metadata(kept.0.data_dir.join("data")).unwrap().ino(),
        made
    );
}

#[test]
fn a_temporary_folder_starts_again_right_after_its_owner_was_killed() {
    let options = temporary();
    for _ in 0..3 {
        Owner::start(&options).kill();
    }
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    assert!(listens(cluster.port()));
}

#[test]
fn two_launchers_do_not_share_a_folder() {
    let options = temporary();
    let _cluster = Cluster::start(&binaries(), &options).unwrap();
    let second = Cluster::start(&binaries(), &options);
    assert!(matches!(second, Err(Error::AlreadyInUse(_))), "{second:?}");
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("thesis.txt");
    fs::write(&file, "years of work").unwrap();
    let options = Options {
        data_dir: folder.path().to_owned(),
        lifetime: Lifetime::Temporary,
    };
    let refused = Cluster::start(&binaries(), &options);
    assert!(
        matches!(refused, Err(Error::ForeignContent(_))),
        "{refused:?}"
    );
    assert!(file.exists());
}

#[test]
fn data_of_another_version_is_left_alone() {
    let kept = Kept::new();
    Cluster::start(&binaries(), &kept.0)
        .unwrap()
        .stop()
        .unwrap();
    fs::write(kept.0.data_dir.join("data/PG_VERSION"), "9.6\n").unwrap();
    let error = Cluster::start(&binaries(), &kept.0).unwrap_err();
    assert!(matches!(&error, Error::OtherVersion { made_by, .. } if made_by == "9.6"));
    assert!(error.to_string().contains("was made by PostgreSQL 9.6"));
    assert!(kept.0.data_dir.join("data").is_dir());
}

#[test]
fn a_lost_password_is_named() {
    let kept = Kept::new();
    Cluster::start(&binaries(), &kept.0)
        .unwrap()
        .stop()
        .unwrap();
    fs::remove_file(kept.0.data_dir.join("password")).unwrap();
    let error = Cluster::start(&binaries(), &kept.0).unwrap_err();
    assert!(matches!(error, Error::PasswordLost(_)));
}

#[test]
fn half_a_cluster_of_an_interrupted_start_is_made_anew() {
    let kept = Kept::new();
    fs::create_dir_all(kept.0.data_dir.join("new/base")).unwrap();
    fs::write(kept.0.data_dir.join("lock"), "").unwrap();
    let account = Account::for_tools().unwrap();
    for folder in ["", "new", "new/base"] {
        account.adopt(&kept.0.data_dir.join(folder)).unwrap();
    }
    let cluster = Cluster::start(&binaries(), &kept.0).unwrap();
    assert!(listens(cluster.port()));
}

#[test]
fn a_port_that_was_snatched_away_is_replaced() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let mut first = true;
    let pick_port = || {
        if std::mem::take(&mut first) {
            Ok(taken_port)
        } else {
            free_port()
        }
    };
    let cluster = Cluster::start_on(&binaries(), &temporary(), pick_port).unwrap();
    assert_ne!(cluster.port(), taken_port);
    assert!(listens(cluster.port()));
}

#[test]
fn a_server_that_does_not_start_says_why_and_a_temporary_folder_goes() {
    let options = temporary();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Cluster::start_on(&binaries(), &options, || Ok(port)).unwrap_err();
    assert!(
        matches!(&error, Error::NotStarted { log, .. } if log.contains("could not bind")),
        "{error}"
    );
    assert!(!options.data_dir.exists());
}

#[test]
fn the_cluster_ends_with_a_killed_owner() {
    let options = temporary();
    let owner = Owner::start(&options);
    let port = owner.port;
    assert!(listens(port));
    owner.kill();
    wait_until("the server is gone", || !listens(port));
    wait_until("the folder is gone", || !options.data_dir.exists());
}

#[test]
fn a_kept_folder_starts_again_right_after_its_owner_was_killed() {
    let kept = Kept::new();
    for _ in 0..3 {
        Owner::start(&kept.0).kill();
    }
    let cluster = Cluster::start(&binaries(), &kept.0).unwrap();
    assert!(listens(cluster.port()));
}

#[test]
fn a_server_that_outlived_its_keeper_is_replaced() {
    let kept = Kept::new();
    let owner = Owner::start(&kept.0);
    let (port, keeper) = (owner.port, owner.keeper.clone());
    signal(Signal::KILL, &keeper);
    owner.kill();
    assert!(listens(port));
    let old = server_pid(&kept.0.data_dir);
    let cluster = Cluster::start(&binaries(), &kept.0).unwrap();
    assert_ne!(server_pid(&kept.0.data_dir), old);
    assert!(listens(cluster.port()));
    assert!(cluster.port() == port || !listens(port));
}

#[test]
fn the_server_is_stopped_even_when_its_keeper_was_killed() {
    let options = temporary();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let port = cluster.port();
    signal(
        Signal::KILL,
        &cluster.keeper.as_ref().unwrap().id().to_string(),
    );
    cluster.stop().unwrap();
    assert!(!listens(port));
    assert!(!options.data_dir.exists());
}

#[test]
fn the_server_is_stopped_even_when_its_folder_was_removed() {
    let kept = Kept::new();
    for folder in [&kept.0, &temporary()] {
        let cluster = Cluster::start(&binaries(), folder).unwrap();
        let pid = server_pid(&folder.data_dir);
        let data = folder.data_dir.display().to_string();
        // The server may write while its files are being removed.
        wait_until("the folder is gone", || {
            fs::remove_dir_all(&folder.data_dir).is_ok() || !folder.data_dir.exists()
        });
        let runs = || left_over::command_line(&pid).is_some_and(|line| line.contains(&data));
        assert!(runs());
        cluster.stop().unwrap();
        wait_until("the server is gone", || !runs());
    }
}

#[test]
fn a_server_on_a_folder_that_was_made_anew_is_not_stopped() {
    let kept = Kept::new();
    let first = Cluster::start(&binaries(), &kept.0).unwrap();
    wait_until("the folder is gone", || {
        fs::remove_dir_all(&kept.0.data_dir).is_ok() || !kept.0.data_dir.exists()
    });
    let second = Cluster::start(&binaries(), &kept.0).unwrap();
    first.stop().unwrap();
    assert!(listens(second.port()));
}

#[test]
fn a_process_that_got_the_number_of_an_old_server_is_not_harmed() {
    let kept = Kept::new();
    Cluster::start(&binaries(), &kept.0)
        .unwrap()
        .stop()
        .unwrap();
    let mut bystander = Account::for_tools()
        .unwrap()
        .command("sleep", Path::new("/"))
        .arg("600")
        .spawn()
        .unwrap();
    fs::write(
        kept.0.data_dir.join("data/postmaster.pid"),
        format!("{}\n", bystander.id()),
    )
    .unwrap();
    let cluster = Cluster::start(&binaries(), &kept.0);
    let lives = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(listens(cluster.unwrap().port()));
    assert!(lives);
}

#[test]
fn a_polite_end_of_the_keeper_is_refused_while_the_owner_lives() {
    let cluster = Cluster::start(&binaries(), &temporary()).unwrap();
    let keeper = cluster.keeper.as_ref().unwrap().id().to_string();
    for polite in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(polite, &keeper);
    }
    // The stop goes through the keeper, so one that had ended would be noticed here.
    let mut cluster = cluster;
    assert!(cluster.keeper.take().unwrap().finish().unwrap().success());
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_at_the_terminal_reaches_neither_server_nor_keeper() {
    // Fields of stat(5) after the name: state, parent, process group.
    let group = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(2)
            .unwrap()
            .to_owned()
    };
    let options = temporary();
    let cluster = Cluster::start(&binaries(), &options).unwrap();
    let own = group("self");
    assert_ne!(group(&server_pid(&options.data_dir)), own);
    assert_ne!(
        group(&cluster.keeper.as_ref().unwrap().id().to_string()),
        own
    );
}

#[test]
fn the_default_folder_of_a_workspace_works() {
    let workspace = tempfile::tempdir().unwrap();
    let options = Options {
        data_dir: default_data_dir(workspace.path()),
        lifetime: Lifetime::Temporary,
    };
    Cluster::start(&binaries(), &options)
        .unwrap()
        .stop()
        .unwrap();
    assert!(!options.data_dir.exists());
    let _ = fs::remove_dir(options.data_dir.parent().unwrap());
}
