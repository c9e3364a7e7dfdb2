//! Downloads from a loopback server that drops, redirects, refuses and lies, and hostile archives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use robustseg_datasets::{Error, Fetch, FetchStage, Fetched, Manifest};
use tar::{Builder, EntryType, Header};

/// The server's reaction to a request for a file.
#[derive(Clone, Copy)]
enum Answer {
    /// Sends the requested range.
    Rest,
    /// Sends the requested range, but closes the connection after this many bytes.
    Drop(usize),
    /// Sends the whole file, whatever was requested.
    Whole,
    /// Sends the whole file with a wrong last byte.
    Wrong,
    /// Sends a status without a body.
    Status(u16),
    /// Redirects to another path on the same server.
    Redirect,
    /// Sends nothing for a while.
    Stall,
}

/// A server that gives `answers` in turn, and records the request lines.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(file: &[u8], answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers, file) = (requests.clone(), VecDeque::from(answers.to_vec()), file.to_vec());
        spawn(move || {
            for stream in listener.incoming() {
                let Some(answer) = answers.pop_front() else { continue };
                serve(stream.unwrap(), answer, &file, &seen);
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, file: &[u8], seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let mut request = lines.next().unwrap().replace(" HTTP/1.1", "");
    let mut from = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            request = format!("{request} from {range}");
            from = range.trim_end_matches('-').parse().unwrap();
        }
    }
    seen.lock().unwrap().push(request);
    let head = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
            .into_bytes()
    };
    let whole = |file: &[u8]| [head("200 OK", file.len(), ""), file.to_vec()].concat();
    let rest = |end: usize| {
        if from == 0 {
            return [head("200 OK", file.len(), ""), file[..end.min(file.len())].to_vec()].concat();
        }
        if from >= file.len() {
            return head("416 No", 0, &format!("Content-Range: bytes */{}\r\n", file.len()));
        }
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len());
        let part = file[from..(from + end).min(file.len())].to_vec();
        [head("206 Partial", file.len() - from, &range), part].concat()
    };
    let bytes = match answer {
        Answer::Rest => rest(file.len()),
        Answer::Drop(after) => rest(after),
        Answer::Whole => whole(file),
        Answer::Wrong => {
            let mut wrong = file.to_vec();
            *wrong.last_mut().unwrap() ^= 1;
            whole(&wrong)
        }
        Answer::Status(status) => head(&format!("{status} No"), 0, ""),
        Answer::Redirect => head("302 Found", 0, "Location: /elsewhere/tiny.tar\r\n"),
        Answer::Stall => {
            spawn(move || {
                std::thread::sleep(Duration::from_secs(20));
                drop(stream);
            });
            return;
        }
    };
    stream.write_all(&bytes).unwrap();
    stream.flush().unwrap();
}

/// A tar file with one picture in `tiny/images` and one file next to `tiny`.
fn archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    add(&mut builder, b"tiny/images/a.jpg", EntryType::Regular, &vec![7; 200_000], None);
    add(&mut builder, b"./tiny/notes.txt", EntryType::Regular, b"notes", None);
    add(&mut builder, b"elsewhere.txt", EntryType::Regular, b"not wanted", None);
    builder.into_inner().unwrap()
}

/// Adds an entry with exactly this path, valid or not.
fn add(builder: &mut Builder<Vec<u8>>, path: &[u8], kind: EntryType, content: &[u8], link: Option<&str>) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    if let Some(link) = link {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
}

fn manifest(address: &str, md5: &str, more: &str) -> Manifest {
    let text = format!(
        "name: tiny
folder: tiny
layout: pairs
classes: [{{name: x, colour: [0, 0, 0]}}, {{name: y, colour: [1, 1, 1]}}]
splits: {{train: {{count: 1, file: train.txt}}}}
citation: c
licence: l
obtain: ask the neighbour.
archives: [{{url: '{address}/tiny.tar', md5: {md5}, folder: tiny{more}}}]
"
    );
    Manifest::parse(&text, Path::new("tiny.yaml")).unwrap()
}

