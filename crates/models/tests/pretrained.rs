//! Weights of the hub, against a server on loopback that answers as the hub does.

use robustseg_models::{Fetched, Hub, HubFile};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// SHA-256 of `abc`, the served file.
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OTHER_HASH: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";

/// What the server does with one request.
#[derive(Clone, Copy)]
enum Answer {
    /// Status 200 and this body.
    Body(&'static str),
    /// A status and no body.
    Status(u16),
    /// Half of the announced body, then the connection is closed.
    Drop,
    /// Half of the announced body, then nothing for a while.
    Stall,
    /// On to another path of the same server.
    Redirect,
}

struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server that gives `answers` in turn and then closes every connection without one.
    fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers) = (requests.clone(), VecDeque::from(answers.to_vec()));
        spawn(move || {
            for stream in listener.incoming() {
                let Some(answer) = answers.pop_front() else { continue };
                serve(stream.unwrap(), answer, &seen);
            }
        });
        Self { address, requests }
    }

    /// The request lines so far, each with its `Authorization` header, if it has one.
    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut request = lines.next().unwrap().replace(" HTTP/1.1", "");
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(authorization) = line.to_lowercase().strip_prefix("authorization: ") {
            request = format!("{request} {authorization}");
        }
    }
    seen.lock().unwrap().push(request);
    let head =
        |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let text = match answer {
        Answer::Body(body) => head(body.len()) + body,
        Answer::Status(status) => {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Answer::Drop | Answer::Stall => head(6) + "abc",
        Answer::Redirect => "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
            .into(),
    };
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
    if matches!(answer, Answer::Stall) {
        spawn(move || {
            sleep(Duration::from_secs(20));
            drop(stream);
        });
    }
}

/// The hub's description of the repository, at `COMMIT`, with the hash of `abc`.
const LISTING: Answer = Answer::Body(
    r#"{"id": "timm/net", "sha": "0123456789abcdef0123456789abcdef01234567", "siblings": [
        {"rfilename": "README.md", "size": 3, "blobId": "1"},
        {"rfilename": "model.safetensors", "size": 3, "lfs": {"size": 3, "pointerSize": 1,
         "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}]}"#,
);
const FILE: Answer = Answer::Body("abc");

fn hub(server: &Server, cache: &Path) -> Hub {
    Hub {
        endpoint: Some(server.address.clone()),
        cache: cache.to_path_buf(),
        token: None,
        offline: false,
        timeout: Duration::from_millis(300),
        attempts: 2,
        pause: Duration::from_millis(1),
        certificates: None,
    }
}

fn unpinned() -> HubFile {
    HubFile { repository: "timm/net".into(), revision: None, sha256: None }
}

fn pinned(sha256: &str) -> HubFile {
    HubFile { revision: Some(COMMIT.into()), sha256: Some(sha256.into()), ..unpinned() }
}

/// Fetches, and checks that it was `abc` that came.
fn abc(hub: &Hub, file: &HubFile) -> Fetched {
    let fetched = hub.fetch(file).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), b"abc");
    assert_eq!(fetched.pinned, format!("timm/net@{COMMIT}#sha256={HASH}"));
    fetched
}

/// The message of a fetch that has to fail and to leave nothing in the cache.
fn failure(hub: &Hub, file: &HubFile) -> String {
    let message = hub.fetch(file).unwrap_err().to_string();
    assert!(message.contains(hub.cache.to_str().unwrap()), "where it looked: {message}");
    assert!(message.contains("by hand and give its path"), "what to do: {message}");
    let left = files(&hub.cache);
    assert!(left.is_empty(), "left in the cache: {left:?}");
    message
}

/// All files under `folder`.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn an_unpinned_source_is_resolved_once_and_then_cached() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[LISTING, FILE]);
    let online = hub(&server, cache.path());
    let first = abc(&online, &unpinned());
    assert_eq!(
        server.requests(),
        [
            "GET /api/models/timm/net/revision/main?blobs=true".to_owned(),
            format!("GET /timm/net/resolve/{COMMIT}/model.safetensors"),
        ]
    );
    // The layout of the hub's other clients.
    let repository = cache.path().join("models--timm--net");
    assert_eq!(first.path, repository.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read(repository.join("blobs").join(HASH)).unwrap(), b"abc");

    assert_eq!(abc(&online, &unpinned()), first);
    assert_eq!(abc(&online, &pinned(HASH)), first);
    assert_eq!(server.requests().len(), 2, "the cache was not used");
    let offline = Hub { offline: true, endpoint: Some("http://127.0.0.1:1".into()), ..online };
    assert_eq!(abc(&offline, &unpinned()), first);
}

