//! A TLS server on loopback, for tests. Clients must be configured to trust its certificate.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::spawn;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server that answers every request with the same body.
pub struct Server {
    /// The server's address, with `https`.
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Starts a server that answers with `body`.
    ///
    /// # Panics
    /// If there is no loopback interface.
    pub fn start(body: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("https://{}", listener.local_addr().expect("an address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let (seen, body, config) = (Arc::clone(&connections), body.to_vec(), config());
        spawn(move || {
            for stream in listener.incoming().flatten() {
                seen.fetch_add(1, Ordering::SeqCst);
                // A client that does not trust the certificate closes the connection.
                let _ = serve(stream, &config, &body);
            }
        });
        Self { address, connections }
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The file with the server's certificate.
    pub fn certificate() -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/files/localhost.pem").into()
    }
}

fn config() -> Arc<ServerConfig> {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("../files/localhost.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../files/localhost.key.pem")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.expect("a key that fits the certificate"))
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>, body: &[u8]) -> std::io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    stream.conn.send_close_notify();
    stream.flush()
}
