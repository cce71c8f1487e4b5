use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Search, find};

use super::*;

fn binaries() -> Binaries {
    find(&Search::of_this_machine(), &mut |_, _| {}).unwrap()
}

fn temporary() -> Cluster {
    Cluster::start(&binaries(), &DataDir::Temporary).unwrap()
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

fn server_pid(folder: &Path) -> u32 {
    let file = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

/// A folder that is kept, and goes with the test.
struct Kept(PathBuf);

impl Kept {
    fn new() -> Self {
        Self(crate::folder::temporary())
    }

    fn start(&self) -> Result<Cluster, Error> {
        Cluster::start(&binaries(), &DataDir::Kept(self.0.clone()))
    }

    /// With a cluster that was stopped.
    fn made() -> Self {
        let kept = Self::new();
        kept.start().unwrap().stop().unwrap();
        kept
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Another process that holds a cluster: this test binary, running [`owner`] only.
struct Owner {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    port: u16,
    folder: PathBuf,
}

/// Empty for a temporary one.
const OWNED_FOLDER: &str = "PRIVATE_POSTGRES_OWNED_FOLDER";

#[test]
#[ignore = "started by other tests as a process of its own"]
fn owner() {
    let Some(folder) = env::var_os(OWNED_FOLDER) else {
        return;
    };
    let data_dir = if folder.is_empty() {
        DataDir::Temporary
    } else {
        DataDir::Kept(folder.into())
    };
    let cluster = Cluster::start(&binaries(), &data_dir).unwrap();
    let line = format!(
        "owner {} {}\n",
        cluster.port(),
        cluster.folder.path.display()
    );
    io::Write::write_all(&mut io::stdout(), line.as_bytes()).unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

impl Owner {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "cluster::tests::owner",
                "--ignored",
                "--nocapture",
            ])
            .env(OWNED_FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("owner ") {
            said.clear();
            let read = stdout.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "the owner started no cluster");
        }
        let mut words = said.split_whitespace().skip_while(|word| *word != "owner");
        Self {
            process,
            stdout,
            port: words.nth(1).unwrap().parse().unwrap(),
            folder: words.next().unwrap().into(),
        }
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Returns only when nobody else holds the owner's output.
        self.stdout.read_to_end(&mut Vec::new()).unwrap();
    }
}

fn signal(signal: Signal, pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_temporary_cluster_listens_and_leaves_nothing_behind() {
    for stop in [|it: Cluster| it.stop().unwrap(), drop] {
        let cluster = temporary();
        let (port, folder) = (cluster.port(), cluster.folder.path.clone());
        assert!(listens(port));
        let url = cluster.admin_url();
        assert!(url.starts_with("postgres://postgres:"));
        assert!(url.ends_with(&format!("@127.0.0.1:{port}/postgres")));
        stop(cluster);
        assert!(!listens(port));
        assert!(!folder.exists());
    }
}

#[test]
fn a_server_that_was_killed_is_noticed_and_starts_again_on_its_port() {
    let kept = Kept::new();
    let mut cluster = kept.start().unwrap();
    signal(Signal::KILL, server_pid(&kept.0));
    wait_until("the end is noticed", || !cluster.is_running());
    // A child that the server has just forked holds its socket until it notices.
    wait_until("the port is free", || !listens(cluster.port()));
    wait_until("it starts again", || cluster.start_again().is_ok());
    assert!(cluster.is_running());
    assert!(listens(cluster.port()));
}

#[test]
fn a_keeper_that_was_killed_is_noticed_and_replaced_with_its_server() {
    let kept = Kept::new();
    let mut cluster = kept.start().unwrap();
    let server = server_pid(&kept.0);
    signal(Signal::KILL, cluster.keeper.as_ref().unwrap().id());
    wait_until("the end is noticed", || !cluster.is_running());
    wait_until("it starts again", || cluster.start_again().is_ok());
    assert!(cluster.is_running());
    assert_ne!(server_pid(&kept.0), server);
    assert!(listens(cluster.port()));
}

#[test]
fn the_password_is_in_a_private_file_and_not_in_the_debug_form() {
    let cluster = temporary();
    let folder = &cluster.folder.path;
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let password = fs::read_to_string(folder.join("password")).unwrap();
    assert_eq!(password.len(), 48);
    assert_eq!(mode(&folder.join("password")), 0o600);
    assert_eq!(mode(folder), 0o700);
    assert!(cluster.admin_url().contains(&password));
    assert!(!format!("{cluster:?}").contains(&password));
    let rules = fs::read_to_string(folder.join("data/pg_hba.conf")).unwrap();
    let mut rules = rules
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert!(rules.all(|line| line.ends_with("scram-sha-256")));
}

#[test]
fn a_kept_cluster_starts_again_with_its_data_and_its_password() {
    let kept = Kept::new();
    let inode = || fs::metadata(kept.0.join("data")).unwrap().ino();
    let password = |cluster: &Cluster| cluster.admin_url().split('@').next().unwrap().to_owned();
    let first = kept.start().unwrap();
    let (secret, made) = (password(&first), inode());
    first.stop().unwrap();
    let second = kept.start().unwrap();
    assert_eq!((password(&second), inode()), (secret, made));
}

#[test]
fn two_launchers_do_not_share_a_folder() {
    let kept = Kept::new();
    let _cluster = kept.start().unwrap();
    let second = kept.start();
    assert!(matches!(second, Err(Error::AlreadyInUse(_))), "{second:?}");
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("thesis.txt");
    fs::write(&file, "years of work").unwrap();
    let refused = Cluster::start(&binaries(), &DataDir::Kept(folder.path().to_owned()));
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::ForeignContent(_)), "{refused:?}");
    assert!(file.exists());
}

#[test]
fn data_of_another_version_is_left_alone() {
    let kept = Kept::made();
    fs::write(kept.0.join("data/PG_VERSION"), "9.6\n").unwrap();
    let error = kept.start().unwrap_err();
    assert!(matches!(&error, Error::OtherVersion { made_by, .. } if made_by == "9.6"));
    assert!(error.to_string().contains("was made by PostgreSQL 9.6"));
    assert!(kept.0.join("data").is_dir());
}

#[test]
fn a_lost_password_is_named() {
    let kept = Kept::made();
    fs::remove_file(kept.0.join("password")).unwrap();
    assert!(matches!(kept.start(), Err(Error::PasswordLost(_))));
}

#[test]
fn half_a_cluster_of_an_interrupted_start_is_made_anew() {
    let kept = Kept::new();
    fs::create_dir_all(kept.0.join("new/base")).unwrap();
    fs::write(kept.0.join("lock"), "").unwrap();
    let account = Account::for_tools().unwrap();
    for folder in ["", "new", "new/base"] {
        account.adopt(&kept.0.join(folder)).unwrap();
    }
    assert!(listens(kept.start().unwrap().port()));
}

/// A port that somebody else listens on.
fn taken() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_port_that_was_snatched_away_is_replaced() {
    let (_listener, taken) = taken();
    let mut ports = [taken].into_iter();
    let pick_port = || ports.next().map_or_else(free_port, Ok);
    let cluster = Cluster::start_on(&binaries(), &DataDir::Temporary, pick_port).unwrap();
    assert_ne!(cluster.port(), taken);
    assert!(listens(cluster.port()));
}

#[test]
fn a_server_that_does_not_start_says_why_and_a_temporary_folder_goes() {
    let (_listener, taken) = taken();
    let refused = Cluster::start_on(&binaries(), &DataDir::Temporary, || Ok(taken));
    let Err(Error::NotStarted { path, log }) = refused else {
        panic!("{refused:?}");
    };
    assert!(log.contains("could not bind"), "{log}");
    assert!(!path.exists());
}

#[test]
fn the_cluster_ends_with_a_killed_owner() {
    let owner = Owner::start(Path::new(""));
    let (port, folder) = (owner.port, owner.folder.clone());
    assert!(listens(port));
    owner.kill();
    wait_until("the server is gone", || !listens(port));
    wait_until("the folder is gone", || !folder.exists());
}

#[test]
fn a_kept_folder_starts_again_right_after_its_owner_was_killed() {
    let kept = Kept::new();
    for _ in 0..3 {
        Owner::start(&kept.0).kill();
    }
    assert!(listens(kept.start().unwrap().port()));
}

#[test]
fn a_server_that_nobody_keeps_is_replaced() {
    let kept = Kept::made();
    let (binaries, port) = (binaries(), free_port().unwrap());
    let mut server = Account::for_tools()
        .unwrap()
        .command(binaries.dir().join("postgres"), &kept.0)
        .arg("-D")
        .arg(kept.0.join("data"))
        .args(["-p", &port.to_string(), "-c", "unix_socket_directories="])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it runs", || listens(port));
    let cluster = kept.start().unwrap();
    server.wait().unwrap();
    assert!(listens(cluster.port()));
}

#[test]
fn the_server_is_stopped_even_when_its_keeper_was_killed() {
    let cluster = temporary();
    let (port, folder) = (cluster.port(), cluster.folder.path.clone());
    signal(Signal::KILL, cluster.keeper.as_ref().unwrap().id());
    cluster.stop().unwrap();
    assert!(!listens(port));
    assert!(!folder.exists());
}

/// The server may write while its files are being removed.
fn remove_folder(folder: &Path) {
    wait_until("the folder is gone", || {
        fs::remove_dir_all(folder).is_ok() || !folder.exists()
    });
}

#[test]
fn the_server_is_stopped_even_when_its_folder_was_removed() {
    let cluster = temporary();
    let port = cluster.port();
    // It goes on, unless it just had something to write.
    remove_folder(&cluster.folder.path);
    cluster.stop().unwrap();
    assert!(!listens(port));
}

#[test]
fn a_server_on_a_folder_that_was_made_anew_is_not_stopped() {
    let kept = Kept::new();
    let first = kept.start().unwrap();
    remove_folder(&kept.0);
    let second = kept.start().unwrap();
    first.stop().unwrap();
    assert!(listens(second.port()));
}

#[test]
fn a_process_that_got_the_number_of_an_old_server_is_not_harmed() {
    let kept = Kept::made();
    let mut bystander = Account::for_tools()
        .unwrap()
        .command("sleep", Path::new("/"))
        .arg("600")
        .spawn()
        .unwrap();
    let pid_file = kept.0.join("data/postmaster.pid");
    fs::write(pid_file, format!("{}\n", bystander.id())).unwrap();
    let cluster = kept.start();
    let lives = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(listens(cluster.unwrap().port()));
    assert!(lives);
}

#[test]
fn a_polite_end_of_the_keeper_is_refused_while_the_owner_lives() {
    let mut cluster = temporary();
    let keeper = cluster.keeper.as_ref().unwrap().id();
    for polite in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(polite, keeper);
    }
    // The stop goes through the keeper, so one that had ended would be noticed here.
    assert!(cluster.keeper.take().unwrap().finish().unwrap().success());
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_at_the_terminal_reaches_neither_server_nor_keeper() {
    // Fields of stat(5) after the name: state, parent, process group.
    let group = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(2).unwrap().to_owned()
    };
    let cluster = temporary();
    let own = group(std::process::id());
    assert_ne!(group(server_pid(&cluster.folder.path)), own);
    assert_ne!(group(cluster.keeper.as_ref().unwrap().id()), own);
}
