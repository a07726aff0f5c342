//! nginx with its default settings, as a proxy before itself: `return` alone would answer before the body is read.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

/// Until it listens.
const START_MAX: Duration = Duration::from_secs(10);

/// A running nginx; it ends with this value.
pub struct Nginx {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    pub fn start() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("sluicegate-peers-{}", process::id()));
        fs::create_dir_all(&folder)?;
        // Free a moment ago is free enough for a tool.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(address))?;
        let process = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("nginx is needed (apt-get install nginx-light): {error}")))?;
        let nginx = Self { process, folder, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > START_MAX {
                return Err(io::Error::other("nginx does not listen"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn version(&self) -> io::Result<String> {
        let said = Command::new("nginx").arg("-v").output()?.stderr;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(said.trim().rsplit('/').next().unwrap_or_default().to_owned())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(address: SocketAddr) -> String {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = folders.iter().map(|name| format!("    {name}_temp_path temp;\n")).collect();
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log /dev/null;
events {{ worker_connections 512; }}
http {{
    access_log off;
{folders}    server {{
        listen {address};
        location / {{ proxy_pass http://unix:behind.sock; }}
    }}
    server {{
        listen unix:behind.sock;
        add_header X-Body $http_content_length always;
        location / {{ return 200 hello; }}
    }}
}}
"
    )
}