fn fetch() -> Fetch {
    Fetch {
        timeout: Duration::from_millis(400),
        attempts: 3,
        pause: Duration::from_millis(1),
        ..Fetch::default()
    }
}

fn run(server: &Server, file: &[u8], root: &Path) -> Result<Vec<Fetched>, Error> {
    let bytes = format!(", bytes: {}", file.len());
    fetch().run(&manifest(&server.address, &md5(file), &bytes), root, |_| ())
}

/// The names below a folder.
fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[track_caller]
fn assert_whole(root: &Path) {
    assert_eq!(fs::read(root.join("tiny/images/a.jpg")).unwrap(), vec![7; 200_000]);
    assert_eq!(fs::read(root.join("tiny/notes.txt")).unwrap(), b"notes");
    assert_eq!(names(root), ["tiny", "tiny.tar"], "nothing else is left");
}

#[test]
fn an_archive_is_fetched_once_and_unpacked() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(&file, &[Answer::Rest]);
    let stages = RefCell::new(Vec::new());
    let wanted = manifest(&server.address, &md5(&file), "");
    let place = root.path().join("made/for it");
    let fetched = fetch()
        .run(&wanted, &place, |progress| {
            assert!(progress.done <= progress.total && progress.total == file.len() as u64, "{progress:?}");
            stages.borrow_mut().push(progress.stage);
        })
        .unwrap();
    assert_whole(&place);
    stages.borrow_mut().dedup();
    let expected = [FetchStage::Downloading, FetchStage::Verifying, FetchStage::Unpacking];
    assert_eq!(stages.into_inner(), expected);
    let folder = place.join("tiny");
    let known = Fetched { folder: folder.clone(), archive: Some(place.join("tiny.tar")) };
    assert_eq!(fetched, std::slice::from_ref(&known));
    // The second call has nothing to do. Without the folder, the archive is still available.
    let again = || fetch().run(&wanted, &place, |_| ()).unwrap();
    assert_eq!(again(), [Fetched { folder: folder.clone(), archive: None }]);
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(again(), [known]);
    assert_whole(&place);
    assert_eq!(server.requests(), ["GET /tiny.tar"]);
}

#[test]
fn a_gzipped_archive_is_unpacked() {
    let root = tempfile::tempdir().unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&archive()).unwrap();
    let file = encoder.finish().unwrap();
    run(&Server::start(&file, &[Answer::Rest]), &file, root.path()).unwrap();
    assert_whole(root.path());
}

#[test]
fn a_dropped_connection_resumes_where_it_broke_off() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    // More failures than attempts, but each made progress.
    let drops =
        [Answer::Drop(90_000), Answer::Drop(1000), Answer::Drop(0), Answer::Drop(5000), Answer::Status(503)];
    let server = Server::start(&file, &[&drops[..], &[Answer::Drop(7), Answer::Rest]].concat());
    run(&server, &file, root.path()).unwrap();
    assert_whole(root.path());
    let starts =
        [90_000, 91_000, 91_000, 96_000, 96_000, 96_007].map(|at| format!("GET /tiny.tar from {at}-"));
    assert_eq!(server.requests()[1..], starts);
}

#[test]
fn what_came_before_the_program_ended_is_kept() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let part = root.path().join("tiny.tar.part");
    let server = Server::start(
        &file,
        &[Answer::Drop(50_000), Answer::Stall, Answer::Stall, Answer::Stall, Answer::Rest],
    );
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    assert!(error.contains("tried 3 times") && error.contains("run the same command to resume"), "{error}");
    assert_eq!(part.metadata().unwrap().len(), 50_000);
    run(&server, &file, root.path()).unwrap();
    assert_eq!(server.requests().last().unwrap(), "GET /tiny.tar from 50000-");
    assert_whole(root.path());
}