#[test]
fn a_pinned_source_needs_one_request_and_sends_the_token() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Redirect, FILE]);
    let hub = Hub { token: Some("secret".into()), ..hub(&server, cache.path()) };
    abc(&hub, &pinned(HASH));
    assert_eq!(
        server.requests(),
        [
            format!("GET /timm/net/resolve/{COMMIT}/model.safetensors bearer secret"),
            "GET /elsewhere bearer secret".to_owned(),
        ]
    );
}

#[test]
fn a_revision_alone_is_checked_by_the_announced_hash() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[LISTING, Answer::Body("abd")]);
    let file = HubFile { revision: Some(COMMIT.into()), ..unpinned() };
    assert!(failure(&hub(&server, cache.path()), &file).contains(&format!("expected {HASH}, found ")));
    assert_eq!(server.requests()[0], format!("GET /api/models/timm/net/revision/{COMMIT}?blobs=true"));
}

#[test]
fn a_wrong_hash_is_refused_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[FILE]);
    let message = failure(&hub(&server, cache.path()), &pinned(OTHER_HASH));
    assert!(message.contains(&format!("expected {OTHER_HASH}, found {HASH}")), "{message}");
    assert_eq!(server.requests().len(), 1, "there is no sense in trying again");
}

#[test]
fn a_missing_repository_is_refused_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Status(404)]);
    let message = failure(&hub(&server, cache.path()), &unpinned());
    assert!(message.contains("404") && message.contains("no such repository"), "{message}");
    assert_eq!(server.requests().len(), 1);
    let server = Server::start(&[Answer::Status(401)]);
    assert!(failure(&hub(&server, cache.path()), &pinned(HASH)).contains("set HF_TOKEN"));
    let server = Server::start(&[Answer::Body(r#"{"sha": "main", "siblings": []}"#)]);
    assert!(failure(&hub(&server, cache.path()), &unpinned()).contains("has no model.safetensors"));
}

#[test]
fn a_dropped_connection_and_a_busy_server_are_tried_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Drop, FILE]);
    abc(&hub(&server, cache.path()), &pinned(HASH));

    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[LISTING, Answer::Status(503), FILE]);
    abc(&hub(&server, cache.path()), &unpinned());

    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Drop, Answer::Drop, FILE]);
    let message = failure(&hub(&server, cache.path()), &pinned(HASH));
    assert!(message.contains("broke off") && message.contains("tried 2 times"), "{message}");
}

#[test]
fn a_stalled_server_is_given_up() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Stall, Answer::Stall]);
    let start = Instant::now();
    let message = failure(&hub(&server, cache.path()), &pinned(HASH));
    assert!(message.contains("timeout"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn without_a_network_the_message_says_so() {
    let cache = tempfile::tempdir().unwrap();
    // A port that nothing listens on any more.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server { address: format!("http://{address}"), requests: Arc::default() };
    let message = failure(&hub(&server, cache.path()), &pinned(HASH));
    assert!(message.contains("cannot reach the hub") && message.contains(&server.address), "{message}");
    let offline = Hub { offline: true, ..hub(&server, cache.path()) };
    assert!(failure(&offline, &unpinned()).contains("HF_HUB_OFFLINE"));
}

#[test]
fn a_refused_certificate_is_not_tried_again_and_says_what_to_set() {
    use robustseg_trust::loopback::Server as TlsServer;
    let cache = tempfile::tempdir().unwrap();
    let server = TlsServer::start(b"abc");
    let online = Hub { endpoint: Some(server.address.clone()), ..hub(&Server::start(&[]), cache.path()) };
    let message = failure(&online, &pinned(HASH));
    assert!(message.contains("certificate is refused") && message.contains("SSL_CERT_FILE"), "{message}");
    assert!(!message.contains("tried"), "{message}");
    assert_eq!(server.connections(), 1);
    let trusting = Hub { certificates: Some(TlsServer::certificate()), ..online };
    abc(&trusting, &pinned(HASH));
}

#[test]
fn a_damaged_cached_file_is_fetched_again_or_refused() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&[LISTING, FILE, LISTING, FILE]);
    let online = hub(&server, cache.path());
    let path = abc(&online, &unpinned()).path;
    std::fs::write(&path, b"ab").unwrap();
    let offline = Hub { offline: true, ..online.clone() };
    let message = offline.fetch(&unpinned()).unwrap_err().to_string();
    assert!(message.contains(&format!("expected {HASH}")), "{message}");
    abc(&online, &unpinned());
    assert_eq!(server.requests().len(), 4);
}
