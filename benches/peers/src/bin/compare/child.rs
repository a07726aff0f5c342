//! A server as a process of its own, on its core. Ended by its number when it is dropped.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::servers::Start;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
const NGINX_CONFIG: &str = include_str!("../../../nginx.conf");

/// A server that runs.
pub struct Running {
    pub address: SocketAddr,
    child: Child,
    folder: Option<PathBuf>,
}

impl Running {
    pub fn start(start: Start, core: usize) -> io::Result<Self> {
        Self::start_under(&[], start, core)
    }

    /// The same, by another program that it is given to with these words.
    pub fn start_under(by: &[&str], start: Start, core: usize) -> io::Result<Self> {
        match start {
            Start::Program(words) => Self::start_program(by, words, core),
            Start::Nginx => Self::start_nginx(by, core),
        }
    }

    /// Asks it to end, and waits for it.
    pub fn ends(mut self) -> io::Result<()> {
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        self.child.wait().map(drop)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start_program(by: &[&str], words: &[&str], core: usize) -> io::Result<Self> {
        let path = env::current_exe()?.with_file_name(words[0]);
        if !path.is_file() {
            let what = format!("there is no {}: was it built with `--features peers`?", path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        let mut command = on_core(core);
        command.args(by).arg(&path).arg("127.0.0.1:0").args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| io::Error::other(format!("{}: {error}", words[0])))?;
        let mut running = Self { address: ([127, 0, 0, 1], 0).into(), child, folder: None };
        let stdout = running.child.stdout.take().expect("piped");
        // It says so or ends: both come to an end here.
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        running.address = address.ok_or_else(|| io::Error::other(format!("{} did not start", words[0])))?;
        running.await_listener()?;
        Ok(running)
    }

    fn start_nginx(by: &[&str], core: usize) -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = env::temp_dir().join(format!("sluicegate-nginx-{}-{}", std::process::id(), address.port()));
        fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        let text = NGINX_CONFIG.replace("@ADDRESS@", &address.to_string());
        fs::write(&config, text.replace("@FOLDER@", &folder.display().to_string()))?;
        let mut command = on_core(core);
        command.args(by).arg("nginx").arg("-p").arg(&folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let running = Self { address, child, folder: Some(folder) };
        running.await_listener()?;
        Ok(running)
    }

    /// Some say where they will listen before they do.
    fn await_listener(&self) -> io::Result<()> {
        let since = Instant::now();
        loop {
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if since.elapsed() > PATIENCE => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // By its number, and both fail if it has ended: that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A command that runs on one core, and ends with this program however that ends.
pub fn on_core(core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]);
    if Path::new("/usr/bin/setpriv").is_file() {
        command.args(["setpriv", "--pdeathsig", "KILL"]);
    }
    command
}