#[test]
fn a_server_that_ignores_ranges_sends_all_again() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(&file, &[Answer::Drop(50_000), Answer::Whole]);
    run(&server, &file, root.path()).unwrap();
    assert_whole(root.path());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn the_beginning_of_another_file_is_thrown_away() {
    let file = archive();
    // Another content, or longer than the file, whose length the manifest may not know.
    for begun in [vec![9; 1000], vec![9; file.len() + 1], vec![9; file.len()]] {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tiny.tar.part"), &begun).unwrap();
        let server = Server::start(&file, &[Answer::Rest; 3]);
        fetch().run(&manifest(&server.address, &md5(&file), ""), root.path(), |_| ()).unwrap();
        assert_whole(root.path());
        assert_eq!(server.requests().last().unwrap(), "GET /tiny.tar");
    }
}

#[test]
fn a_redirect_is_followed() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(&file, &[Answer::Drop(9), Answer::Redirect, Answer::Rest]);
    run(&server, &file, root.path()).unwrap();
    assert_eq!(server.requests()[1..], ["GET /tiny.tar from 9-", "GET /elsewhere/tiny.tar from 9-"]);
    assert_whole(root.path());
}

#[test]
fn a_wrong_file_is_refused_and_leaves_nothing() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(&file, &[Answer::Wrong]);
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("not {}", md5(&file))) && error.contains("removed"), "{error}");
    assert_eq!(names(root.path()), [""; 0]);
    // If the size differs from the manifest's, that is reported before the download.
    let server = Server::start(&file[1..], &[Answer::Rest]);
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("has {} bytes, not {}", file.len() - 1, file.len())), "{error}");
    // A file that the user put there is not removed.
    fs::write(root.path().join("tiny.tar"), b"other").unwrap();
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    assert!(error.contains("tiny.tar is there, but its MD5 is"), "{error}");
    assert_eq!(names(root.path()), ["tiny.tar"]);
}

