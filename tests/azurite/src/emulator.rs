//! Azurite's services, started on first use and shared by the tests of one program.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;

/// Azurite's only account, whose key is published.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Ends Azurite when its input ends, and that ends with the program that holds the other end, also by SIGKILL.
const WATCH: &str = "\"$@\" & child=$!; read -r _; kill $child; wait $child 2>/dev/null";

/// How often it is looked whether Azurite answers; a start takes about a second on an idle machine.
const LOOKS: u32 = 1_200;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    port: u16,
}

static TABLES: OnceCell<Service> = OnceCell::const_new();
static BLOBS: OnceCell<Service> = OnceCell::const_new();

/// The table service of this program of tests.
///
/// # Panics
/// It does not start; the text says what to do.
pub async fn tables() -> &'static Service {
    TABLES.get_or_init(|| Service::start("table")).await
}

/// The blob service of this program of tests; see [`crate::blobs`].
///
/// # Panics
/// It does not start; the text says what to do.
pub async fn blobs() -> &'static Service {
    BLOBS.get_or_init(|| Service::start("blob")).await
}

impl Service {
    /// Starts a service with nothing in it.
    async fn start(name: &str) -> Self {
        let program = program(name);
        assert!(
            program.is_file(),
            "{} is missing: run cargo xtask setup, which brings Azurite",
            program.display()
        );
        let port = free_port();
        let mut command = Command::new("sh");
        command.args(["-c", WATCH, "sh", "node"]).arg(&program);
        command.args([&format!("--{name}Host"), "127.0.0.1"]);
        command.args([&format!("--{name}Port"), &port.to_string()]);
        command.args([
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--silent",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("sh cannot be started: {error}"));
        let mut service = Self { child, port };
        service.answers().await;
        service
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection string of the account, when it is the table service.
    pub fn connection(&self) -> String {
        connection_at(self.port)
    }

    async fn answers(&mut self) {
        for _ in 0..LOOKS {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
            {
                return;
            }
            let ended = self.child.try_wait().ok().flatten();
            assert!(
                ended.is_none(),
                "Azurite ended with {ended:?}: is Node.js 20 or later on the PATH?"
            );
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("Azurite does not answer on port {}", self.port);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The watching shell ends Azurite on a line as it does at the end of its input.
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(b"\n"); // it has ended by itself when nobody reads
        }
        let _ = self.child.wait();
    }
}

/// The connection string of Azurite's account at another port, such as that of a proxy.
pub fn connection_at(port: u16) -> String {
    format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};\
         TableEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
}

/// One of Azurite's services, where the set-up puts it.
fn program(name: &str) -> PathBuf {
    let below = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = below.ancestors().nth(2).unwrap_or(below);
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |folder| workspace.join(folder));
    target.join(format!(
        "azurite/node_modules/azurite/dist/src/{name}/main.js"
    ))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_or_else(
        |error| panic!("no free port: {error}"),
        |address| address.port(),
    )
}