#[test]
fn permanent_failures_are_not_retried() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    let server = Server::start(&file, &[Answer::Status(404)]);
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    let by_hand = root.path().join("tiny.tar").display().to_string();
    for part in ["404", &server.address, &by_hand] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn data_that_is_not_free_says_how_to_get_it() {
    let mut manifest = manifest("http://127.0.0.1:1", &"0".repeat(32), "");
    manifest.archives.clear();
    let error = fetch().run(&manifest, Path::new("place"), |_| ()).unwrap_err();
    assert!(matches!(error, Error::NotFree { .. }));
    assert!(error.to_string().contains("ask the neighbour. The folder for it is place"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_says_so() {
    let (file, root) = (archive(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink("/dev/full", root.path().join("tiny.tar.part")).unwrap();
    let server = Server::start(&file, &[Answer::Rest]);
    let error = run(&server, &file, root.path()).unwrap_err().to_string();
    assert!(error.contains("free some space"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

/// The error of unpacking an archive with one more entry, added by `hostile`.
fn refused(hostile: impl FnOnce(&mut Builder<Vec<u8>>), limits: &Fetch) -> String {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut builder = Builder::new(Vec::new());
    add(&mut builder, b"tiny/a.txt", EntryType::Regular, b"a", None);
    hostile(&mut builder);
    let file = builder.into_inner().unwrap();
    fs::write(root.join("tiny.tar"), &file).unwrap();
    let wanted = manifest("http://127.0.0.1:1", &md5(&file), "");
    let error = limits.run(&wanted, &root, |_| ()).unwrap_err().to_string();
    assert_eq!(names(outside.path()), ["root"], "{error}");
    assert_eq!(names(&root), ["tiny.tar"], "{error}");
    error
}

#[test]
fn paths_that_lead_out_of_the_folder_are_refused() {
    for path in ["../x", "/tmp/robustseg_x", "tiny/../../x", "tiny/..", "./../x"] {
        let error = refused(|b| add(b, path.as_bytes(), EntryType::Regular, b"x", None), &fetch());
        assert!(error.contains("leads out of the folder") && error.contains(path), "{path}: {error}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for (kind, link) in [
        (EntryType::Symlink, Some("../..")),
        (EntryType::Symlink, Some("/etc")),
        (EntryType::Symlink, Some("a.txt")),
        (EntryType::Link, Some("/etc/passwd")),
        (EntryType::Link, Some("../../tiny.tar")),
        (EntryType::Block, None),
        (EntryType::Char, None),
        (EntryType::Fifo, None),
    ] {
        let error = refused(|b| add(b, b"tiny/b", kind, b"", link), &fetch());
        assert!(error.contains("tiny/b in it is a link or a device"), "{kind:?} {link:?}: {error}");
    }
}

#[test]
fn archives_that_grow_without_bound_are_refused() {
    let limits = |max_bytes, max_entries| Fetch { max_bytes, max_entries, ..fetch() };
    let large = |b: &mut Builder<Vec<u8>>| add(b, b"tiny/b", EntryType::Regular, &[0; 5000], None);
    assert!(refused(large, &limits(5000, 99)).contains("makes it larger than 5000 bytes"));
    let many = |b: &mut Builder<Vec<u8>>| {
        for name in ["tiny/b", "tiny/c", "tiny/d"] {
            add(b, name.as_bytes(), EntryType::Directory, b"", None);
        }
    };
    assert!(refused(many, &limits(5000, 3)).contains("tiny/d in it makes it larger"));
    // A false size: only the header states it.
    let claimed = |b: &mut Builder<Vec<u8>>| {
        let mut header = Header::new_gnu();
        header.set_path("tiny/b").unwrap();
        header.set_size(1 << 40);
        header.set_cksum();
        b.get_mut().extend_from_slice(header.as_bytes());
    };
    assert!(refused(claimed, &fetch()).contains("makes it larger than"));
}

#[test]
fn incomplete_archives_are_refused() {
    let cut = |b: &mut Builder<Vec<u8>>| {
        add(b, b"tiny/b", EntryType::Regular, &[1; 5000], None);
        let half = b.get_ref().len() - 3000;
        b.get_mut().truncate(half);
    };
    let error = refused(cut, &fetch());
    assert!(error.contains("tiny/b") || error.contains("no whole tar file"), "{error}");
    let twice = |b: &mut Builder<Vec<u8>>| add(b, b"tiny/a.txt", EntryType::Regular, b"b", None);
    assert!(refused(twice, &fetch()).contains("a.txt"));
    // Complete, but without the required folder.
    let root = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(Vec::new());
    add(&mut builder, b"other/a.txt", EntryType::Regular, b"a", None);
    let file = builder.into_inner().unwrap();
    fs::write(root.path().join("tiny.tar"), &file).unwrap();
    let wanted = manifest("http://127.0.0.1:1", &md5(&file), "");
    let error = fetch().run(&wanted, root.path(), |_| ()).unwrap_err().to_string();
    assert!(error.contains("holds no folder tiny"), "{error}");
    assert_eq!(names(root.path()), ["tiny.tar"]);
}

#[test]
fn a_refused_certificate_is_not_tried_again_and_says_what_to_set() {
    use robustseg_trust::loopback::Server as TlsServer;
    let folder = tempfile::tempdir().unwrap();
    let file = archive();
    let server = TlsServer::start(&file);
    let manifest = manifest(&server.address, &md5(&file), "");
    let run = |certificates| Fetch { certificates, ..fetch() }.run(&manifest, folder.path(), |_| ());
    let message = run(None).unwrap_err().to_string();
    assert!(message.contains("certificate is refused") && message.contains("SSL_CERT_FILE"), "{message}");
    assert!(!message.contains("tried"), "{message}");
    assert_eq!(server.connections(), 1);
    let message = run(Some(folder.path().join("none.pem"))).unwrap_err().to_string();
    assert!(message.contains("SSL_CERT_FILE: ") && message.contains("none.pem cannot be read"), "{message}");
    run(Some(TlsServer::certificate())).unwrap();
    assert!(folder.path().join("tiny/images/a.jpg").is_file());
}
